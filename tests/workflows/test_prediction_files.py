"""The cells of answers.csv can be read back."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from skipstone.workflows.prediction_files import render_prediction_table

LABELS = ["red", "a;b", "x=1", 'say "no"', " blank", "two\nlines", ";", '"', "grün"]


def split_cell(text: str, mark: str) -> list[str]:
    """A cell's parts, by the rules of CSV but for quotes within a part."""
    parts, is_quoted = [""], False
    for letter in text:
        is_quoted ^= letter == '"'
        if letter == mark and not is_quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def unquote(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def write_and_read(path: Path, **fields: Any) -> dict[str, str]:
    path.write_bytes(render_prediction_table([{"path": "a.jpg", **fields}]))
    (row,) = csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
    return row


def test_the_probabilities_of_tags_have_their_names(tmp_path: Path) -> None:
    scores = {name: 0.5 + number / 100 for number, name in enumerate(LABELS)}
    row = write_and_read(tmp_path / "a.csv", label=LABELS, probabilities=scores)
    assert row["probabilities"].startswith('red=0.5;"a;b"=0.51;"x=1"=0.52;')
    pairs = [split_cell(part, "=") for part in split_cell(row["probabilities"], ";")]
    assert {unquote(name): float(number) for name, number in pairs} == scores
    assert [unquote(part) for part in split_cell(row["label"], ";")] == LABELS


@pytest.mark.parametrize("label", LABELS)
def test_one_label_is_a_cell_as_it_stands(tmp_path: Path, label: str) -> None:
    top = [{"label": label, "probability": 0.9}, {"label": "other", "probability": 0.1}]
    row = write_and_read(tmp_path / "a.csv", label=label, top=top)
    assert row["label"] == label
    first, second = split_cell(row["top"], ";")
    assert second == "other=0.1"
    assert unquote(split_cell(first, "=")[0]) == label


def test_boxes_and_empty_lists(tmp_path: Path) -> None:
    boxes = [{"label": "cat", "probability": 0.9, "box": [1, 2.5, 3, 4]}]
    row = write_and_read(tmp_path / "a.csv", boxes=boxes, label=[])
    assert (row["boxes"], row["label"]) == ("cat=0.9=1 2.5 3 4", "")
