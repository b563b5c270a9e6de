"""What is asked about: files of folders, and texts as they are."""

from __future__ import annotations

from pathlib import Path

from skipstone.data.asked import asked
from skipstone.data.options import ReadOptions
from skipstone.data.sources import read_source


def test_folders_are_asked_about_with_what_links_lead_to(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("photos/a/1.jpg", "elsewhere/2.jpg", "photos/.hidden/3.jpg", "photos/._4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(root)
    (root / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = asked([root], [], input="image", rows="files", options=ReadOptions())
    assert [item.below.as_posix() for item in found] == ["a/1.jpg", "b/2.jpg", "gone.jpg"]


def test_a_text_with_half_an_emoji_is_left_to_whoever_reads_it() -> None:
    found = asked([], ["fine", "cut \ud83d"], input="text", rows="cells", options=ReadOptions())
    assert [read_source(item.source) for item in found] == [b"fine", b"cut \xed\xa0\xbd"]
