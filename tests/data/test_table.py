"""Tables: dialects, columns inferred or refused, one label or several."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.photos import make_photo, save_photo

COUNT = 12
NAMES = [f"img/{number:02d}.jpg" for number in range(COUNT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("table")
    for number, name in enumerate(NAMES):
        save_photo(make_photo(number, "disc", (8, 8)), root / name)
    return root


Read = Callable[..., Manifest]


@pytest.fixture
def read(folder: Path) -> Read:
    def write_and_read(header: str, rows: Sequence[str], **options: Any) -> Manifest:
        """Rows are what follows the path in each line."""
        lines = [header, *(f"{name},{row}" for name, row in zip(NAMES, rows, strict=False))]
        (folder / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_manifest(folder / "t.csv", ReadOptions(**options))

    return write_and_read


def alternate(*values: str) -> list[str]:
    return [values[number % len(values)] for number in range(COUNT)]


def test_one_label(read: Read) -> None:
    manifest = read("path,label", alternate("cat", "dog"))
    assert (manifest.reader, manifest.task) == ("table", "classify")
    assert manifest.column_values("path") == NAMES
    assert manifest.column_values("target") == alternate("cat", "dog")
    assert "column path" in manifest.notes[0]
    assert "column label" in manifest.notes[0]


def test_numbers_as_labels_stay_text_in_natural_order(read: Read) -> None:
    manifest = read("path,label", alternate("10", "9", "007"))
    assert manifest.schema["classes"] == ["007", "9", "10"]


def test_the_one_column_that_recurs_is_the_label(read: Read) -> None:
    rows = [f"{a},note {n},0.{n}5" for n, a in enumerate(alternate("cat", "dog"))]
    manifest = read("path,animal,remark,sharpness", rows)
    assert set(manifest.column_values("target")) == {"cat", "dog"}
    assert any("Not used: 2 columns (remark, sharpness)" in note for note in manifest.notes)


def test_measurements_with_a_decimal_comma_are_no_labels(read: Read) -> None:
    rows = [f'{a},"{n % 3},5"' for n, a in enumerate(alternate("cat", "dog"))]
    assert read("path,animal,sharpness", rows).schema["classes"] == ["cat", "dog"]


def test_two_columns_that_may_be_labels_are_refused_with_the_flag(read: Read) -> None:
    rows = [
        f"{a},{b}" for a, b in zip(alternate("cat", "dog"), alternate("r", "g", "b"), strict=True)
    ]
    with pytest.raises(UsageError, match=r"animal, colour.*--label-column animal or"):
        read("path,animal,colour", rows)
    manifest = read("path,animal,colour", rows, label_column="colour")
    assert manifest.schema["classes"] == ["b", "g", "r"]


@pytest.mark.parametrize("name", ["label", "choice"])  # choice: as Label Studio exports it
def test_a_column_called_label_wins_over_others(read: Read, name: str) -> None:
    rows = [
        f"{a},{b}" for a, b in zip(alternate("cat", "dog"), alternate("r", "g", "b"), strict=True)
    ]
    assert read(f"path,{name},colour", rows).schema["classes"] == ["cat", "dog"]


def test_two_columns_of_files_are_refused_with_the_flag(read: Read) -> None:
    rows = [f"{name},{a}" for name, a in zip(NAMES, alternate("cat", "dog"), strict=True)]
    with pytest.raises(UsageError, match="--path-column left"):
        read("left,right,label", rows)
    assert len(read("left,right,label", rows, path_column="right")) == COUNT
    assert (
        read("image,mask,label", rows)
        .notes[0]
        .startswith("Read as a table: 12 pictures from column image")
    )


def test_columns_of_0_and_1_are_tags(read: Read) -> None:
    manifest = read("path,wet,cold", alternate("1,1", "0,1", "0,0"))
    assert manifest.task == "tag"
    assert manifest.schema["classes"] == ["wet", "cold"]
    assert manifest.column_values("target")[:3] == [["wet", "cold"], ["cold"], []]
    assert any("4 pictures without any tag" in note for note in manifest.notes)


def test_exactly_one_1_in_each_row_is_refused_with_the_flag(read: Read) -> None:
    rows = alternate("1,0", "0,1")
    with pytest.raises(UsageError, match=r"--task classify.*--task tag"):
        read("path,cat,dog", rows)
    assert read("path,cat,dog", rows, task="classify").column_values("target")[:2] == ["cat", "dog"]
    assert read("path,cat,dog", rows, task="tag").column_values("target")[:2] == [["cat"], ["dog"]]


def test_0_1_columns_beside_a_label_are_refused_with_both_flags(read: Read) -> None:
    rows = [
        f"{a},{b}"
        for a, b in zip(alternate("oak", "elm"), alternate("1,1", "0,1", "0,0"), strict=True)
    ]
    with pytest.raises(UsageError, match=r"--label-column tree or --label-columns wet,cold"):
        read("path,tree,wet,cold", rows)
    assert read("path,tree,wet,cold", rows, label_columns="wet,cold").task == "tag"
    assert read("path,tree,wet,cold", rows, label_column="tree").task == "classify"


def test_a_label_column_that_holds_no_bits(read: Read) -> None:
    with pytest.raises(DataError, match=r"t.csv, line 3: column wet holds '2'"):
        read("path,wet,cold", ["1,0", "2,1", "0,0"], label_columns=("wet", "cold"))


def test_one_column_of_bits_is_a_label(read: Read) -> None:
    manifest = read("path,defect", alternate("0", "1", "0"))
    assert (manifest.task, manifest.schema["classes"]) == ("classify", ["0", "1"])


@pytest.mark.parametrize("mark", ["|", ";"])
def test_tags_in_one_cell(read: Read, mark: str) -> None:
    manifest = read("path,tags", alternate(f"wet{mark} cold", "cold", ""))
    assert manifest.task == "tag"
    assert manifest.column_values("target")[:3] == [["wet", "cold"], ["cold"], []]
    assert repr(mark) in manifest.notes[0]


def test_a_comma_in_a_label_is_refused_with_the_flags(read: Read) -> None:
    rows = alternate('"wet,cold"', "cold", "wet")
    with pytest.raises(UsageError, match=r"--separator ','.*--task classify"):
        read("path,weather", rows, label_column="weather")
    with pytest.raises(UsageError, match=r"--separator ','"):
        read("path,label", rows)
    assert read("path,label", rows, separator=",").column_values("target")[0] == ["wet", "cold"]
    assert "wet,cold" in read("path,label", rows, task="classify").schema["classes"]


def test_words_in_a_column_called_tags_and_in_one_called_label(read: Read) -> None:
    rows = alternate("clear primary", "clear road", "road")
    assert read("path,tags", rows).schema["classes"] == ["clear", "primary", "road"]
    assert read("path,label", rows).task == "classify"


def test_labels_with_a_comma_that_do_not_recur_are_labels(read: Read) -> None:
    rows = alternate('"shirt, long"', '"shirt, short"', "pants")
    assert read("path,label", rows).task == "classify"


def test_separator_and_classify_contradict(read: Read) -> None:
    with pytest.raises(UsageError, match="--task classify cannot have"):
        read("path,label", alternate("a|b", "b"), separator="|", task="classify")


def test_splits_and_groups(read: Read) -> None:
    rows = [
        f"{a},{s},{n // 3}"
        for n, (a, s) in enumerate(
            zip(alternate("cat", "dog"), alternate("train", "Val", "TEST", ""), strict=True)
        )
    ]
    manifest = read("path,label,split,patient_id", rows)
    assert manifest.column_values("split")[:4] == ["train", "validation", "test", ""]
    assert manifest.column_values("group")[:4] == ["0", "0", "0", "1"]
    assert any("stay together: 4 groups" in note for note in manifest.notes)


def test_a_misspelt_split_is_named_with_its_line(read: Read) -> None:
    with pytest.raises(DataError, match=r"line 3: 'vall' in column split.*Allowed: train"):
        read(
            "path,label,split",
            [f"{a},{s}" for a, s in zip("abab", ["train", "vall"] * 2, strict=True)],
        )


def test_a_set_column_with_other_words_is_no_split(read: Read) -> None:
    manifest = read("path,label,set", [f"{a},lego" for a in alternate("cat", "dog")])
    assert set(manifest.column_values("split")) == {""}


def test_a_column_that_does_not_exist(read: Read) -> None:
    with pytest.raises(UsageError, match=r"--label-column lable.*Did you mean 'label'"):
        read("path,label", alternate("a", "b"), label_column="lable")
    for flag in ("path_column", "split_column", "group_column"):
        with pytest.raises(UsageError, match="no such column"):
            read("path,label", alternate("a", "b"), **{flag: "zzz"})


def test_missing_files_are_counted_until_they_are_most(read: Read, folder: Path) -> None:
    (folder / "m.csv").write_text(
        "path,label\n"
        + "".join(
            f"{name},{label}\n"
            for name, label in zip(
                [*NAMES[:4], "gone.jpg", ""], ["a", "b", "a", "b", "a", "b"], strict=True
            )
        )
    )
    manifest = read_manifest(folder / "m.csv")
    assert len(manifest) == 4
    assert manifest.skipped_counts == {"rows whose file does not exist": 2}
    (folder / "m.csv").write_text("path,label\ngone.jpg,a\ngone2.jpg,b\n" + f"{NAMES[0]},a\n")
    with pytest.raises(DataError, match=r"line 2: gone.jpg does not exist \(looked at "):
        read_manifest(folder / "m.csv")
    with pytest.raises(DataError, match=r"2 of 3 rows name a file that does not exist"):
        read_manifest(folder / "m.csv", ReadOptions(path_column="path"))


def test_a_file_named_twice(folder: Path) -> None:
    table = folder / "twice.csv"
    table.write_text(f"path,label\n{NAMES[0]},a\n{NAMES[1]},b\n./{NAMES[0]},a\n")
    manifest = read_manifest(table)
    assert (len(manifest), manifest.skipped_counts) == (2, {"repeated rows": 1})
    table.write_text(f"path,label\n{NAMES[0]},a\n{NAMES[1]},b\n{NAMES[0]},b\n")
    with pytest.raises(DataError, match=r"line 2 and 4.*two labels, a and b.*--task tag"):
        read_manifest(table)
    assert read_manifest(table, ReadOptions(task="tag")).column_values("target")[0] == ["a", "b"]
    table.write_text(
        f"path,label,split\n{NAMES[0]},a,train\n{NAMES[1]},b,train\n{NAMES[0]},a,test\n"
    )
    with pytest.raises(DataError, match="two splits or groups"):
        read_manifest(table)


def test_absolute_and_backslash_paths(folder: Path) -> None:
    table = folder / "abs.csv"
    windows = NAMES[1].replace("/", "\\")
    table.write_text(f"path,label\n{folder / NAMES[0]},a\n{windows},b\n{NAMES[2]},a\n")
    assert read_manifest(table).column_values("path") == NAMES[:3]
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    moved = elsewhere / "abs.csv"
    moved.write_text(f"path,label\n{folder / NAMES[0]},a\n{folder / NAMES[1]},b\n")
    assert [source.path for source in read_manifest(moved).list_sources()] == [
        folder / NAMES[0],
        folder / NAMES[1],
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"path,label\n", "has no rows"),
        (b"img/00.jpg,cat\nimg/01.jpg,dog\n", "no header"),
        (b"path\nimg/00.jpg\n", "only one column"),
        (b"path,label\nimg/00.jpg,a\nimg/01.jpg,b,c\n", "line 3 has 3 columns"),
        (b'path,label\nimg/00.jpg,a\nimg/01.jpg,"b\n', "line 3: unexpected end"),
        (b"path,label\nimg/00.jpg,caf\xe9\n", "not UTF-8"),
        (b"path,label,label\nimg/00.jpg,a,a\n", "more than one column named label"),
        (b"path,label\nimg/00.jpg,a\nimg/01.jpg,a\n", "classification needs at least two"),
        (b"thing,label\nhello,a\nbye,b\n", "no column names existing files"),
    ],
)
def test_broken_tables_say_where(folder: Path, data: bytes, words: str) -> None:
    (folder / "broken.csv").write_bytes(data)
    with pytest.raises(UsageError, match=words):
        read_manifest(folder / "broken.csv")


def test_a_tie_between_delimiters_is_refused_with_the_flag(folder: Path) -> None:
    (folder / "tie.csv").write_text(f"path,x;label\n{NAMES[0]},1;a\n{NAMES[1]},2;b\n")
    with pytest.raises(UsageError, match="--delimiter"):
        read_manifest(folder / "tie.csv")


def test_excels_first_line_says_the_delimiter(folder: Path) -> None:
    lines = ["sep=;", "path;label", f"{NAMES[0]};a", f"{NAMES[1]};b, or c", f"{NAMES[2]}"]
    (folder / "sep.csv").write_bytes("\r\n".join(lines).encode("utf-16"))
    manifest = read_manifest(folder / "sep.csv")
    assert manifest.column_values("target") == ["a", "b, or c"]
    assert any("1 line without their last cells (first line 5)" in n for n in manifest.notes)
    (folder / "sep.csv").write_text("sep=;\npath;label\nimg/00.jpg;a;x\n")
    with pytest.raises(DataError, match=r"line 3 has 3 columns, but the header \(line 2\)"):
        read_manifest(folder / "sep.csv")


def test_lines_that_end_before_empty_tags_have_no_tags(folder: Path) -> None:
    """Excel leaves out what is empty at the end of a line, and adds empty columns elsewhere."""
    (folder / "ends.csv").write_text(
        f"path,tags\n{NAMES[0]},wet|cold\n{NAMES[1]}\n{NAMES[2]},cold,,\n{NAMES[3]},\n"
    )
    manifest = read_manifest(folder / "ends.csv")
    assert manifest.column_values("target") == [["wet", "cold"], [], ["cold"], []]


def test_another_encoding_is_said_with_a_flag(folder: Path) -> None:
    text = f"path;label\n{NAMES[0]};café\n{NAMES[1]};thé\n"
    (folder / "win.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2, byte 15 .*--encoding cp1252"):
        read_manifest(folder / "win.csv")
    (said,) = [
        note
        for note in read_manifest(folder / "win.csv", ReadOptions(bad_bytes="replace")).notes
        if "--encoding cp1252" in note
    ]
    assert "training refuses them" in said
    manifest = read_manifest(folder / "win.csv", ReadOptions(encoding="cp1252"))
    assert manifest.schema["classes"] == ["café", "thé"]
    (folder / "win.csv").write_text(text, encoding="utf-8-sig")
    assert len(read_manifest(folder / "win.csv", ReadOptions(encoding="utf8"))) == 2
    with pytest.raises(UsageError, match="unknown --encoding latin-99"):
        read_manifest(folder / "win.csv", ReadOptions(encoding="latin-99"))


def test_words_that_others_take_for_gaps_and_numbers_stay_text(read: Read) -> None:
    labels = ["NA", "007", "nan", "None", "null", "7", "1e3", "TRUE"]
    manifest = read("path,label", [labels[n % 8] for n in range(COUNT)], task="classify")
    assert set(manifest.column_values("target")) == set(labels)
    assert len(manifest) == COUNT


LABEL = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="|;"),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=st.lists(LABEL, min_size=2, max_size=4, unique_by=lambda text: text.casefold()),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
)
def test_every_dialect_gives_the_same_rows(
    folder: Path, labels: list[str], delimiter: str, quoting: int, end: str, encoding: str
) -> None:
    chosen = [labels[number % len(labels)] for number in range(COUNT)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["path", "label"])
    writer.writerows(zip(NAMES, chosen, strict=True))
    (folder / "dialect.csv").write_bytes(text.getvalue().encode(encoding))
    manifest = read_manifest(folder / "dialect.csv", ReadOptions(task="classify"))
    unicode_form = [manifest.column_values("target")[labels.index(label)] for label in labels]
    assert manifest.column_values("path") == NAMES
    assert manifest.column_values("target") == [
        unicode_form[labels.index(label)] for label in chosen
    ]


def test_parquet_holds_text_numbers_lists_and_bits(folder: Path) -> None:
    path = folder / "t.parquet"

    def read(**columns: Any) -> Manifest:
        pq.write_table(pa.table({"path": NAMES, **columns}), path)
        return read_manifest(path)

    assert read(label=alternate("a", "b")).column_values("target") == alternate("a", "b")
    coded = pa.array(alternate("a", "b")).dictionary_encode()
    assert read(label=coded).column_values("target") == alternate("a", "b")
    assert read(label=[n % 2 for n in range(COUNT)]).column_values("target") == alternate("0", "1")
    assert read(label=[None, *(float(n % 2) for n in range(1, COUNT))]).skipped_counts == {
        "rows without a label": 1
    }
    assert read(tags=[["a"], ["a", "b"], []] * 4).column_values("target")[:3] == [
        ["a"],
        ["a", "b"],
        [],
    ]
    tags = read(wet=[True, False, False] * 4, cold=[True, True, False] * 4)
    assert tags.column_values("target")[:3] == [["wet", "cold"], ["cold"], []]


def test_parquet_columns_that_python_cannot_hold_are_left_alone(folder: Path) -> None:
    """Times in nanoseconds, also in a column that nobody needs."""
    path, odd = folder / "t.parquet", pa.array([1] * COUNT, pa.int64()).cast(pa.timestamp("ns"))
    durations = pa.array([1] * COUNT, pa.int64()).cast(pa.duration("ns"))
    columns = {"path": NAMES, "label": alternate("a", "b"), "at": odd, "took": durations}
    pq.write_table(pa.table(columns), path)
    assert read_manifest(path).column_values("target") == alternate("a", "b")


def test_parquet_with_pictures_inside_or_broken(folder: Path) -> None:
    path = folder / "t.parquet"
    pq.write_table(pa.table({"image": [b"\xff\xd8\xff"] * 2, "label": ["a", "b"]}), path)
    with pytest.raises(DataError, match="files inside a table are not"):
        read_manifest(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_manifest(path)
