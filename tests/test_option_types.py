"""Ranges and words of options, held for every dataclass that names them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.errors import UsageError
from skipstone.option_types import CHANCE, POSITIVE, Range, check_options, whole


@dataclass(frozen=True, kw_only=True)
class Options:
    word: Literal["a", "b"] = "a"
    mode: Literal[8, 16] | None = None
    count: int = 3
    sizes: tuple[int, ...] = (1, 2)
    rate: float = 0.5
    width: float | None = None
    note: str = "anything"

    def __post_init__(self) -> None:
        more = ["note is empty"] if not self.note else []
        check_options(
            self, more, "thing", count=whole(1, 9), sizes=whole(1), rate=CHANCE, width=POSITIVE
        )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"word": "c"}, "word is 'c'; allowed: 'a', 'b'"),
        ({"mode": 32}, "mode is 32; allowed: 8, 16 or null"),
        ({"count": 0}, "count is 0; allowed: a whole number from 1 to 9"),
        ({"count": 1.5}, "count is 1.5; allowed: a whole number from 1 to 9"),
        ({"count": True}, "count is True; allowed: a whole number from 1 to 9"),
        ({"count": None}, "count is None; allowed: a whole number from 1 to 9"),
        ({"sizes": (1, 0)}, "sizes is (1, 0); allowed: a whole number from 1"),
        ({"rate": 1}, "rate is 1; allowed: at least 0 and less than 1"),
        ({"rate": math.nan}, "rate is nan; allowed: at least 0 and less than 1"),
        ({"rate": "0.5"}, "rate is '0.5'; allowed: at least 0 and less than 1"),
        ({"width": 0.0}, "width is 0.0; allowed: a finite number above 0"),
        ({"width": math.inf}, "width is inf; allowed: a finite number above 0"),
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
    Options(word="b", mode=16, count=9, sizes=(), rate=0, width=1e300)


@given(st.floats() | st.integers(), st.booleans(), st.booleans())
def test_a_range_is_its_inequalities(value: float, open_low: bool, open_high: bool) -> None:
    found = Range(-1, 2, open_low, open_high).holds(value)
    low = value > -1 if open_low else value >= -1
    high = value < 2 if open_high else value <= 2
    assert found == (low and high)
