"""Hints are typed as they are printed, and then the data is read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skipstone.core.errors import DataError, SkipstoneError, UsageError
from skipstone.core.registry import INPUTS
from skipstone.core.settings import Settings
from skipstone.data.options import TABLE_SOURCE_OPTIONS, ReadOptions
from skipstone.data.predict_inputs import list_predict_items
from skipstone.data.read import read_manifest
from skipstone.data.sources import FileRef, read_source
from tests.hints import follow_hint
from tests.photos import make_photo, save_photo, write_class_folder

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def refused(path: Path, options: ReadOptions | None = None) -> UsageError:
    with pytest.raises(UsageError) as error:
        read_manifest(path, options)
    return error.value


def photo(path: Path, seed: int = 0) -> Path:
    return save_photo(make_photo(seed, "disc", (8, 8)), path)


def offered_flags(error: SkipstoneError) -> list[dict[str, str]]:
    """The flags of a hint, each with its value, as a shell reads them."""
    pattern = r"(--[a-z-]+)(?: |=)('(?:[^']|'\"'\"')*'|[^\s]+)"
    found = re.findall(pattern, (error.hint or "").replace(" or ", "  "))
    return [
        {flag[2:].replace("-", "_"): shlex.split(value)[0] if "'" in value else value.rstrip(".)")}
        for flag, value in found
        if not re.fullmatch("[A-Z]+", value)
    ]


def read_as_offered(path: Path, error: UsageError, **others: str) -> list[str]:
    """Reads `path` with each flag of the hint; returns their values."""
    values = []
    for flags in offered_flags(error):
        read_manifest(path, Settings({**others, **flags}).make_options(ReadOptions))
        values += flags.values()
    return values


# --- columns, delimiters and separators ----------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (("Finding Labels", "Patient ID"), ["Finding Labels", "Patient ID"]),
        (("it's", 'a "b"'), ["it's", 'a "b"']),
        (("$HOME", "a;b"), ["$HOME", "a;b"]),
        (("-x", "größe (cm)"), ["-x", "größe (cm)"]),
    ],
)
def test_columns_with_names_that_a_shell_would_split(
    tmp_path: Path, names: tuple[str, str], flags: list[str]
) -> None:
    rows = [
        {"text": f"film number {n} shows", names[0]: "ab"[n % 2], names[1]: str(n // 3)}
        for n in range(30)
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_as_offered(path, refused(path)) == flags


def test_columns_of_texts_and_of_bits(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(
        f"so it is {n},now that is {n},{n % 2},{n % 3 % 2},{'ab'[n % 2]}\n" for n in range(30)
    )
    path.write_text(f"what they say,what we say,is wet,is cold,my kind\n{rows}")
    error = refused(path)
    assert offered_flags(error) == [{"text_column": "what they say"}]
    error = refused(path, ReadOptions(text_column="what we say"))
    values = read_as_offered(path, error, text_column="what we say")
    assert values == ["my kind", "is wet,is cold"]


def test_a_column_of_texts_for_prediction(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("my words,n\n" + "".join(f"ab,{n}\n" for n in range(9)))
    with pytest.raises(UsageError) as error:
        list_predict_items([tmp_path / "t.csv"], [], input=INPUTS["text"], options=ReadOptions())
    (flags,) = offered_flags(error.value)
    assert {*flags} <= {*TABLE_SOURCE_OPTIONS}
    options = Settings(dict(flags)).make_options(ReadOptions)
    assert (
        len(list_predict_items([tmp_path / "t.csv"], [], input=INPUTS["text"], options=options))
        == 9
    )


@pytest.mark.parametrize("mark", ["|", ";", ",", " "])
def test_separators(tmp_path: Path, mark: str) -> None:
    rows = "".join(
        f'this is text {n},"{("cat", f"cat{mark}dog", "dog")[n % 3]}"\n' for n in range(30)
    )
    path = tmp_path / "t.csv"
    path.write_text(f"text,kinds\n{rows.replace(f'cat{mark}dog', f'cat{mark}dog', 1)}")
    few = "".join(f"this is text {n},{'ab'[n % 2]}\n" for n in range(30))
    path.write_text(f'text,labels\n{few}here it is,"a{mark}b"\n')
    values = read_as_offered(path, refused(path))
    assert values == [mark, "classify"]


def test_a_tab_can_be_typed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "text,x\tlabel\n" + "".join(f"this is {n},1\t{'ab'[n % 2]}\n" for n in range(9))
    )
    error = refused(path)
    (flags,) = offered_flags(error)
    assert Settings(dict(flags)).make_options(ReadOptions).delimiter in (",", "\t")
    tab = ReadOptions(delimiter="\\t", text_column="text,x")
    assert read_manifest(path, tab).schema["classes"] == ["a", "b"]


# --- tables in folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Test", "Training")])
def test_tables_of_split_folders_are_joined(
    tmp_path: Path, names: tuple[str, ...], mark: str, end: str
) -> None:
    root = tmp_path / "my data"
    for number, name in enumerate(names):
        for index in range(4):
            photo(root / name / f"p{index}", 10 * number + index)
        lines = [f"p{i}.jpg{mark} {i % 2}{mark} {int(i > 1)}" for i in range(4)]
        text = end.join([f"filename{mark} red{mark} odd", *lines])  # the last line has no end
        (root / name / "_classes.csv").write_bytes(text.encode())
    manifest = follow_hint(refused(root), tmp_path)
    assert manifest.schema["classes"] == ["red", "odd"]
    assert len(manifest) == 4 * len(names)
    assert "train" in manifest.column_values("split")
    assert len({*manifest.column_values("split")}) == len(names)


def test_tables_that_cannot_be_joined(tmp_path: Path) -> None:
    """The hint names the table of train, not the first one."""
    for name, header in (("train", "file,label"), ("test", "file,kind,label")):
        photo(tmp_path / name / "p0")
        photo(tmp_path / name / "p1")
        row = ",x" * header.count("kind")
        (tmp_path / name / "labels.csv").write_text(f"{header}\np0.jpg{row},a\np1.jpg{row},b\n")
    manifest = follow_hint(refused(tmp_path), tmp_path)
    assert manifest.root == tmp_path / "train"


@pytest.mark.parametrize(
    "names",
    [
        ("test-00000-of-00001.parquet", "train-00000-of-00001.parquet"),
        ("data/test.parquet", "data/train.parquet", "README.md"),
        ("my texts.parquet",),
        ("en/test/0.parquet", "en/train/0.parquet"),
    ],
)
def test_folders_of_tables_name_the_table(tmp_path: Path, names: tuple[str, ...]) -> None:
    table = pa.table({"text": [f"a text {n}" for n in range(8)], "label": ["a", "b"] * 4})
    for name in names:
        (tmp_path / "d d" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "d d" / name)
    error = refused(tmp_path / "d d")
    assert "table" in error.message
    assert "pictures" not in error.message
    manifest = follow_hint(error, tmp_path)
    assert "test" not in f"{manifest.root.name}/{manifest.column_values('path')[0]}"


def test_photos_beside_tables_of_parts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo(tmp_path / "photos" / name)
    for name in ("sample_submission", "test", "train"):
        (tmp_path / f"{name}.csv").write_text("path,label\nphotos/a.jpg,x\nphotos/b.jpg,y\n")
    assert follow_hint(refused(tmp_path), tmp_path).column_values("path") == [
        "photos/a.jpg",
        "photos/b.jpg",
    ]
    assert "train.csv" in (refused(tmp_path).hint or "")


def test_a_list_in_one_json_document(tmp_path: Path) -> None:
    rows = [{"text": f"a text {n}", "label": "ab"[n % 2]} for n in range(8)]
    (tmp_path / "my rows.json").write_text(json.dumps(rows, indent=1))
    error = refused(tmp_path / "my rows.json")
    assert len(follow_hint(error, tmp_path)) == 8


# --- folders -------------------------------------------------------------------------------------


def test_the_reader_that_is_named_reads_the_path_that_was_typed(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("Training/apple", "Training/fig", "Test/apple", "Test/fig", "x")
    ):
        photo(tmp_path / "wrapper" / "fruits" / name / "1", number)
    for root in (tmp_path, tmp_path / "wrapper", tmp_path / "wrapper" / "fruits"):
        assert read_as_offered(root, refused(root)) == ["class-folders", "split-folders"]


@pytest.mark.parametrize(
    "names",
    [("cat.0", "dog.0"), ("cat_1", "dog_1"), ("Hot Dog (1)", "Cold Dog (1)"), ("a-b-1", "c-1")],
)
@pytest.mark.parametrize("inside", ["", "train", "train+test1", "train+test"])
def test_labels_in_names(tmp_path: Path, names: tuple[str, ...], inside: str) -> None:
    root = tmp_path / "my photos"
    for number in range(3):
        for name in names:
            stem = re.sub(r"\d", str(number), name)
            (root / inside.partition("+")[0]).mkdir(parents=True, exist_ok=True)
            path = root / inside.partition("+")[0] / f"{stem}.jpg"
            photo(tmp_path / "any", number).rename(path)
        if "+" in inside:
            photo(root / inside.partition("+")[2] / str(number))
    if names == ("a-b-1", "c-1"):  # a label of one letter is too short to be sure
        return
    manifest = follow_hint(refused(root), tmp_path)
    assert manifest.schema["classes"] == sorted(
        {re.sub(r"[ _.(]*\d.*", "", name) for name in names}
    )


@pytest.mark.parametrize("ending", [".md", ".html", "", ".eml"])
def test_texts_with_another_ending(tmp_path: Path, ending: str) -> None:
    root = tmp_path / "my mail"
    for label in ("ham", "spam"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            (root / label / f"{number}{ending}").write_text(
                f"Liebe Grüße {number}", encoding="utf-8"
            )
    error = refused(root)
    assert "a folder of texts holds .txt files" in error.message
    manifest = follow_hint(error, tmp_path)
    assert (manifest.input, len(manifest)) == ("text", 6)
    assert manifest.schema["classes"] == ["ham", "spam"]


def test_files_that_are_no_texts_are_not_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.bin").write_bytes(b"\0\1\2" * 100)
    assert "Supported formats" in (refused(tmp_path).hint or "")


@pytest.mark.parametrize("kind", ["photos", "texts", "table", "table of photos"])
def test_git_lfs_pointers(tmp_path: Path, kind: str) -> None:
    if kind == "photos":
        write_class_folder(tmp_path, 2)
        (tmp_path / "disc" / "002.jpg").write_text(POINTER)
    elif kind == "texts":
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "1.txt").write_text(POINTER)
    else:
        (tmp_path / "1.jpg").write_text(POINTER)
        (tmp_path / "t.csv").write_text("path,label\n1.jpg,a\n" if " of" in kind else POINTER)
    path = tmp_path / "t.csv" if kind.startswith("table") else tmp_path
    with pytest.raises(DataError, match="Git LFS pointer") as error:
        read_manifest(path)
    assert error.value.hint == f"Download them: git -C {shlex.quote(str(tmp_path))} lfs pull"


def test_a_pointer_to_predict_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text(POINTER)
    with pytest.raises(DataError, match="is a Git LFS pointer"):
        read_source(FileRef(tmp_path / "1.jpg"))
    (tmp_path / "1.txt").write_text(POINTER[:20])
    assert read_source(FileRef(tmp_path / "1.txt")) == POINTER[:20].encode()


# --- soft labels ---------------------------------------------------------------------------------

SHARES: dict[str, Callable[[int], str]] = {
    "sum to 1": lambda n: f"0.{n % 5},0.{9 - n % 5},0.1",
    "votes": lambda n: f"{n % 2},{1 - n % 2},0" if n else "0.5,0.5,0",
    "alone": lambda n: f"0.{n % 7},0.{n % 3},0.{n % 5}",
}


@pytest.mark.parametrize("kind", SHARES)
def test_soft_labels_are_refused_as_such(tmp_path: Path, kind: str) -> None:
    rows = "".join(f"this is text {n},{SHARES[kind](n)}\n" for n in range(30))
    (tmp_path / "t.csv").write_text(f"text,joy,anger,fear\n{rows}")
    if kind == "votes":
        return
    error = refused(tmp_path / "t.csv")
    assert "soft labels are not supported" in error.message
    assert ("sum to 1" in error.message) == (kind == "sum to 1")
