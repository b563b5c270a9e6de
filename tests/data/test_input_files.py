"""Files of an input from outside, by the suffixes and nouns of its spec: traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skipstone.core.errors import UsageError
from skipstone.core.registry import INPUTS
from skipstone.core.specs import InputSpec
from skipstone.data.input_files import list_file_inputs
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.predict_inputs import list_predict_items
from skipstone.data.read import read_manifest
from tests.photos import make_photo, save_photo

SOUND = InputSpec("sound", "sounds:Sound", suffixes=(".trc", ".tra"), noun="trace")


@pytest.fixture(autouse=True)
def _sound() -> Iterator[None]:
    INPUTS.register(SOUND)
    yield
    INPUTS.unregister("sound")


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jpg"):
            save_photo(make_photo(0, "disc", (8, 8)), (root / name).with_suffix(""))
        else:
            (root / name).write_bytes(b"RIFF....TRCE")
    return root


def error(path: Path, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_manifest(path, ReadOptions(**options))
    return str(caught.value)


def check(manifest: Manifest, reader: str, paths: list[str]) -> None:
    assert (manifest.reader, manifest.input, manifest.task) == (reader, "sound", "classify")
    assert manifest.column_values("path") == paths


def test_class_folders_and_split_folders(tmp_path: Path) -> None:
    names = ["cat/1.trc", "cat/sub/2.TRC", "dog/1.tra"]
    flat = read_manifest(write(tmp_path / "a", *names, "cat/1.txt", "README.txt", "3.trc"))
    check(flat, "class-folders", names)
    assert flat.notes == (
        "Read as class folders: 3 traces in 2 classes (cat, dog).",
        "1 trace in deeper folders belongs to the class of the enclosing class folder.",
        "1 trace outside class folders is skipped.",
    )
    assert flat.skipped_counts == {
        "files other than .trc, .tra": 2,
        "traces outside class folders": 1,
    }
    splits = [f"{split}/{name}" for split in ("train", "val") for name in names]
    check(read_manifest(write(tmp_path / "b" / "only", *splits)), "split-folders", splits)


@pytest.mark.parametrize("path", ["files/{}.trc", "{}"])
def test_a_table_names_them(tmp_path: Path, path: str) -> None:
    write(tmp_path, *(f"files/{number}.trc" for number in range(4)), "files/0.txt")
    rows = "".join(f"{path.format(number)},{'ab'[number % 2]}\n" for number in range(4))
    (tmp_path / "t.csv").write_text("name,label\n" + rows)
    manifest = read_manifest(tmp_path / "t.csv")
    check(manifest, "table", [f"files/{number}.trc" for number in range(4)])
    assert "4 traces from column name" in manifest.notes[0]
    (tmp_path / "bare.csv").write_text("files/0.trc,a\n")
    with pytest.raises(Exception, match=r"no header: its first line contains 'files/0\.trc'"):
        read_manifest(tmp_path / "bare.csv")


def test_a_table_of_text_files(tmp_path: Path) -> None:
    write(tmp_path, "1.txt", "2.txt", "3.trc")
    (tmp_path / "t.csv").write_text("path,label\n1.txt,a\n2.txt,b\n")
    assert read_manifest(tmp_path / "t.csv").input == "text"
    (tmp_path / "mixed.csv").write_text("path,label\n1.txt,a\n2.txt,b\n3.trc,a\n")
    said = error(tmp_path / "mixed.csv")
    assert "holds 2 texts and 1 trace; a data set has one kind of files." in said
    assert "--input text or --input sound" in said


def test_mixed_folders_need_a_decision(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.trc", "cat/1.jpg", "dog/2.trc", "dog/1.jpg", "dog/2.jpg", "dog/1.txt")
    assert "holds 3 pictures and 2 traces" in error(tmp_path)
    check(
        read_manifest(tmp_path, ReadOptions(input="sound")),
        "class-folders",
        ["cat/1.trc", "dog/2.trc"],
    )
    pictures = read_manifest(tmp_path, ReadOptions(input="image"))
    assert (pictures.input, len(pictures)) == ("image", 3)
    assert "did you mean 'sound'" in error(tmp_path, input="sond").lower()


def test_one_suffix_of_two_inputs_needs_a_decision(tmp_path: Path) -> None:
    other = InputSpec("other", "x:Other", suffixes=(".trc",), noun="track")
    INPUTS.register(other)
    try:
        write(tmp_path, "cat/1.trc", "dog/2.trc")
        assert "2 traces and 2 tracks" in error(tmp_path)
        write(tmp_path, "dog/3.tra")
        assert read_manifest(tmp_path).input == "sound"
    finally:
        INPUTS.unregister("other")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.trc", "2.trc"], "holds traces but no class folders"),
        (["train/1.trc", "test/2.trc"], "test, train hold traces without class folders"),
        (["cat/sub/1.trc"], "only one class (sub); .* Put traces of something else"),
        (["train_traces/1.trc", "test/2.trc"], "look like parts of a data set"),
        (["x/1.bin"], "holds no pictures and no recordings and no traces (1 file skipped"),
        (["x/1.bin"], "MP3 and AIFF; .trc, .tra."),
    ],
)
def test_errors_name_what_is_there(tmp_path: Path, names: list[str], words: str) -> None:
    said = error(write(tmp_path, *names))
    for part in words.split(" .* "):
        assert part in said


def test_one_trace_is_no_data_set(tmp_path: Path) -> None:
    said = error(write(tmp_path, "1.trc") / "1.trc")
    assert "is one trace, not a data set" in said


def test_prediction_skips_other_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "1.trc", "a/2.tra", "notes.md")
    found = list_predict_items([tmp_path], [], input=SOUND, options=ReadOptions())
    assert [item.relative_path.as_posix() for item in found] == ["1.trc", "a/2.tra"]


def test_an_input_without_suffixes_is_not_a_choice(tmp_path: Path) -> None:
    INPUTS.register(InputSpec("waves", "x:Waves"))
    try:
        with pytest.raises(UsageError, match="Choose one of: image, text, audio, sound"):
            list_file_inputs("waves")
    finally:
        INPUTS.unregister("waves")
