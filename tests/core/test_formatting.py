"""Counts, lists, names in their order, paths and flags, as sentences have them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.core.formatting import (
    format_cell,
    format_decimal,
    format_difference,
    format_duration,
    format_seconds,
    join_command_line,
    join_limited,
    natural_key,
    natural_sorted,
    pluralize,
    quote_path,
    relative_path,
    to_flag,
)


def test_counts_and_lists() -> None:
    assert pluralize(1, "mistake") == "1 mistake"
    assert pluralize(2000, "mistake") == "2,000 mistakes"
    assert pluralize(2, "new class", "new classes") == "2 new classes"
    assert join_limited(["cat", "dog"]) == "cat, dog"
    assert join_limited(map(str, range(1007)), limit=2) == "0, 1 and 1,005 more"


def test_natural_order() -> None:
    names = ["", "9", "10", "a", "b", "B1", "b2", "b10", "c" + "1" * 5000]
    assert natural_sorted(reversed(names)) == names


@given(st.lists(st.text(max_size=6)))
def test_natural_order_is_one_order(names: list[str]) -> None:
    assert natural_sorted(names) == natural_sorted(reversed(names))
    assert len({natural_key(name) for name in names}) == len(set(names))


def test_what_is_typed() -> None:
    assert to_flag("batch_size") == "--batch-size"
    assert shlex.split(f"ls {quote_path(Path('my photos'))}") == ["ls", "my photos"]
    words = ["skipstone", "train", "my photos"]
    assert shlex.split(join_command_line(words)) == words


def test_a_command_with_a_name_that_is_no_utf_8_can_be_stored() -> None:
    """As Python holds such a name: half of a pair, which UTF-8 has not."""
    shown = join_command_line(["skipstone", "train", "caf\udce9"])
    assert shown.encode() == b"skipstone train 'caf\\udce9'"


def test_shortest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative_path(tmp_path / "runs" / "001") == Path("runs/001")
    assert relative_path(tmp_path.parent) == tmp_path.parent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.40 ms"),
        (0.0123, "12.3 ms"),
        (0.34, "340 ms"),
        (17.5, "17.5 s"),
        (310.2, "310 s"),
    ],
)
def test_seconds_as_people_write_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\r=1", "\\x0d=1"),
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        ("a=b", "a=b"),
        (0.5, 0.5),
    ],
)
def test_a_cell_is_no_formula_and_no_escape_code(value: object, cell: object) -> None:
    assert format_cell(value) == cell


def test_durations_and_small_numbers_as_people_write_them() -> None:
    texts = {0.84: "0.8 s", 42.2: "42 s", 59.7: "1 min", 75: "1 min 15 s", 7500: "2 h 5 min"}
    assert {seconds: format_duration(seconds) for seconds in texts} == texts
    texts = {0.001: "0.001", 1e-12: "0.000000000001", 17500.0: "17,500", 0.5: "0.5", 0.0: "0"}
    assert {value: format_decimal(value) for value in texts} == texts
    texts = {0.34: "0.34", 0.0066: "0.0066", 8.8e-7: "below 0.0001", 0.0: "0"}
    assert {value: format_difference(value) for value in texts} == texts
