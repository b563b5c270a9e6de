"""From what a user types to the bundle, or to a sentence that says what it is instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.bundle.locate import resolve_bundle
from skipstone.core.errors import UsageError
from skipstone.core.events import Note, use_listener


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("001", "002"):
        (tmp_path / "runs" / name / "bundle").mkdir(parents=True)
        (tmp_path / "runs" / name / "bundle" / "bundle.json").write_text("{}")
    (tmp_path / "runs/003").mkdir()
    (tmp_path / "runs/003/run.json").write_text("{}")
    return tmp_path / "runs"


def test_a_bundle_and_its_run_are_the_same_model(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = runs / "001" / "bundle"
    assert resolve_bundle(bundle) == bundle
    assert resolve_bundle(runs / "001") == bundle
    monkeypatch.chdir(runs.parent)
    assert resolve_bundle("runs/001") == Path("runs/001/bundle")


def test_a_data_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "my photos/cat").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"is a data folder, not a model.*skipstone train '/.*'"):
        resolve_bundle(tmp_path / "my photos")


def test_the_folder_of_all_runs_is_its_newest_with_a_model(runs: Path) -> None:
    said: list[object] = []
    with use_listener(said.append):
        assert resolve_bundle(runs) == runs / "002" / "bundle"
    assert said == [Note(f"The model is {runs / '002'}, the newest of 2 in {runs}.")]


def test_a_folder_of_other_models_names_one(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "bundle.json").write_text("{}")
    with pytest.raises(UsageError, match=r"folder of models.*best"):
        resolve_bundle(tmp_path)


def test_an_unexpanded_pattern_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file matches the pattern"):
        resolve_bundle(tmp_path / "runs/*")


def test_a_run_without_a_model_says_how_to_go_on(runs: Path) -> None:
    with pytest.raises(UsageError, match="did not finish"):
        resolve_bundle(runs / "003")


def test_a_typo_names_the_near_one(runs: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean '00"):
        resolve_bundle(runs / "0011")


def test_a_file_of_a_model_names_the_model(runs: Path) -> None:
    with pytest.raises(UsageError, match=r"is a file, not a model.*runs/001/bundle\?"):
        resolve_bundle(runs / "001/bundle/bundle.json")


def test_an_empty_folder_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty folder"):
        resolve_bundle(tmp_path)
