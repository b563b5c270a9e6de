"""What is asked about: files of folders, and texts as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skipstone.core.errors import UsageError
from skipstone.core.events import Note, use_listener
from skipstone.core.registry import INPUTS
from skipstone.data.options import ReadOptions
from skipstone.data.predict_inputs import list_predict_items
from skipstone.data.sources import read_source


def test_folders_are_asked_about_with_what_links_lead_to(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("photos/a/1.jpg", "elsewhere/2.jpg", "photos/.hidden/3.jpg", "photos/._4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(root)
    (root / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = list_predict_items([root], [], input=INPUTS["image"], options=ReadOptions())
    assert [item.relative_path.as_posix() for item in found] == ["a/1.jpg", "b/2.jpg", "gone.jpg"]


def test_files_of_folders_that_are_no_pictures_are_passed_over_and_said(tmp_path: Path) -> None:
    for name, head in (
        ("a.jpg", b""),  # claims to be one: it gets an answer, that it is empty
        ("b.gif", b"GIF89a"),
        ("a.xmp", b"<x/>"),
        ("labels.csv", b"path,label"),
        ("c.mp4", b"\0\0\0\x18ftypmp42"),
        ("d.dng", b"II*\0"),
    ):
        (tmp_path / name).write_bytes(head)
    told: list[Any] = []
    given = {"input": INPUTS["image"], "options": ReadOptions()}
    with use_listener(told.append):
        found = list_predict_items([tmp_path], [], **given)
    assert [item.relative_path.name for item in found] == ["a.jpg", "b.gif"]
    (said,) = [event.text for event in told if isinstance(event, Note)]
    assert "2 sidecar files (text, JSON, XML, CSV), 1 videos, 1 camera RAW photos" in said
    named = [tmp_path / "d.dng", "https://host/1.jpg", tmp_path / "gone.jpg"]
    assert [item.problem.partition(" (")[0] for item in list_predict_items(named, [], **given)] == [
        "camera RAW photos",
        "https://host/1.jpg is a URL; skipstone does not download. Download it, then name the file",
        "",
    ]
    for name in ("a.jpg", "b.gif"):
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=r"holds only 2 sidecar files .* nothing to predict"):
        list_predict_items([tmp_path], [], **given)


def test_a_text_with_half_an_emoji_is_left_to_whoever_reads_it() -> None:
    found = list_predict_items(
        [], ["fine", "cut \ud83d"], input=INPUTS["text"], options=ReadOptions()
    )
    assert [read_source(item.source) for item in found] == [b"fine", b"cut \xed\xa0\xbd"]
