"""Ranges and words of options, held for every dataclass that names them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.core.errors import UsageError
from skipstone.core.options import (
    POSITIVE,
    PROBABILITY,
    Range,
    check_options,
    int_range,
    option,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    word: Literal["a", "b"] = option("a")
    mode: Literal[8, 16] | None = option(None)
    count: int = option(3, range=int_range(1, 9))
    sizes: tuple[int, ...] = option((1, 2), range=int_range(1))
    rate: float = option(0.5, range=PROBABILITY)
    width: float | None = option(None, range=POSITIVE)
    channels: Literal["auto"] | int = option("auto", range=int_range(1, 4))
    bits: int = option(0, choices=(0,), range=int_range(4, 26))
    note: str = option("anything")

    def __post_init__(self) -> None:
        check_options(self, ["note is empty"] if not self.note else [], owner="thing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"word": "c"}, "word is 'c'; allowed: 'a', 'b'"),
        ({"mode": 32}, "mode is 32; allowed: 8, 16 or null"),
        ({"count": 0}, "count is 0; allowed: a whole number from 1 to 9"),
        ({"count": 1.5}, "count is 1.5; allowed: a whole number from 1 to 9"),
        ({"count": True}, "count is True; allowed: a whole number from 1 to 9"),
        ({"count": None}, "count is None; allowed: a whole number from 1 to 9"),
        ({"word": ("a", "b")}, "word is ('a', 'b'); allowed: 'a', 'b'"),
        ({"count": (1, 2)}, "count is (1, 2); allowed: a whole number from 1 to 9"),
        ({"sizes": (1, 0)}, "sizes is (1, 0); allowed: a whole number from 1"),
        ({"rate": 1}, "rate is 1; allowed: at least 0 and less than 1"),
        ({"rate": math.nan}, "rate is nan; allowed: at least 0 and less than 1"),
        ({"rate": "0.5"}, "rate is '0.5'; allowed: at least 0 and less than 1"),
        ({"width": 0.0}, "width is 0.0; allowed: a finite number above 0"),
        ({"width": math.inf}, "width is inf; allowed: a finite number above 0"),
        ({"channels": "all"}, "channels is 'all'; allowed: 'auto', or a whole number from 1 to 4"),
        ({"channels": 5}, "channels is 5; allowed: 'auto', or a whole number from 1 to 4"),
        ({"bits": 3}, "bits is 3; allowed: 0, or a whole number from 4 to 26"),
        ({"bits": False}, "bits is False; allowed: 0, or a whole number from 4 to 26"),
        ({"note": ""}, "note is empty"),
    ],
)
def test_what_is_not_allowed_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Options(**given)
    assert str(error.value) == f"thing: {said}."


def test_all_is_said_at_once() -> None:
    with pytest.raises(UsageError) as error:
        Options(word="c", count=0, rate=2.0)  # type: ignore[arg-type]
    assert str(error.value).count("allowed: ") == 3


def test_what_is_allowed_passes() -> None:
    Options()
    Options(word="b", mode=16, count=9, sizes=(), rate=0, width=1e300, channels=2, bits=4)


@given(st.floats() | st.integers(), st.booleans(), st.booleans())
def test_a_range_is_its_inequalities(value: float, open_low: bool, open_high: bool) -> None:
    is_inside = value in Range(-1, 2, open_low, open_high)
    low = value > -1 if open_low else value >= -1
    high = value < 2 if open_high else value <= 2
    assert is_inside == (low and high)


def test_a_range_in_brackets() -> None:
    assert PROBABILITY.to_brackets() == "[0, 1)"
    assert Range(0, 1, open_low=True).to_brackets() == "(0, 1]"
    assert int_range(1, 256).to_brackets() == "[1, 256]"
    assert POSITIVE.to_brackets() == ""
