"""Whether values from JSON are of the types that a dataclass of options declares.

Dataclasses check no types, and what a bundle says of its options comes from whoever wrote it.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from skipstone.errors import UsageError


def check_types(owner: str, options_type: type[Any], values: Mapping[str, Any]) -> None:
    """UsageError that names every value whose type its field does not allow.

    A whole number is a float, too; a list is a tuple. Types that JSON cannot have are not judged.
    """
    kinds = typing.get_type_hints(options_type)
    problems = [
        f"{name} is {value!r:.60}; allowed: {_words(kinds[name])}"
        for name, value in values.items()
        if name in kinds and not fits(kinds[name], value)
    ]
    if problems:
        raise UsageError(f"{owner!r}: {'; '.join(problems)}.")


def fits(kind: Any, value: Any) -> bool:
    """Whether `value` may stand for the annotated type `kind`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(part, value) for part in inner)
    if origin is typing.Literal:
        return any(type(value) is type(word) and value == word for word in inner)
    if origin in (tuple, list):
        part = inner[0] if inner else Any
        return isinstance(value, list | tuple) and all(fits(part, item) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (int, str, bool):
        return type(value) is kind
    return value is None if kind in (None, type(None)) else True


def _words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part) for part in inner)
    if origin is typing.Literal:
        return ", ".join(map(repr, inner))
    if origin in (tuple, list):
        return f"a list of {_words(inner[0])}" if inner else "a list"
    names = {float: "a finite number", int: "a whole number", str: "text", bool: "true or false"}
    return "null" if kind in (None, type(None)) else names.get(kind, str(kind))
