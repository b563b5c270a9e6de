"""Options as frozen dataclasses, whose fields are made by `option()`.

    @dataclass(frozen=True, kw_only=True)
    class ForestOptions(CheckedOptions):
        trees: int = option(200, range=int_range(1), help="number of trees")

The command-line flag, its help, and the check of the value come from the field. Dataclasses check
no types, and the options in a bundle come from whoever wrote it, so each class checks itself.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict, TypeVar, Unpack

from skipstone.core.errors import UsageError, WrongTypeError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """Finite numbers from `low` to `high`, without the ends that are open."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    is_int: bool = False

    def __contains__(self, value: Any) -> bool:
        is_number = isinstance(value, int if self.is_int else int | float)  # numpy's floats, too
        if not is_number or isinstance(value, bool):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        if self.is_int:
            return f"a whole number from {self.low:.0f}" + (
                f" to {int(self.high)}" if self.high < math.inf else ""
            )
        lower = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        if self.high == math.inf:
            return f"a finite number{' of' * (not self.open_low)} {lower}"
        return f"{lower} and {'less than' if self.open_high else 'at most'} {self.high:g}"

    def to_brackets(self) -> str:
        """As an interval: "[0, 1)"; "" where there is no upper end."""
        if self.high == math.inf:
            return ""
        opening, closing = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{opening}{self.low:.10g}, {self.high:.10g}{closing}"


def int_range(low: int, high: float = math.inf) -> Range:
    """Whole numbers from `low` to `high`."""
    return Range(low, high, is_int=True)


#: A probability that is not 1: something that happens always is not an option's business.
PROBABILITY = Range(0, 1, open_high=True)
POSITIVE = Range(0, open_low=True)


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """What `option()` says of a field.

    Args:
        metavar: stands for the value in `--help`.
        parse: reads command-line text, where the field's type does not say how.
        requires: the option counts only where these other options have these values.
        needs_gradient: the option counts only for models that are trained by gradient.
        keeps_fit: an input that was fitted may take another value without a new fit.
        is_hidden: users cannot set it.
        names_outside: its value names code or a file, so it counts only where the user types it,
            never where a bundle stores it.
    """

    help: str = ""
    range: Range | None = None
    choices: tuple[Any, ...] = ()
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    requires: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs_gradient: bool = False
    keeps_fit: bool = False
    is_hidden: bool = False
    names_outside: bool = False


class _MoreOfSpec(TypedDict, total=False):
    metavar: str
    parse: Callable[[str], Any]
    requires: Mapping[str, Any]
    needs_gradient: bool
    keeps_fit: bool
    is_hidden: bool
    names_outside: bool


def option(
    default: T,
    *,
    help: str = "",
    range: Range | None = None,
    choices: tuple[Any, ...] = (),
    **more: Unpack[_MoreOfSpec],
) -> T:
    """A field of a dataclass of options.

    Args:
        help: one phrase for `--help`, without range, choices and default, which are added.
        range: numbers that are allowed; of a tuple, for each member.
        choices: values that are allowed besides `range`. Those of a `Literal` type need no mention.
        more: other fields of `OptionSpec`.
    """
    spec = OptionSpec(help, range, choices, **more)
    made: T = dataclasses.field(default=default, metadata={"option": spec})
    return made


def get_spec(field: dataclasses.Field[Any]) -> OptionSpec:
    """What `option()` said of a field; nothing where it was made otherwise."""
    spec: OptionSpec = field.metadata.get("option", OptionSpec())
    return spec


def check_options(options: Any, problems: Iterable[str] = (), owner: str = "") -> None:
    """UsageError that names every value of a dataclass that is not allowed, all at once.

    Fields with a range, choices or a `Literal` type are checked. None is allowed where it is the
    field's default; of a tuple every member is checked.

    Args:
        problems: what else is wrong, a sentence each.
        owner: what the message begins with.
    """
    wrong = []
    kinds = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, kind, spec = getattr(options, field.name), kinds[field.name], get_spec(field)
        if not is_allowed(value, kind, spec, field.default):
            allowed = describe_allowed(kind, spec)
            wrong.append(f"{field.name} is {value!r:.60}; allowed: {allowed}")
    wrong += problems
    if wrong:
        raise UsageError(f"{owner}{': ' * bool(owner)}{'; '.join(wrong)}.")


class CheckedOptions:
    """Base of a dataclass of options that needs no other check than `check_options`.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    owner: ClassVar[str] = ""  #: what the message begins with

    def __post_init__(self) -> None:
        check_options(self, owner=self.owner)


def is_allowed(value: Any, kind: Any, spec: OptionSpec, default: Any) -> bool:
    """Whether a field's range, choices or `Literal` type allow a value; without them all are."""
    if spec.range is None and not spec.choices and not _is_literal(kind):
        return True
    if value is None and default is None:
        return True
    choices = (*spec.choices, *literal_values(kind))
    is_tuple = typing.get_origin(kind) is tuple
    members = value if is_tuple and isinstance(value, tuple | list) else (value,)
    return all(
        any(type(member) is type(choice) and member == choice for choice in choices)
        or (spec.range is not None and member in spec.range)
        for member in members
    )


def describe_allowed(kind: Any, spec: OptionSpec) -> str:
    if spec.range is None and not spec.choices:
        return _describe_type(kind)
    choices = (*spec.choices, *literal_values(kind))
    ranges = () if spec.range is None else (str(spec.range),)
    return ", or ".join([*filter(None, [", ".join(map(repr, choices))]), *ranges])


def literal_values(kind: Any) -> tuple[Any, ...]:
    """The values of the `Literal`s in a type."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    return tuple(value for part in typing.get_args(kind) for value in literal_values(part))


def _is_literal(kind: Any) -> bool:
    """Whether a type is a `Literal`, or one and None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        return len(parts) == 1 and _is_literal(parts[0])
    return typing.get_origin(kind) is Literal


def options_to_json(options: Any) -> dict[str, Any]:
    """A dataclass of options as a bundle stores it; {} for an entry that has none."""
    return {} if options is None else dataclasses.asdict(options)


# --- types --------------------------------------------------------------------------------------


def check_types(owner: str, options_type: type[Any], values: Mapping[str, Any]) -> None:
    """WrongTypeError that names every value whose type its field does not allow.

    A whole number is a float, too; a list is a tuple. Types that JSON cannot have are not checked.
    """
    kinds = typing.get_type_hints(options_type)
    problems = [
        f"{name} is {value!r:.60}; allowed: {_describe_type(kinds[name])}"
        for name, value in values.items()
        if name in kinds and not has_type(kinds[name], value)
    ]
    if problems:
        raise WrongTypeError(f"{owner!r}: {'; '.join(problems)}.")


def has_type(kind: Any, value: Any) -> bool:
    """Whether `value` is of the annotated type `kind`."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(has_type(part, value) for part in inner)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (tuple, list):
        member = inner[0] if inner else Any
        return isinstance(value, list | tuple) and all(has_type(member, item) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (int, str, bool):
        return type(value) is kind
    return value is None if kind in (None, type(None)) else True


def _describe_type(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe_type(part) for part in inner)
    if origin is typing.Literal:
        return ", ".join(map(repr, inner))
    if origin in (tuple, list):
        return f"a list of {_describe_type(inner[0])}" if inner else "a list"
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
        for choice in arguments:  # some are numbers: --channels 3
            if str(choice) == text:
                return choice
        hint = did_you_mean(text, [str(item) for item in arguments])
        raise ValueError(f"{text!r} is not allowed. {hint}".strip())
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")]
        return tuple(parse_text(arguments[0], part) for part in parts if part)
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
