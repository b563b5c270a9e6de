"""The exclude list: what it says is left out, and nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.data.exclude import format_exclude_line, read_exclude_list
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest


def _list(folder: Path, text: str) -> Path:
    path = folder / "exclude.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _names(photos: Path, path: Path) -> tuple[set[str], tuple[str, ...]]:
    manifest = read_manifest(photos, ReadOptions(exclude=str(path)))
    return set(manifest.column_values("path")), manifest.notes


def test_listed_rows_are_left_out_and_the_rest_stays(photo_folder: Path, tmp_path: Path) -> None:
    every = read_manifest(photo_folder)
    names = every.column_values("path")
    path = _list(tmp_path, f"# why\n\n{names[3]}\n  {names[5]}  \n{names[3]}\n#{names[7]}\n")
    kept, notes = _names(photo_folder, path)
    assert kept == set(names) - {names[3], names[5]}
    assert any(f"2 rows of {len(every)}" in note for note in notes)
    manifest = read_manifest(photo_folder, ReadOptions(exclude=str(path)))
    ids = dict(zip(every.column_values("path"), every.column_values("id"), strict=True))
    assert [ids[p] for p in manifest.column_values("path")] == manifest.column_values("id")


def test_folders_absolute_paths_and_backslashes(photo_folder: Path, tmp_path: Path) -> None:
    names = read_manifest(photo_folder).column_values("path")
    disc = {name for name in names if name.startswith("train/disc/")}
    other = next(name for name in names if "square" in name)
    absolute = photo_folder.absolute() / next(name for name in names if "stripes" in name)
    text = "train/disc/\n" + other.replace("/", "\\") + f"\n{absolute}\n"
    kept, _ = _names(photo_folder, _list(tmp_path, text))
    assert set(names) - kept == disc | {other, str(absolute.relative_to(photo_folder.absolute()))}


def test_a_line_that_names_nothing_is_said(photo_folder: Path, tmp_path: Path) -> None:
    name = read_manifest(photo_folder).column_values("path")[0]
    _, notes = _names(photo_folder, _list(tmp_path, f"{name}\ngone.jpg\n"))
    assert any("1 line of" in note and "'gone.jpg'" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("photos/a.jpg\n", "no line of"),
        ("train/\nvalidation/\nval/\n", "names all"),
        ('"train/a\n', "line 1 of"),
        ("7\n", "no line of"),
    ],
)
def test_lists_that_cannot_be_meant(
    photo_folder: Path, tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _names(photo_folder, _list(tmp_path, text))
    assert said in caught.value.message
    assert caught.value.hint


def test_a_missing_list_and_one_that_is_no_text(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        _names(photo_folder, tmp_path / "none.txt")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UsageError, match="UTF-8"):
        _names(photo_folder, tmp_path / "bytes")


def test_an_empty_list_leaves_everything(photo_folder: Path, tmp_path: Path) -> None:
    kept, _ = _names(photo_folder, _list(tmp_path, "\ufeff# nothing\n"))
    assert kept == set(read_manifest(photo_folder).column_values("path"))


def test_a_class_without_rows_is_no_class(photo_folder: Path, tmp_path: Path) -> None:
    names = read_manifest(photo_folder).column_values("path")
    path = _list(tmp_path, "\n".join(name for name in names if "/disc/" in name))
    manifest = read_manifest(photo_folder, ReadOptions(exclude=str(path)))
    assert manifest.schema["classes"] == ["square", "stripes"]
    assert any(
        "Classes without any remaining row, removed: disc" in note for note in manifest.notes
    )


def test_members_of_a_container(idx_folder: Path, tmp_path: Path) -> None:
    every = read_manifest(idx_folder)
    path, member = every.column_values("path")[4], every.column_values("member")[4]
    manifest = read_manifest(
        idx_folder, ReadOptions(exclude=str(_list(tmp_path, f"{path}#{member}\n")))
    )
    assert len(manifest) == len(every) - 1
    assert every.column_values("id")[4] not in manifest.column_values("id")


@pytest.mark.parametrize(
    "name", ["a.jpg", "#a.jpg", '"a".jpg', " a.jpg", "a\nb.jpg", "a b/ü.jpg", "a\tb", "x#3"]
)
def test_any_name_comes_back(tmp_path: Path, name: str) -> None:
    assert read_exclude_list(_list(tmp_path, f"# one\n{format_exclude_line(name)}\n")) == [name]
