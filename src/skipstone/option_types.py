"""Whether values are what a dataclass of options declares: of its types, and in its ranges.

Dataclasses check no types, and what a bundle says of its options comes from whoever wrote it. A
dataclass names its ranges itself, where it is made: `check_options(self, top_k=whole(1))`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from skipstone.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class Range:
    """Finite numbers that an option may be: `low` to `high`, without the ends that are open."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int if self.whole else int | float)  # numpy's floats, too
        if not number or isinstance(value, bool):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        if self.whole:
            return f"a whole number from {self.low:.0f}" + (
                f" to {int(self.high)}" if self.high < math.inf else ""
            )
        lower = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        if self.high == math.inf:
            return f"a finite number{' of' * (not self.open_low)} {lower}"
        return f"{lower} and {'less than' if self.open_high else 'at most'} {self.high:g}"


def whole(low: int, high: float = math.inf) -> Range:
    """Whole numbers from `low` to `high`."""
    return Range(low, high, whole=True)


#: A chance that something happens which must not happen always.
CHANCE = Range(0, 1, open_high=True)
POSITIVE = Range(0, open_low=True)


def check_options(
    options: Any, more: Iterable[str] = (), owner: str = "", /, **ranges: Range
) -> None:
    """UsageError that names every value of a dataclass that is not allowed, all at once.

    Fields that are a `Literal` are held to its words without being named. None is allowed where it
    is the field's default; of a tuple every member is looked at.

    Args:
        more: what else is wrong, a sentence each.
        owner: what the sentence begins with.
        ranges: by field.
    """
    problems = []
    kinds = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, kind = getattr(options, field.name), kinds[field.name]
        if field.name in ranges:
            members = value if isinstance(value, tuple | list) else (value,)
            allowed, right = str(ranges[field.name]), all(map(ranges[field.name].holds, members))
            right = right or (value is None and field.default is None)
        elif _only_words(kind):
            allowed, right = _words(kind), fits(kind, value)
        else:
            continue
        if not right:
            problems.append(f"{field.name} is {value!r:.60}; allowed: {allowed}")
    problems += more
    if problems:
        raise UsageError(f"{owner}{': ' * bool(owner)}{'; '.join(problems)}.")


def stored_options(options: Any) -> dict[str, Any]:
    """A dataclass of options as a bundle stores it; {} for an entry that has none."""
    return {} if options is None else dataclasses.asdict(options)


def _only_words(kind: Any) -> bool:
    """Whether a type is a `Literal`, or one and None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        return len(parts) == 1 and _only_words(parts[0])
    return typing.get_origin(kind) is Literal


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


def parse_text(kind: Any, text: str) -> Any:
    """The value that command-line text means for the annotated type `kind`.

    Raises:
        ValueError: says what is allowed.
    """
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        problem: ValueError | None = None
        for candidate in [item for item in arguments if item is not type(None)]:
            try:
                return parse_text(candidate, text)
            except ValueError as error:
                problem = error
        raise problem or ValueError(f"{text!r} is not allowed")
    if origin is typing.Literal:
        for word in arguments:  # some are numbers: --channels 3
            if str(word) == text:
                return word
        raise ValueError(
            f"{text!r} is not allowed. "
            f"{did_you_mean(text, [str(item) for item in arguments])}".strip()
        )
    if origin is tuple:
        return tuple(
            parse_text(arguments[0], part.strip()) for part in text.split(",") if part.strip()
        )
    if kind is bool:
        return _parse_bool(text)
    if kind is int:
        return _parse_number(int, text, "a whole number")
    if kind is float:
        return _parse_number(float, text, "a number")
    return text


def _parse_number(kind: type[int] | type[float], text: str, what: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")
