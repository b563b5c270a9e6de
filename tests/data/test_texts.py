"""Texts from tables and folders."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skipstone.core.errors import DataError, UsageError
from skipstone.data.fingerprint import find_duplicate_groups
from skipstone.data.manifest import Manifest, load_manifest, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.scan import LINKED_TWICE, NOT_A_FILE, UNREADABLE_NAME
from skipstone.data.sources import Inline, read_source
from skipstone.text.features import decode_utf8
from tests.text_data import rows, write_csv, write_folders, write_jsonl

ROWS = rows(12)


def texts(manifest: Manifest) -> list[str]:
    return [bytes(read_source(source)).decode() for source in manifest.list_sources()]


def check(manifest: Manifest) -> None:
    assert manifest.input == "text"
    assert manifest.task == "classify"
    assert texts(manifest) == [text for text, _ in ROWS]
    assert manifest.column_values("target") == [label for _, label in ROWS]


def test_a_csv(tmp_path: Path) -> None:
    check(read_manifest(write_csv(tmp_path / "a.csv", ROWS)))


def test_json_lines(tmp_path: Path) -> None:
    check(read_manifest(write_jsonl(tmp_path / "a.jsonl", ROWS)))


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    pq.write_table(table, tmp_path / "a.parquet")
    check(read_manifest(tmp_path / "a.parquet"))


def test_another_delimiter_and_encoding_are_kept_for_later(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{text}^{label}" for text, label in [("café noir", "x"), ("thé vert", "y")] * 3]
    path.write_bytes(("text^label\n" + "\n".join(lines)).encode("cp1252"))
    options = ReadOptions(delimiter="^", encoding="cp1252")
    save_manifest(read_manifest(path, options), tmp_path / "m.parquet")
    assert texts(load_manifest(tmp_path / "m.parquet"))[:2] == ["café noir", "thé vert"]


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    plain = read_manifest(write_folders(tmp_path / "plain", ROWS))
    assert plain.input == "text"
    assert sorted(texts(plain)) == sorted(text for text, _ in ROWS)
    assert set(plain.column_values("split")) == {""}
    write_folders(tmp_path / "split", ROWS[:8], "train")
    given = read_manifest(write_folders(tmp_path / "split", ROWS[8:], "test"))
    assert [given.column_values("split").count(name) for name in ("train", "test")] == [8, 4]


def test_linked_folders_are_read_once_and_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "texts", ROWS)
    (root / "animal").rename(tmp_path / "elsewhere")
    (root / "animal").symlink_to(tmp_path / "elsewhere")
    (root / "colour" / "again").symlink_to(root)
    (root / "colour" / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    (root / "colour" / "self.txt").symlink_to(root / "colour" / "self.txt")
    (root / "number" / "notes.md").write_text("no text of the class")
    (root / "number" / os.fsdecode(b"caf\xe9.txt")).write_text("a name in Latin-1")
    manifest = read_manifest(root)
    assert Counter(manifest.column_values("target")) == {"animal": 4, "colour": 4, "number": 4}
    assert sorted(texts(manifest)) == sorted(text for text, _ in ROWS)
    assert manifest.skipped_counts == {
        LINKED_TWICE: 1,
        NOT_A_FILE: 2,
        "files other than .txt": 1,
        UNREADABLE_NAME: 1,
    }


def test_several_labels_a_text(tmp_path: Path) -> None:
    given = [("red dog", "colour|animal"), ("cat", "animal"), ("nothing here", "")]
    manifest = read_manifest(write_csv(tmp_path / "a.csv", given, "text,tags"))
    assert manifest.task == "tag"
    assert manifest.column_values("target") == [["colour", "animal"], ["animal"], []]


def test_a_column_of_sentences_is_found_by_what_it_holds(tmp_path: Path) -> None:
    given = [(f"{text} and more words", label) for text, label in ROWS]
    manifest = read_manifest(write_csv(tmp_path / "a.csv", given, "what they said,kind"))
    assert manifest.cells is not None
    assert manifest.cells.column == "what they said"


def test_two_columns_of_texts_are_refused_with_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,comment,label\nhow far,so far,x\nhow long,so long,y\n")
    with pytest.raises(UsageError, match="question, comment") as error:
        read_manifest(path)
    assert "--text-column question" in str(error.value)
    chosen = read_manifest(path, ReadOptions(text_column="comment"))
    assert texts(chosen) == ["so far", "so long"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_empty_texts_are_counted_and_passed_over(tmp_path: Path, name: str) -> None:
    given = [("   ", "colour"), *ROWS, ("", "animal")]
    path = tmp_path / name
    if name.endswith("csv"):
        write_csv(path, given)
    elif name.endswith("jsonl"):
        write_jsonl(path, given)
        path.write_text(path.read_text() + '{"label": "animal"}\n{"text": null, "label": "x"}\n')
    else:
        texts, labels = zip(*given, (None, "animal"), strict=True)
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    manifest = read_manifest(path)
    assert len(manifest) == len(ROWS)
    empty = {"a.csv": 2, "a.jsonl": 4, "a.parquet": 3}[name]
    assert manifest.skipped_counts == {"rows without a text": empty}


def test_empty_files_are_counted_and_passed_over(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "files", [*ROWS, ("", "colour"), (" \n" * 5000, "number")])
    manifest = read_manifest(folder)
    assert len(manifest) == len(ROWS)
    assert manifest.skipped_counts == {"files without content": 2}
    assert "Skipped: files without content (2)." in manifest.notes


def test_half_an_emoji_costs_its_row_and_no_more(tmp_path: Path) -> None:
    manifest = read_manifest(write_jsonl(tmp_path / "a.jsonl", [*ROWS, ("nice \ud83d", "colour")]))
    assert len(manifest) == len(ROWS) + 1
    for source in (manifest.source_at(len(ROWS)), Inline("nice \ud83d")):
        with pytest.raises(ValueError, match="line 1, byte 6: half a letter"):
            decode_utf8(bytes(read_source(source)))
    with pytest.raises(ValueError, match="0xed is not UTF-8"):  # what Latin-1 has there is none
        decode_utf8("gar\xed\xf1".encode("latin-1"))


def test_half_an_emoji_in_a_label_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*ROWS, ("nice", "colour \ud83d")])
    with pytest.raises(DataError, match=r"a\.jsonl, line 13: label holds a lone surrogate"):
        read_manifest(path)
    audited = read_manifest(path, ReadOptions(bad_bytes="replace"))
    assert audited.column_values("target")[-1] == "colour \ufffd"


def test_a_long_text_is_a_cell_as_any_other(tmp_path: Path) -> None:
    given = [*ROWS, ("word " * 30_000 + "end", "colour")]
    assert texts(read_manifest(write_csv(tmp_path / "a.csv", given)))[-1] == given[-1][0]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_bad_bytes_are_named_with_their_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write = write_csv if name.endswith("csv") else write_jsonl
    lines = write(path, ROWS).read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b" ", b" caf\xe9 ", 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match="line 5"):
        read_manifest(path)


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    path.write_text(path.read_text() + "[1, 2]\n")
    with pytest.raises(DataError, match=f"line {len(ROWS) + 1}"):
        read_manifest(path)


def test_a_table_that_changed_is_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ROWS)
    manifest = read_manifest(path)
    write_csv(path, ROWS[:3])
    with pytest.raises(DataError, match="holds 3 rows now"):
        read_source(manifest.source_at(11))


def test_the_same_text_twice_is_a_duplicate(tmp_path: Path) -> None:
    manifest = read_manifest(write_csv(tmp_path / "a.csv", [*ROWS, ROWS[2]]))
    assert find_duplicate_groups(manifest) == [[2, 12]]


def test_one_class_and_no_class_say_what_to_do(tmp_path: Path) -> None:
    write_folders(tmp_path / "one", [("a text", "x")])
    with pytest.raises(UsageError, match="only one class"):
        read_manifest(tmp_path / "one")


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_json_lines_may_end_in_json(tmp_path: Path, start: str) -> None:
    lines = write_jsonl(tmp_path / "a.jsonl", ROWS).read_text(encoding="utf-8")
    (tmp_path / "a.json").write_text(start + lines, encoding="utf-8")
    check(read_manifest(tmp_path / "a.json"))


@pytest.mark.parametrize("text", ['{"text": "a"}', '[{"text": "a"},\n{"text": "b"}]', "1\n2\n", ""])
def test_one_json_document_is_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="is one JSON document"):
        read_manifest(tmp_path / "a.json")
