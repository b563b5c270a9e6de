"""One label or several in a cell: never guessed from a few cells."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from skipstone.core.errors import UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.readers.label_cells import split_labels


def read_labels(
    folder: Path, labels: list[str], column: str = "kind", odd: str = "", **options: Any
) -> Manifest:
    """A table of 60 texts with these labels in turn; the label of row 7 is `odd`."""
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", column])
        for number in range(60):
            label = odd if odd and number == 7 else labels[number % len(labels)]
            table.writerow([f"this is thing number {number}", label])
    return read_manifest(folder / "t.csv", ReadOptions(label_column=column, **options))


@pytest.mark.parametrize(
    "labels",
    [
        ["Home &amp; Kitchen", "Toys &amp; Games", "Books"],
        ["D&#39;Artagnan", "Rock &#38; Roll", "Jazz"],
        ["caf&eacute;", "th&eacute; vert", "lait"],
    ],
)
def test_html_entities_separate_nothing(tmp_path: Path, labels: list[str]) -> None:
    manifest = read_labels(tmp_path, labels)
    assert manifest.task == "classify"
    assert manifest.schema["classes"] == sorted(labels)


@pytest.mark.parametrize("odd", ["Books | used", "a;b", "pets|", "Toys; ", "Books|Toys"])
def test_a_mark_in_one_row_is_asked_about(tmp_path: Path, odd: str) -> None:
    labels = ["Books", "Toys", "Pets"]
    if len(split_labels(odd, "|;"[";" in odd])) == 1:
        assert read_labels(tmp_path, labels, odd=odd).task == "classify"
        return
    with pytest.raises(UsageError, match=r"--separator '.'.*--task classify") as error:
        read_labels(tmp_path, labels, odd=odd)
    assert repr(odd) in str(error.value)
    assert odd in read_labels(tmp_path, labels, odd=odd, task="classify").schema["classes"]
    mark = "|;"[";" in odd]
    assert read_labels(tmp_path, labels, odd=odd, separator=mark).task == "tag"


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("labels", ["top left", "top right", "bottom left", "bottom right"]),
        ("labels", ["happy", "very happy", "not happy", "not sure", "very sure"]),
        ("classes", ["shirt, long", "shirt, short", "coat, long", "coat, short"]),
        ("categories", ["Men|Shoes", "Women|Shoes", "Men|Shirts", "Women|Shirts"]),
        ("kind", ["Men;Shoes", "Women;Shoes", "Men;Shirts", "Women;Shirts"]),
        ("department", ["Books", "Books|Comics", "Toys", "Toys|Cars"]),
    ],
)
def test_names_of_several_words_are_never_cut(
    tmp_path: Path, column: str, labels: list[str]
) -> None:
    with pytest.raises(UsageError, match="--task classify"):
        read_labels(tmp_path, labels, column)
    manifest = read_labels(tmp_path, labels, column, task="classify")
    assert sorted(manifest.schema["classes"]) == sorted(labels)


@pytest.mark.parametrize(
    ("column", "labels", "mark"),
    [
        ("genre", ["Drama", "Comedy|Drama", "Comedy", "Crime|Drama", "Crime"], "|"),
        ("tags", ["wet;cold", "cold", "wet;windy"], ";"),
        ("tags", ["clear primary", "clear road", "road"], " "),
        ("labels", ["a, b", "b", "a, c, b", "c"], ","),
        ("labels", ["R&amp;B; Jazz", "Jazz", "R&amp;B", "Jazz; Soul", "Soul"], ";"),
        ("labels", ["a b", "b c", "a c", "a", "b", "c"], " "),
    ],
)
def test_a_column_of_tags_is_read_as_such(
    tmp_path: Path, column: str, labels: list[str], mark: str
) -> None:
    manifest = read_labels(tmp_path, labels, column)
    assert manifest.task == "tag"
    assert manifest.column_values("target")[: len(labels)] == [
        split_labels(label, mark) for label in labels
    ]


@pytest.mark.parametrize(
    "cells",
    [
        ["['cat', 'dog']", "['dog']", "[]"],
        ['["cat", "dog"]', '["dog"]', "[]"],
        ["('cat', 'dog')", "('dog',)", "()"],
        ["{'cat', 'dog'}", "{'dog'}", "[]"],
    ],
)
def test_lists_as_programs_write_them(tmp_path: Path, cells: list[str]) -> None:
    manifest = read_labels(tmp_path, cells, "labels")
    assert manifest.task == "tag"
    assert manifest.column_values("target")[:3] == [["cat", "dog"], ["dog"], []]
    with pytest.raises(UsageError, match="--task tag"):
        read_labels(tmp_path, cells[:2], task="classify")


def test_choices_of_label_studio(tmp_path: Path) -> None:
    """One choice is exported as a word, several as JSON."""
    manifest = read_labels(tmp_path, ["cat", '{"choices":["cat", "dog"]}', ""], "choice")
    assert manifest.column_values("target")[:3] == [["cat"], ["cat", "dog"], []]


@pytest.mark.parametrize("cells", [["['a' 'b']", "['b']"], ["['a', 'b']", "b"], ["[1 0]", "[0 1]"]])
def test_lists_that_cannot_be_read_are_refused(tmp_path: Path, cells: list[str]) -> None:
    with pytest.raises(UsageError, match=r"t.csv, line \d: labels holds .*--task classify"):
        read_labels(tmp_path, cells, "labels")


def test_words_that_hardly_recur_are_names(tmp_path: Path) -> None:
    labels = ["happy", "very happy", "not happy"]
    assert read_labels(tmp_path, labels, "labels").schema["classes"] == sorted(labels)


def test_names_in_brackets_are_names(tmp_path: Path) -> None:
    labels = ["[spam]", "[ham]", "(unknown)"]
    assert read_labels(tmp_path, labels).schema["classes"] == sorted(labels)
