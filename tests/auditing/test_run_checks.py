"""The audit: it finds what is wrong, says it in a sentence, and touches nothing."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.auditing.run_checks import AuditFindings, audit_rows
from skipstone.core import events
from skipstone.data.read import read_manifest
from skipstone.image.inspect_file import inspect_image
from tests.photos import make_photo, save_photo, write_class_folder


def findings(found: AuditFindings) -> dict[str, list[tuple[str, ...]]]:
    kinds: dict[str, list[tuple[str, ...]]] = {}
    for finding in found.findings:
        kinds.setdefault(finding.kind, []).append(finding.paths)
        assert finding.message.endswith(".")
        assert "\n" not in finding.message
    return kinds


def test_counts_of_a_sound_folder(photo_folder: Path) -> None:
    found = audit_rows(read_manifest(photo_folder))
    counts = found.counts
    assert counts["rows"] == 48
    assert counts["splits"] == {"train": 36, "validation": 12}
    assert counts["classes"]["train"] == {"disc": 12, "square": 12, "stripes": 12}
    assert counts["balance"] == {"most": 12, "least": 12}
    # A photo turned by EXIF counts as it is seen: all are 40 wide and 48 high.
    assert counts["width"] == {"min": 40, "median": 40, "max": 40}
    assert counts["height"] == {"min": 48, "median": 48, "max": 48}
    assert set(counts["formats"]) == {"JPEG", "PNG", "WEBP"}
    assert set(counts["modes"]) == {"RGB", "RGBA", "P", "L"}
    assert counts["turned_by_exif"] == 6
    assert (counts["unreadable"], counts["duplicates"]) == (0, 0)
    assert counts["bytes"] == sum(
        s.path.stat().st_size for s in read_manifest(photo_folder).list_sources()
    )
    assert found.findings == ()


def _as_it_is(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Size, time of change and bytes of every file; reading may move the time of access."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_wrong_is_found_and_nothing_is_touched(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "train", 12)
    write_class_folder(tmp_path / "val", 3, first_seed=100)
    train, val = tmp_path / "train", tmp_path / "val"
    disc = (train / "disc/000.jpg").read_bytes()
    png = (train / "square/001.png").read_bytes()
    (train / "disc/empty.jpg").write_bytes(b"")
    (train / "disc/cut.jpg").write_bytes(disc[: len(disc) // 2])
    (train / "disc/cut.png").write_bytes(png[: len(png) // 2])
    (train / "disc/page.jpg").write_bytes(b"<html>404</html>")
    (train / "disc/wrong.jpg").write_bytes((train / "stripes/001.png").read_bytes() + b"\0")
    (train / "disc/again.jpg").write_bytes(disc)
    (val / "disc/leak.jpg").write_bytes((train / "disc/006.jpg").read_bytes())
    (train / "square/other.jpg").write_bytes((train / "disc/004.jpg").read_bytes())
    before = _as_it_is(tmp_path)
    found = audit_rows(read_manifest(tmp_path))
    kinds = findings(found)
    assert kinds["empty_file"] == [("train/disc/empty.jpg",)]
    assert kinds["truncated"] == [("train/disc/cut.jpg", "train/disc/cut.png")]
    assert kinds["not_a_picture"] == [("train/disc/page.jpg",)]
    assert kinds["extension"] == [("train/disc/wrong.jpg",)]
    assert kinds["duplicate"] == [("train/disc/000.jpg", "train/disc/again.jpg")]
    assert kinds["duplicate_across_splits"] == [("train/disc/006.jpg", "val/disc/leak.jpg")]
    assert kinds["duplicate_with_other_label"] == [("train/disc/004.jpg", "train/square/other.jpg")]
    assert (found.counts["unreadable"], found.counts["duplicates"]) == (4, 3)
    assert _as_it_is(tmp_path) == before


def test_a_leak_under_another_label_is_both(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "train", 3)
    write_class_folder(tmp_path / "test", 3, first_seed=100)
    data = (tmp_path / "train/disc/000.jpg").read_bytes()
    (tmp_path / "test/square/leak.jpg").write_bytes(data)
    kinds = findings(audit_rows(read_manifest(tmp_path)))
    paths = ("train/disc/000.jpg", "test/square/leak.jpg")
    assert kinds["duplicate_across_splits"] == kinds["duplicate_with_other_label"] == [paths]


def test_classes_tiny_lacking_and_out_of_balance(tmp_path: Path) -> None:
    for kind, count in (("train/disc", 31), ("train/square", 6), ("test/stripes", 2)):
        for number in range(count):
            save_photo(
                make_photo(number, kind.split("/")[1], (8, 8)), tmp_path / kind / f"{number}"
            )
    messages = {f.kind: f.message for f in audit_rows(read_manifest(tmp_path)).findings}
    assert "stripes" in messages["class_without_training_rows"]
    assert "square (6)" in messages["tiny_class"]
    assert "disc has 31" in messages["imbalance"]


def test_tags_and_idx_members(tag_table: Path, idx_folder: Path) -> None:
    found = audit_rows(read_manifest(tag_table))
    assert sum(found.counts["classes"]["train"].values()) > found.counts["rows"] == 36
    assert found.findings == ()
    found = audit_rows(read_manifest(idx_folder))
    assert found.counts["height"] == {"min": 20, "median": 20, "max": 20}
    assert found.counts["formats"] == {"array": 66}


def test_json_is_one_object_with_the_fixed_names(photo_folder: Path) -> None:
    found = audit_rows(read_manifest(photo_folder)).to_json()
    assert set(json.loads(json.dumps(found))) == {"counts", "findings"}


def test_progress_is_told_file_by_file(photo_folder: Path) -> None:
    heard: list[events.Event] = []
    with events.use_listener(heard.append):
        audit_rows(read_manifest(photo_folder))
    started = [event for event in heard if isinstance(event, events.StageStarted)]
    look = next(event for event in started if event.stage == "looking at every file")
    moved = [
        e.amount for e in heard if isinstance(e, events.StageAdvanced) and e.stage == look.stage
    ]
    assert (look.total, sum(moved)) == (48, 48)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_examined(mode: str) -> None:
    data = io.BytesIO()
    Image.new(mode, (5, 3)).save(data, "TIFF")
    found = inspect_image(data.getvalue())
    words = {"I;16": "1 channel of 16 bits"}.get(mode, mode)
    assert (found.problem, found.size, found.format, found.mode) == ("", (3, 5), "TIFF", words)


def test_several_frames_and_damage() -> None:
    frames = io.BytesIO()
    first = Image.new("RGB", (4, 4))
    first.save(frames, "TIFF", save_all=True, append_images=[first])
    assert inspect_image(frames.getvalue()).mode == "RGB+"
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, "PNG")
    sound = data.getvalue()
    assert inspect_image(sound).problem == ""
    for place in range(40, len(sound), 97):
        flipped = bytearray(sound)
        flipped[place] ^= 0xFF
        inspect_image(bytes(flipped))  # whatever it finds, it does not raise
    broken = bytearray(sound)
    broken[len(sound) // 2] ^= 0xFF
    assert inspect_image(bytes(broken)).problem


@pytest.mark.real_data
def test_real_photos_take_less_than_a_minute(real_data: Path) -> None:
    start = time.monotonic()
    found = audit_rows(read_manifest(real_data / "clothing"))
    assert time.monotonic() - start < 60
    assert found.counts["formats"] == {"JPEG": 3409}
    assert found.counts["unreadable"] == 0
