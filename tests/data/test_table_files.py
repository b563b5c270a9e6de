"""Cells that are not quite paths, and tables as other programs write them."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.photos import make_photo


def photos(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_photo(number, "disc", (4, 4)).save(path, "JPEG")
    return root


def table(root: Path, *lines: str, **options: Any) -> Manifest:
    (root / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(root / "t.csv", ReadOptions(**options))


def test_ids_in_a_linked_folder(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", "0a1b.jpg", "ff00.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    manifest = table(tmp_path / "data", "id_code,diagnosis", "0a1b,4", "ff00,0")
    assert manifest.column_values("path") == ["images/0a1b.jpg", "images/ff00.jpg"]


def test_ids_without_extension_in_a_folder_below(tmp_path: Path) -> None:
    photos(tmp_path, "train_images/0a1b.jpg", "train_images/ff00.png", "other/readme.jpg")
    manifest = table(tmp_path, "id_code,diagnosis", "0a1b,4", "ff00,0")
    assert manifest.column_values("path") == ["train_images/0a1b.jpg", "train_images/ff00.png"]
    assert manifest.column_values("target") == ["4", "0"]
    assert (
        "2 files were found without their extension (such as: 0a1b is train_images/0a1b.jpg)."
        in manifest.notes
    )


def test_numeric_ids_with_and_without_leading_zeros(tmp_path: Path) -> None:
    photos(tmp_path, *(f"images/{number:04d}.jpg" for number in range(12)))
    rows = [f"{n},{'ab'[n % 2]},{20 + n}" for n in range(12)]
    expected = [f"images/{number:04d}.jpg" for number in range(12)]
    assert table(tmp_path, "id,kind,age", *rows).column_values("path") == expected
    rows = [f"{n:04d},{'ab'[n % 2]}" for n in range(12)]
    assert table(tmp_path, "id,kind", *rows).column_values("path") == expected
    whole = pa.table({"id": list(range(12)), "kind": ["a", "b"] * 6})
    pq.write_table(whole, tmp_path / "t.parquet")
    assert read_manifest(tmp_path / "t.parquet").column_values("path") == expected


def test_pictures_in_two_folders_of_which_a_name_says_one(tmp_path: Path) -> None:
    photos(tmp_path, "part_1/x1.jpg", "part_1/x2.jpg", "part_2/x3.jpg")
    manifest = table(tmp_path, "image_id,dx", "x1,nv", "x3,mel", "x2,nv")
    assert manifest.column_values("path") == ["part_1/x1.jpg", "part_2/x3.jpg", "part_1/x2.jpg"]
    manifest = table(tmp_path, "file,dx", "x1.jpg,nv", "x3.jpg,mel", "x2.jpg,nv")
    assert manifest.column_values("path") == ["part_1/x1.jpg", "part_2/x3.jpg", "part_1/x2.jpg"]
    assert any("found in subfolders" in note for note in manifest.notes)


def test_a_name_that_two_folders_have_is_refused_with_the_flag(tmp_path: Path) -> None:
    photos(tmp_path, "train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg")
    lines = ("id,label", "1,a", "2,b")
    with pytest.raises(DataError, match=r"t\.csv, line 2: 1 may be .*1\.jpg or .*--path-folder"):
        table(tmp_path, *lines)
    manifest = table(tmp_path, *lines, path_folder=str(tmp_path / "train"))
    assert manifest.column_values("path") == ["train/1.jpg", "train/2.jpg"]
    with pytest.raises(UsageError, match="--path-folder nowhere is not a folder"):
        table(tmp_path, *lines, path_folder="nowhere")


def test_a_folder_in_the_cell_decides(tmp_path: Path) -> None:
    photos(tmp_path, "data/cats/1.jpg", "data/dogs/1.jpg")
    manifest = table(tmp_path, "path,label", "cats/1.jpg,cat", "dogs\\1,dog")
    assert manifest.column_values("path") == ["data/cats/1.jpg", "data/dogs/1.jpg"]


def test_backslashes_throughout_and_other_letter_case(tmp_path: Path) -> None:
    photos(tmp_path, "Img/A.JPG", "Img/b.jpg")
    manifest = table(tmp_path, "path,label", "Img\\a.jpg,x", ".\\Img\\b.jpg,y")
    assert manifest.column_values("path") == ["Img/A.JPG", "Img/b.jpg"]
    assert any("1 file was found in different letter case" in note for note in manifest.notes)


def test_letters_that_are_stored_decomposed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.jpg")
    photos(tmp_path, decomposed, "thé.jpg")
    manifest = table(tmp_path, "path,label", "café.jpg,x", "thé.jpg,y")
    assert [source.path.is_file() for source in manifest.list_sources()] == [True, True]
    assert manifest.column_values("path")[0] == decomposed


def test_paths_that_count_from_another_folder(tmp_path: Path) -> None:
    photos(tmp_path / "photos", "a/1.jpg", "a/2.jpg")
    (tmp_path / "tables").mkdir()
    lines = ("path,label", "a/1.jpg,x", "a/2.jpg,y")
    with pytest.raises(DataError, match="from another folder: --path-folder"):
        table(tmp_path / "tables", *lines)
    manifest = table(tmp_path / "tables", *lines, path_folder=str(tmp_path / "photos"))
    assert [source.path for source in manifest.list_sources()] == [
        tmp_path / "photos/a/1.jpg",
        tmp_path / "photos/a/2.jpg",
    ]


WINDOWS = "C:\\Users\\Ann Lee\\photos\\"


@pytest.mark.parametrize(
    ("begin", "folder", "inside"),
    [
        (WINDOWS, ".", ""),  # the table in the folder that it was made for
        (WINDOWS, ".", "photos/"),  # beside it
        (WINDOWS, ".", "data/deep/"),  # somewhere above the pictures
        (WINDOWS, "elsewhere", "elsewhere/"),
        ("\\\\server\\share\\photos/", ".", ""),
        ("/home/ann/photos/", ".", ""),
        ("file:///home/ann/photos/", ".", "photos/"),
        ("https://host:80/data/upload/1/", ".", "images/"),
        ("/data/local-files/?d=photos/", ".", "photos/"),
    ],
)
def test_paths_of_another_machine(tmp_path: Path, begin: str, folder: str, inside: str) -> None:
    names = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    photos(tmp_path, *(inside + name for name in names))
    mark = "\\" if "\\" in begin else "/"
    cells = [begin + name.replace("/", mark) for name in (*names, "cow/1.jpg")]
    rows = [f"{cell},{label}" for cell, label in zip(cells, "abab", strict=True)]
    options = {} if folder == "." else {"path_folder": str(tmp_path / folder)}
    manifest = table(tmp_path, "path,label", *rows, **options)
    # dog/1.jpg and cow/1.jpg are not taken for cat/1.jpg, and no file for one that is not there.
    assert manifest.column_values("path") == [inside + name for name in names]
    assert manifest.skipped_counts == {"rows whose file does not exist": 1}
    assert (
        f"3 files were found by the end of paths of another machine (such as: {cells[0]} is "
        f"{inside}cat/1.jpg)." in manifest.notes
    )


def test_paths_of_another_machine_without_their_pictures(tmp_path: Path) -> None:
    photos(tmp_path, "elsewhere/7.jpg")
    with pytest.raises(DataError, match=r"1.jpg does not exist .* also from another machine"):
        table(tmp_path, "path,label", f"{WINDOWS}1.jpg,a", f"{WINDOWS}2.jpg,b")


def test_raw_photos_in_a_table_are_passed_over(tmp_path: Path) -> None:
    photos(tmp_path, "1.jpg", "2.jpg", "3.NEF")
    manifest = table(tmp_path, "path,label", "1.jpg,a", "2.jpg,b", "3.NEF,b")
    assert manifest.column_values("path") == ["1.jpg", "2.jpg"]
    assert any("camera RAW photos" in note and "(1)" in note for note in manifest.notes)


def test_numbers_that_happen_to_be_file_names_are_no_paths(tmp_path: Path) -> None:
    """A class 1 and a file 1.jpg have nothing to do with each other."""
    photos(tmp_path, *(f"{number}.jpg" for number in range(8)))
    rows = [f"{n}.jpg,{n % 2},{7 - n}" for n in range(8)]
    manifest = table(tmp_path, "picture,label,rank", *rows)
    assert manifest.column_values("path") == [f"{n}.jpg" for n in range(8)]
    assert manifest.schema["classes"] == ["0", "1"]


def test_a_missing_file_is_not_looked_for_elsewhere_where_paths_are_paths(tmp_path: Path) -> None:
    photos(tmp_path, "1.jpg", "2.jpg", "3.jpg", "old/4.jpg")
    manifest = table(tmp_path, "path,label", "1.jpg,a", "2.jpg,b", "3.jpg,a", "4.jpg,b")
    assert (len(manifest), manifest.skipped_counts) == (3, {"rows whose file does not exist": 1})


NAMES = (
    *("plain.jpg", "with space.jpg", "a,comma.jpg", "a;semicolon.jpg", "a|bar.jpg", "tab\t.jpg"),
    *('quote".jpg', "''.jpg", "über/größe.jpg", "日本/写真.jpg", "deep/er/x.y.jpg", "#1.jpg"),
    *("=1+1.jpg", "line\nbreak.jpg", "%20.jpg", "-1.jpg"),
)
LABEL = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8
).filter(lambda text: bool(text.strip()))
SPECIAL = st.sampled_from(
    ["NA", "007", "7", "1e3", "TRUE", "nan", "", 'say "so"', "a, b", "a;b", "a|b", "x\ny", "None"]
)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("nasty"), *NAMES)


def by_csv(rows: list[list[str]], delimiter: str, quoting: int, end: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([["path", "label"], *rows])
    return text.getvalue()


def by_arrow(rows: list[list[str]], delimiter: str, quoting: int, end: str) -> str:
    """An independent writer: Arrow's C++ one, which quotes every text or what needs it."""
    style = "all_valid" if quoting == csv.QUOTE_ALL else "needed"
    sink = io.BytesIO()
    columns = {"path": [row[0] for row in rows], "label": [row[1] for row in rows]}
    options = pa_csv.WriteOptions(delimiter=delimiter, quoting_style=style)
    pa_csv.write_csv(pa.table(columns), sink, options)
    return sink.getvalue().decode()


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=st.lists(st.one_of(LABEL, SPECIAL), min_size=len(NAMES), max_size=len(NAMES)),
    windows=st.booleans(),
    write=st.sampled_from([by_csv, by_arrow]),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    stated=st.booleans(),
)
def test_what_was_written_is_read_back(
    nasty: Path,
    labels: list[str],
    windows: bool,
    write: Any,
    delimiter: str,
    quoting: int,
    end: str,
    encoding: str,
    stated: bool,
) -> None:
    labels[:2] = ["first", "second"]
    paths = [name.replace("/", "\\") if windows else name for name in NAMES]
    text = write([list(pair) for pair in zip(paths, labels, strict=True)], delimiter, quoting, end)
    if stated:
        text = f"sep={delimiter}{end}{text}"
    (nasty / "t.csv").write_bytes(text.encode(encoding))
    manifest = read_manifest(nasty / "t.csv", ReadOptions(task="classify", label_column="label"))
    # Space around a label is nobody's intention, and letters are brought to one form.
    expected = {
        str(PurePosixPath(name)): unicodedata.normalize("NFC", label.strip())
        for name, label in zip(NAMES, labels, strict=True)
        if label.strip()
    }
    assert (
        dict(zip(manifest.column_values("path"), manifest.column_values("target"), strict=True))
        == expected
    )
