"""A strict JSON parser for untrusted files, and the JSON form of dataclasses.

Python's parser accepts duplicate names (the last one wins), numbers that overflow to infinity, and
nesting up to the recursion limit. Here each is an error, so a document has one meaning and can be
written again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from skipstone.core.errors import DamagedError

MAX_DEPTH = 40
_MAX_DIGITS = 20  # of a 64-bit number, with its sign


def parse_json(data: bytes, where: object) -> Any:
    """The value in UTF-8 JSON.

    Raises:
        DamagedError: naming `where`: not UTF-8, not JSON, a duplicate name, a number that is
            infinite or longer than 64 bits, nesting deeper than 40, half a surrogate pair.
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
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the name {duplicate!r} is given twice")
    return members


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_MAX_DIGITS]} is not a finite number")
    return value


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError(f"{text[:_MAX_DIGITS]}... has more than 64 bits")
    return int(text)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _check(value: Any) -> None:
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        if isinstance(item, str):
            item.encode("utf-8")  # an escape can make half a surrogate pair
        elif isinstance(item, dict):
            stack += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            stack += [(part, depth + 1) for part in item]


class JsonFields:
    """Base of a dataclass whose JSON form is its fields by name."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: _to_json(value) for name, value in values.items()}


def _to_json(value: Any) -> Any:
    if isinstance(value, JsonFields):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
