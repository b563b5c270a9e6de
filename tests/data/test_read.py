"""Paths that are no data set, with the next thing to type, and labels that are probably mistakes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from skipstone.core.errors import UsageError
from skipstone.core.registry import READERS
from skipstone.core.specs import ReaderSpec
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.photos import make_photo, save_photo, write_class_folder, write_idx_folder


def photo(path: Path) -> Path:
    return save_photo(make_photo(0, "disc", (8, 8)), path)


def refused(path: Path | str, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_manifest(path, ReadOptions(**options))
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.hint, f"no next step: {text}"
    return text


def test_a_missing_path_names_the_near_ones(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert f"Did you mean {tmp_path / 'photos'}?" in refused(tmp_path / "phtos")
    assert f"Did you mean {tmp_path / 'photos'}?" in refused(tmp_path / "phtos" / "deeper" / "x")
    assert "holds: photos" in refused(tmp_path / "zebra")


def test_an_unexpanded_glob(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(f"{tmp_path}/photos/*.jpg").rsplit(":", 1)[1]


def test_a_path_with_brackets_is_no_glob(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "photos [2024]", 1)
    assert len(read_manifest(tmp_path / "photos [2024]")) == 3


def test_nothing_and_nothing_but_other_files(tmp_path: Path) -> None:
    assert "holds no pictures and no recordings." in refused(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "song.mid").write_bytes(b"MThd\0\0\0\6")
    assert "1 other files" in refused(tmp_path)
    (tmp_path / "a" / "song.mid").unlink()
    for name, head, words in (
        ("1.avif", b"\0\0\0\x18ftypavif", "1 AVIF picture, .* magick"),
        ("1.dng", b"II*\0", "1 camera RAW photo, .* Export them as JPEG"),
        ("1.mp4", b"\0\0\0\x18ftypmp42", "1 video, .* ffmpeg"),
    ):
        (tmp_path / "a" / name).write_bytes(head)
        assert re.search(words, refused(tmp_path))
        assert re.search(words.rpartition(" ")[2], refused(tmp_path / "a" / name))
        (tmp_path / "a" / name).unlink()


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("https://host/a/photos.zip?x=1", "(curl -LO 'https://host/a/photos.zip?x=1')"),
        ("s3://bucket/photos/", "skipstone train photos"),
    ],
)
@pytest.mark.parametrize("path", [str, Path])
def test_an_address_is_not_fetched(address: str, hint: str, path: type[str | Path]) -> None:
    said = refused(path(address))
    assert said.startswith(f"{address.rstrip('/')} is a URL.")
    assert "does not download" in said
    assert hint in said


def test_unlabelled_pictures(tmp_path: Path) -> None:
    photo(tmp_path / "1")
    assert "no class folders" in refused(tmp_path)
    assert f"then: skipstone train {tmp_path}." in refused(tmp_path)
    assert refused(tmp_path).endswith(f"skipstone predict MODEL {tmp_path}")
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,cat\n")
    (tmp_path / "more.csv").write_text("path,label\n1.jpg,cat\n")
    assert "and the table labels.csv, more.csv" in refused(tmp_path)
    assert refused(tmp_path).endswith(f"give it: skipstone train {tmp_path / 'labels.csv'}")


def test_names_that_begin_with_the_label_make_a_table(tmp_path: Path) -> None:
    """By the command that is said, in a shell."""
    for name in ("great_dane_1", "great_dane_22", "pug-3", "pug (4)"):
        photo(tmp_path / "the dogs" / name)
    said = refused(tmp_path / "the dogs")
    command = re.search(r"make a table from them: (.*?); then: skipstone train (.*?)\. To", said)
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    table, _, folder = command[2].partition(" --path-folder ")
    (table,), (folder,) = shlex.split(table), shlex.split(folder)
    manifest = read_manifest(table, ReadOptions(path_folder=folder))
    assert sorted(manifest.column_values("target")) == ["great_dane", "great_dane", "pug", "pug"]
    photo(tmp_path / "the dogs" / "7")
    assert "Sort them into folders" in refused(tmp_path / "the dogs")


def test_unlabelled_split_folders(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "1")
    photo(tmp_path / "test" / "1")
    assert "without class folders" in refused(tmp_path)
    table = tmp_path / "train" / "metadata.csv"
    table.write_text("file_name,label\n1.jpg,cat\n")
    assert refused(tmp_path).endswith(f"skipstone train {table}")


def test_one_class(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "1")
    assert "only one class (cat)" in refused(tmp_path)
    assert f"in {tmp_path / 'not-cat'}, then: skipstone train {tmp_path}" in refused(tmp_path)
    photo(tmp_path / "not-cat" / "1")
    assert len(read_manifest(tmp_path)) == 2  # what it said to do works
    photo(tmp_path / "more" / "train" / "cat" / "1")
    assert "only one class (cat)" in refused(tmp_path / "more")


def test_a_wrapper_folder_is_looked_through_and_that_is_said(tmp_path: Path) -> None:
    photos = write_class_folder(tmp_path / "download" / "photos", 1)
    (tmp_path / "__MACOSX" / "photos").mkdir(parents=True)
    (tmp_path / "download" / "README.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for root in (tmp_path, tmp_path / "download"):
        manifest = read_manifest(root)
        assert manifest.root == photos
        assert (
            manifest.notes[0] == f"{root} holds only one folder, so the data is read from {photos}."
        )
        assert all(source.path.is_file() for source in manifest.list_sources())
    assert "only one folder" not in read_manifest(photos).notes[0]
    photo(tmp_path / "empty" / "1")  # two folders: one of them is a class
    assert read_manifest(tmp_path).root == tmp_path


def test_rows_are_left_out_inside_a_wrapper_too(tmp_path: Path) -> None:
    photos = write_class_folder(tmp_path / "download" / "photos", 2)
    leave = tmp_path / "leave.txt"
    leave.write_text("disc/000.jpg\n")
    whole = read_manifest(photos.parent)
    manifest = read_manifest(photos.parent, ReadOptions(exclude=str(leave)))
    assert len(manifest) == len(whole) - 1
    assert "only one folder" in manifest.notes[0]


def test_a_wrapper_around_other_layouts(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "a" / "photos" / "train", 1)
    write_class_folder(tmp_path / "a" / "photos" / "val", 1)
    assert read_manifest(tmp_path / "a").reader == "split-folders"
    write_idx_folder(tmp_path / "b" / "mnist" / "raw")
    assert read_manifest(tmp_path / "b").reader == "idx"
    photo(tmp_path / "c" / "photos" / "images" / "1")
    (tmp_path / "c" / "photos" / "labels.csv").write_text("path,label\nimages/1.jpg,cat\n")
    table = tmp_path / "c" / "photos" / "labels.csv"
    assert refused(tmp_path / "c").endswith(f"give it: skipstone train {table}")


@pytest.mark.parametrize("name", ["run.json", "bundle.json"])
def test_a_model_is_not_data(tmp_path: Path, name: str) -> None:
    write_class_folder(tmp_path, 1)
    (tmp_path / name).write_text("{}")
    assert "not data" in refused(tmp_path)


def test_a_folder_of_runs_is_not_data(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "001" / "run.json").write_text("{}")
    assert "folder of runs" in refused(tmp_path)


def test_files_that_are_no_data(tmp_path: Path) -> None:
    assert "skipstone predict MODEL" in refused(photo(tmp_path / "1"))
    for name, words in (
        ("m.onnx", "model file"),
        ("x.doc", "not a data set"),
        ("labels.xlsx", "is a workbook.*skipstone train .*labels.csv"),
        ("labels.pkl", "a pickle, which is unsafe to open"),
        ("labels.json", "python3 -c .* < .*labels.json > .*labels.jsonl"),
        ("labels.csv.gz", "gunzip -k .*labels.csv.gz, then: skipstone train .*labels.csv"),
        ("train-images-idx3-ubyte.gz", "the folder that holds all of them.*skipstone train "),
        ("photos.rar", "unrar x .*photos.rar .*photos/"),
    ):
        (tmp_path / name).write_bytes(b"something")
        assert re.search(words, refused(tmp_path / name))


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_comes_with_the_command_that_unpacks_it(tmp_path: Path, kind: str) -> None:
    """And the command works: then the folder that it names is a data set."""
    write_class_folder(tmp_path / "made here" / "photos", 1)
    archive = shutil.make_archive(str(tmp_path / "my photos"), kind, tmp_path / "made here")
    hint = refused(archive)
    unpack = hint.partition("Unpack it: ")[2].partition(", then: ")[0]
    assert hint.endswith(f"skipstone train '{tmp_path / 'my photos'}'")
    if kind == "zip" and shutil.which("unzip") is None:
        unpack = unpack.replace("unzip", f"{sys.executable} -m zipfile -e").replace(" -d ", " ")
    subprocess.run(unpack, shell=True, check=True, capture_output=True)
    assert len(read_manifest(tmp_path / "my photos")) == 3


def test_unknown_names(flat_photo_folder: Path) -> None:
    assert "'split-folders'" in refused(flat_photo_folder, reader="split-folder")
    assert "classify" in refused(flat_photo_folder, task="clasify")
    with pytest.raises(UsageError, match="no split folders"):
        read_manifest(flat_photo_folder, ReadOptions(reader="split-folders"))


class OneLine:
    """A reader from outside: file names in a text file."""

    def detect_layout(self, path: Path) -> str | None:
        return "a list" if path.suffix == ".list" else None

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        names = path.read_text().split()
        return Manifest(
            build_table({"path": names, "target": [name[0] for name in names]}, pa.string()),
            root=path.parent,
            reader="whatever",
            input="image",
            task="classify",
            schema={"classes": sorted({name[0] for name in names})},
        )


@pytest.fixture
def plugin() -> Iterator[None]:
    READERS.register(ReaderSpec("list", f"{__name__}:OneLine"))
    yield
    READERS.unregister("list")


@pytest.mark.usefixtures("plugin")
def test_a_reader_from_outside_is_asked_too(tmp_path: Path) -> None:
    (tmp_path / "x.list").write_text("a1 b1")
    manifest = read_manifest(tmp_path / "x.list")
    assert (manifest.reader, manifest.column_values("target")) == ("list", ["a", "b"])


def test_reading_needs_no_torch(flat_photo_folder: Path) -> None:
    code = (
        "import sys; from skipstone.data.read import read_manifest; "
        "from skipstone.datasets.splitting import assign_roles; "
        "from skipstone.auditing.run_checks import audit_rows; "
        f"m = assign_roles(read_manifest({str(flat_photo_folder)!r})); audit_rows(m); "
        "assert len(m) == 60; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.real_data
def test_real_photos(real_data: Path) -> None:
    manifest = read_manifest(real_data / "clothing")
    assert (len(manifest), len(manifest.schema["classes"])) == (3409, 10)
    assert len(manifest.filter_rows("split", "validation")) == 341


def labelled(root: Path, *labels: str) -> Manifest:
    """A table of photos with these labels."""
    rows = ["path,label"]
    for number, label in enumerate(labels):
        path = save_photo(make_photo(number, "disc", (8, 8)), root / str(number))
        rows.append(f"{path.name},{label}")
    (root / "t.csv").write_text("\n".join(rows) + "\n")
    return read_manifest(root / "t.csv")


def test_labels_that_look_alike_are_said(tmp_path: Path) -> None:
    """Split folders by two people; nothing is merged."""
    names = ("train/Cat", "train/t-shirt", "test/cat", "test/T_shirt", "test/cow")
    for number, name in enumerate(names):
        save_photo(make_photo(number, "disc", (8, 8)), tmp_path / name / "1")
    manifest = read_manifest(tmp_path)
    assert len(manifest.schema["classes"]) == 5
    (said,) = [note for note in manifest.notes if "letter case" in note]
    assert "'Cat' (1) and 'cat' (1), 't-shirt' (1) and 'T_shirt' (1). Rename one" in said


def test_numbers_and_words_for_a_missing_label(tmp_path: Path) -> None:
    notes = " ".join(labelled(tmp_path, "1", "1.0", "2", "nan", "nan").notes)
    assert "separate classes: '1' (1) and '1.0' (1)." in notes
    assert "'nan' is the label of 2 rows and is treated as a class." in notes


def test_labels_that_differ_are_left_in_peace(tmp_path: Path) -> None:
    assert len(labelled(tmp_path, "1-2", "12", "-1", "1", "c", "c++", "NA", "none").notes) == 1


@pytest.mark.parametrize(
    ("label", "hint"), [("{}.5", "Regression is not supported"), ("id-{}", "Labels must recur")]
)
def test_labels_that_never_recur_are_refused(tmp_path: Path, label: str, hint: str) -> None:
    labels = [label.format(max(number, 1)) for number in range(20)]  # one of them twice
    with pytest.raises(UsageError, match=r"holds 19 distinct labels in 20 rows") as caught:
        labelled(tmp_path, *labels)
    assert hint in str(caught.value.hint)
    assert len(labelled(tmp_path, *labels[:-1])) == 19  # few rows: who knows
