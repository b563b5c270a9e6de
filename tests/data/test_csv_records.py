"""CSV as people write it: quotes that are letters, no header, foreign bytes, stray NULs."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.core.errors import DataError
from skipstone.core.events import use_listener
from skipstone.core.registry import INPUTS
from skipstone.data.manifest import Manifest, load_manifest, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.predict_inputs import list_predict_items
from skipstone.data.read import read_manifest
from skipstone.data.sources import read_source
from tests.photos import make_photo, save_photo

AUDIT = ReadOptions(bad_bytes="replace")
MARK = '"'


def write_lines(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def texts(manifest: Manifest) -> list[str]:
    return [bytes(read_source(source)).decode() for source in manifest.list_sources()]


def write_play(path: Path, mark: str, order: int, others: tuple[str, ...] = ()) -> Path:
    """Speech that opens with a quotation mark in line 10 and closes in line 14."""
    lines = [mark.join((*others, *["text", "label"][::order]))]
    for number in range(60):
        text = f"{MARK * (number == 10)}line {number} of the play{MARK * (number == 14)}"
        numbers = tuple(str(number) for _ in others)
        lines.append(mark.join((*numbers, *[text, f"act{number // 20}"][::order])))
    return write_lines(path, lines)


@pytest.mark.parametrize(
    ("name", "mark", "order", "others"),
    [
        ("a.tsv", "\t", 1, ()),
        ("a.tsv", "\t", -1, ()),
        ("a.csv", ",", -1, ()),
        ("a.csv", ";", 1, ("id",)),
        ("a.csv", "|", -1, ("id", "page")),
    ],
)
def test_quotation_marks_that_enclose_rows_are_refused(
    tmp_path: Path, name: str, mark: str, order: int, others: tuple[str, ...]
) -> None:
    path = write_play(tmp_path / name, mark, order, others)
    for options in (ReadOptions(), AUDIT):
        with pytest.raises(DataError, match=r"line 12: .* closes 4 lines later.*--quoting none"):
            read_manifest(path, options)
    whole = read_manifest(path, ReadOptions(quoting="none"))
    save_manifest(whole, tmp_path / "m.parquet")
    assert len(whole) == 60
    assert texts(load_manifest(tmp_path / "m.parquet"))[10] == '"line 10 of the play'
    assert len(read_manifest(path, ReadOptions(quoting="double"))) == 56


def test_the_same_table_without_labels_is_refused_for_prediction(tmp_path: Path) -> None:
    lines = [f"{n}\t{MARK * (n == 3)}this is line {n}{MARK * (n == 7)}" for n in range(20)]
    path = write_lines(tmp_path / "a.tsv", ["id\ttext", *lines])
    with pytest.raises(DataError, match="--quoting none"):
        list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)
    items = list_predict_items(
        [path], [], input=INPUTS["text"], options=ReadOptions(quoting="none")
    )
    assert len(items) == 20


def test_a_mark_that_never_closes_names_the_flag(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.tsv", ["text\tlabel", '"so it is\ta', "so what\tb"] * 2)
    with pytest.raises(DataError, match="--quoting none"):
        read_manifest(path)


def test_line_breaks_in_cells_are_read_and_counted(tmp_path: Path) -> None:
    """Texts of several lines, also with delimiters, and a text that quotes a table."""
    lines = ["text,label"]
    for number in range(40):
        lines.append(f'"Dear all,\nnumber {number}, as said,\r\nregards, Ann",{"ab"[number % 2]}')
    path = write_lines(tmp_path / "a.csv", lines)
    manifest = read_manifest(path)
    assert len(manifest) == 40
    assert "40 rows with line breaks inside a cell (first line 2)." in manifest.notes
    poem = [f'"rose, red\nviolet, blue",{"ab"[number % 2]}' for number in range(40)]
    assert len(read_manifest(write_lines(path, ["text,label", *poem]))) == 40


@pytest.mark.parametrize(
    "lines",
    [
        [f'"{n % 2 + 1}","Title {n}","the match of day {n} was won"' for n in range(30)],
        [f"{('ham', 'spam')[n % 2]}\tthe match of day {n} was won" for n in range(30)],
        [f'"{n % 2 * 4}","{n + 100}","NO_QUERY","the match of day {n} was won"' for n in range(30)],
        [f"the match of day {n} was won by us,{('pos', 'neg')[n % 2]}" for n in range(30)],
        [f"{n % 5 + 1};the match of day {n} was won by us" for n in range(30)],
        [f"question|did they win on day {n}" for n in range(15)]
        + [f"statement|they did win on day {n}" for n in range(15)],
    ],
)
def test_a_table_of_texts_without_a_header_is_refused(tmp_path: Path, lines: list[str]) -> None:
    path = write_lines(tmp_path / ("a.tsv" if "\t" in lines[0] else "a.csv"), lines)
    for options in (ReadOptions(), AUDIT):
        with pytest.raises(DataError, match="has no header: its first line contains"):
            read_manifest(path, options)
    with pytest.raises(DataError, match="has no header"):
        list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)


def test_texts_alone_without_a_header_are_refused_for_prediction(tmp_path: Path) -> None:
    lines = [f"the match of day {number} was won by the team" for number in range(9)]
    path = write_lines(tmp_path / "a.csv", lines)
    with pytest.raises(DataError, match="--text-column") as error:
        list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)
    assert f"--text-column '{lines[0]}'" in str(error.value)
    named = ReadOptions(text_column=lines[0])
    assert len(list_predict_items([path], [], input=INPUTS["text"], options=named)) == 8


@pytest.mark.parametrize(
    "header", ["text,label", "0,1", "1,2", "What did you say?,kind", "text,1", "utterance,2024"]
)
def test_headers_of_all_kinds_are_read(tmp_path: Path, header: str) -> None:
    rows = [f"the match of day {n} was won,{n % 2}" for n in range(30)]
    path = write_lines(tmp_path / "a.csv", [header, *rows])
    column = header.partition(",")[2]
    assert len(read_manifest(path, ReadOptions(label_column=column))) == 30
    assert len(list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)) == 30


def test_columns_named_after_digits_are_tags(tmp_path: Path) -> None:
    rows = [f"number {n} of them all,{n % 2},{n % 3 % 2},1" for n in range(30)]
    manifest = read_manifest(write_lines(tmp_path / "a.csv", ["shown,0,1,2", *rows]))
    assert manifest.schema["classes"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "header", ["Rückmeldung;Klasse", "text;Geschäft", "größe;Rückmeldung;label"]
)
def test_a_name_that_is_not_utf_8_is_refused_with_its_byte(tmp_path: Path, header: str) -> None:
    cells = header.count(";")
    rows = [f"das ist gut Nummer {n}{f';{n % 2}' * cells}" for n in range(30)]
    path = write_lines(tmp_path / "a.csv", [header, *rows], "cp1252")
    for options in (ReadOptions(), AUDIT):
        with pytest.raises(DataError, match=r"not UTF-8: line 1, byte .*--encoding cp1252"):
            read_manifest(path, options)
    column = header.rpartition(";")[2]
    options = ReadOptions(encoding="cp1252", label_column=column, text_column=header.split(";")[0])
    assert len(read_manifest(path, options)) == 30


def test_a_name_in_json_lines_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for name, said in (("t\xe9xt", "line 1, byte 4"), ("t\\ud83dxt", "lone surrogate")):
        lines = [f'{{"{name}": "this is text {n}", "label": "{n % 2}"}}\n' for n in range(9)]
        path.write_bytes("".join(lines).encode("latin-1"))
        with pytest.raises(DataError, match=said):
            read_manifest(path, AUDIT)


def test_texts_that_enclose_others_are_said_in_prediction(tmp_path: Path) -> None:
    """In a table of one column nothing tells rows from lines of a text."""
    lines = [f"{MARK * (n == 3)}this is text {n}{MARK * (n == 7)}" for n in range(20)]
    path = write_lines(tmp_path / "a.csv", ["text", *lines])
    notes: list[str] = []
    with use_listener(lambda event: notes.append(getattr(event, "text", ""))):
        items = list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)
    assert len(items) == 16
    assert any("1 row with line breaks inside a cell (first line 5)" in note for note in notes)


def test_a_cell_that_is_not_utf_8_is_read_for_an_audit(tmp_path: Path) -> None:
    rows = [f"café number {n},{n % 2}" for n in range(30)]
    path = write_lines(tmp_path / "a.csv", ["text,label", *rows], "latin-1")
    manifest = read_manifest(path, AUDIT)
    assert bytes(read_source(manifest.source_at(3))) == b"caf\xe9 number 3"


def test_names_of_files_that_are_not_utf_8(tmp_path: Path) -> None:
    """An audit reads on where letters are lost, but the files are not missing."""
    for name in ("m\xfcller", "jos\xe9", "anna"):
        save_photo(make_photo(0, "disc", (8, 8)), tmp_path / name)
    lines = ["path,label", "m\xfcller.jpg,a", "jos\xe9.jpg,b", "anna.jpg,a"]
    path = write_lines(tmp_path / "a.csv", lines, "cp1252")
    for options in (ReadOptions(), AUDIT):
        with pytest.raises(DataError, match=r"not UTF-8: line 2, byte 2 .*--encoding cp1252"):
            read_manifest(path, options)
    assert len(read_manifest(path, ReadOptions(encoding="cp1252"))) == 3


def test_a_label_that_only_swallowed_rows_have(tmp_path: Path) -> None:
    lines = ["label,text"]
    for number in range(60):
        label = "rare" if number == 12 else "ab"[number % 2]
        lines.append(f"{label},{MARK * (number == 10)}line {number}{MARK * (number == 14)}")
    with pytest.raises(DataError, match="--quoting none"):
        read_manifest(write_lines(tmp_path / "a.csv", lines))


def test_texts_of_a_script_without_spaces_are_no_header(tmp_path: Path) -> None:
    lines = [f"这个产品的质量非常好我很喜欢它{number}" for number in range(9)]
    path = write_lines(tmp_path / "a.csv", lines)
    with pytest.raises(DataError, match="has no header"):
        list_predict_items([path], [], input=INPUTS["text"], options=AUDIT)


@pytest.mark.parametrize("place", [5, 40, 4500])
def test_a_stray_nul_is_dropped(tmp_path: Path, place: int) -> None:
    rows = "".join(
        f"the match of day {number} was won,{'ab'[number % 2]}\n" for number in range(300)
    )
    data = f"text,label\n{rows}".encode()
    (tmp_path / "a.csv").write_bytes(data[:place] + b"\0" + data[place:])
    manifest = read_manifest(tmp_path / "a.csv")
    assert len(manifest) == 300
    assert manifest.schema["classes"] == ["a", "b"]
    assert texts(manifest)[0] == "the match of day 0 was won"
