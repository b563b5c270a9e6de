"""Nothing is written in the user's data, however it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.bundle.output_paths import (
    choose_output_folder,
    find_training_data,
    is_inside_data,
    reject_path_inside_data,
)
from skipstone.core import storage
from skipstone.core.errors import UsageError
from skipstone.core.events import Note, use_listener
from skipstone.data.manifest import MANIFEST_FILE, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.workflows.answer import predict
from tests.photos import make_photo, save_photo


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ with class folders; a table beside images/ in tagged/."""
    save_photo(make_photo(0, "disc"), tmp_path / "photos" / "disc" / "0")
    save_photo(make_photo(0, "square"), tmp_path / "photos" / "square" / "0")
    save_photo(make_photo(0, "disc"), tmp_path / "tagged" / "images" / "0")
    (tmp_path / "tagged" / "labels.csv").write_text("path,label\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_default_is_beside_the_data(here: Path) -> None:
    assert choose_output_folder(None, default="runs", data=Path("photos")) == Path("runs")
    assert choose_output_folder("elsewhere", default="runs", data=Path("photos")) == Path(
        "elsewhere"
    )


@pytest.mark.parametrize("data", [".", "../photos", "disc/.."])
def test_in_the_data_a_stated_sibling_is_used(
    here: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.chdir(here / "photos")
    said: list[object] = []
    with use_listener(said.append):
        folder = choose_output_folder(None, default="runs", data=Path(data))
    assert folder == here / "photos-runs"
    assert said == [Note(f"The current folder is the data folder, so outputs go to {folder}")]


@pytest.mark.parametrize("out", ["photos", "photos/runs", "photos/disc/x", "./photos/../photos/y"])
def test_what_was_asked_for_is_refused(here: Path, out: str) -> None:
    with pytest.raises(UsageError, match="lies inside the data photos; nothing is") as caught:
        choose_output_folder(out, default="runs", data=Path("photos"))
    assert f"--out {here / 'photos-runs'}" in str(caught.value.hint)
    assert not (here / "photos" / "runs").exists()


def test_through_a_link(here: Path) -> None:
    (here / "link").symlink_to(here / "photos")
    assert is_inside_data(Path("link/runs"), Path("photos"))
    assert is_inside_data(Path("photos/runs"), Path("link"))


def test_a_table_and_its_pictures(here: Path) -> None:
    table = Path("tagged/labels.csv")
    assert not is_inside_data(Path("tagged/runs"), table)
    assert is_inside_data(Path("tagged"), table)
    assert is_inside_data(Path("tagged/images/runs"), table)
    (here / "tagged" / "runs" / "001" / "bundle").mkdir(parents=True)
    (here / "tagged" / "runs" / "001" / "bundle" / "bundle.json").write_text("{}")
    save_photo(make_photo(0, "disc"), here / "tagged/runs/001/bundle/golden/0")
    assert not is_inside_data(Path("tagged/runs"), table)


def test_earlier_runs_beside_a_table_are_not_data(here: Path) -> None:
    table = Path("tagged/labels.csv")
    run = here / "tagged" / "runs" / "first" / "001"
    for name in ("run.json", "bundle/bundle.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    for name in ("pictures/worst", "bundle/golden/0", "0"):
        save_photo(make_photo(0, "disc"), run / name)
    for out in ("tagged/runs/first", "tagged/runs/second", "tagged/runs"):
        assert choose_output_folder(out, default="runs", data=table) == Path(out)
    save_photo(make_photo(0, "disc"), here / "tagged" / "runs" / "photos" / "0")
    with pytest.raises(UsageError, match=r"--out tagged/runs/second lies inside the data"):
        choose_output_folder("tagged/runs/second", default="runs", data=table)


def test_other_flags(here: Path) -> None:
    with pytest.raises(UsageError, match=r"--show-augmented photos/sheet\.png lies inside"):
        reject_path_inside_data(Path("photos/sheet.png"), Path("photos"), "--show-augmented")
    reject_path_inside_data(Path("sheet.png"), Path("photos"), "--show-augmented")


@pytest.mark.parametrize("out", ["photos/answers.csv", "photos/masks", "photos/disc/../a.csv"])
def test_answers_do_not_land_among_what_was_asked(here: Path, out: str) -> None:
    with pytest.raises(UsageError, match="lies inside the data photos; nothing") as caught:
        predict(Path("runs/001"), ["photos"], out=out)
    assert f"--out {here / 'photos-'}" in str(caught.value.hint)


def test_what_a_run_knows_of_its_data(here: Path) -> None:
    """A folder or a table as the user named it; nothing where the data is gone."""
    bundle = here / "runs" / "001" / "bundle"
    assert find_training_data(bundle) is None
    manifest = read_manifest(here / "photos", ReadOptions(task="classify"))
    for given, known in ((None, None), (Path("photos"), here / "photos"), (Path("gone"), None)):
        storage.make_folder(bundle.parent)
        save_manifest(manifest, bundle.parent / MANIFEST_FILE, data_path=given)
        assert find_training_data(bundle) == known


def test_a_file_is_no_folder(here: Path) -> None:
    (here / "taken").touch()
    with pytest.raises(UsageError, match="--out taken is a file"):
        choose_output_folder("taken", default="runs")
