"""JSON as skipstone writes it, and nothing else: for files that may come from a stranger.

Python's parser takes names given twice (the last wins), numbers that become infinite, and nesting
until the stack ends. What is read here has one meaning, is no deeper than people write, and can be
written again.
"""

from __future__ import annotations

import json
import math
from typing import Any

from skipstone.errors import DamagedError

DEEPEST = 40
_DIGITS = 20  # a 64-bit number, and its sign


def parse_json(data: bytes, where: object) -> Any:
    """The value in UTF-8 JSON.

    Raises:
        DamagedError: naming `where`: no UTF-8, no JSON, a name given twice, a number that is not
            finite or has more than 64 bits, nested deeper than 40, half a surrogate pair.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_constant,
        )
        _check(value)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{where} is not valid JSON ({error}).") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is given twice")
    return found


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_DIGITS]} is no finite number")
    return value


def _int(text: str) -> int:
    if len(text) > _DIGITS or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError(f"{text[:_DIGITS]}... has more than 64 bits")
    return int(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _check(value: Any) -> None:
    rest = [(value, 1)]
    while rest:
        item, depth = rest.pop()
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST}")
        if isinstance(item, str):
            item.encode("utf-8")  # an escape can make half of a pair
        elif isinstance(item, dict):
            rest += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            rest += [(part, depth + 1) for part in item]
