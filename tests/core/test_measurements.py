"""What was measured is used again; a file that is damaged or cannot be written only costs time."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.core import events
from skipstone.core.measurements import read_measurement, write_measurement

KEY = {"network": "abc", "batch": {"image": [8, 64, 64, 3]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKIPSTONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_value_belongs_to_its_key_and_kind(folder: Path) -> None:
    assert read_measurement("steps", KEY) is None
    write_measurement("steps", KEY, {"f32": 0.5})
    assert read_measurement("steps", KEY) == {"f32": 0.5}
    assert read_measurement("views", KEY) is None
    assert read_measurement("steps", {**KEY, "network": "abd"}) is None


@pytest.mark.parametrize("content", ["", "[]", '{"key": {}, "value": {}}', "{"])
def test_a_damaged_file_is_named_and_replaced(folder: Path, content: str) -> None:
    write_measurement("steps", KEY, {"f32": 0.5})
    (file,) = folder.rglob("*.json")
    file.write_text(content)
    notes: list[events.Event] = []
    with events.use_listener(notes.append):
        assert read_measurement("steps", KEY) is None
    assert [str(file) in event.text for event in notes if isinstance(event, events.Note)] == [True]
    write_measurement("steps", KEY, {"f32": 0.25})
    assert read_measurement("steps", KEY) == {"f32": 0.25}


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SKIPSTONE_CACHE", str(tmp_path / "file"))
    write_measurement("steps", KEY, {"f32": 0.5})
    assert read_measurement("steps", KEY) is None


def test_the_usual_folder_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SKIPSTONE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_measurement("steps", KEY, {"f32": 0.5})
    assert [file.parent for file in tmp_path.rglob("*.json")] == [tmp_path / "skipstone" / "steps"]
