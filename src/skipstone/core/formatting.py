"""Text for messages: counts, lists, names in natural order, paths, flags."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path


def pluralize(count: int, one: str, many: str | None = None) -> str:
    """`1 picture`, `2,000 pictures`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def join_limited(names: Iterable[str], limit: int = 5) -> str:
    """The first `limit` names, for a sentence: "cat, dog and 8 more"."""
    items = list(names)
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit:,} more"


def format_seconds(seconds: float) -> str:
    """`340 ms`, `17.5 s`, `310 s`: three digits, in the unit that people write."""
    value, unit = (1000 * seconds, "ms") if seconds < 1 else (seconds, "s")
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def format_duration(seconds: float) -> str:
    """0.8 s, 42 s, 3 min 20 s, 10 min, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    units = (60, "min", 1, "s") if rounded < 3600 else (3600, "h", 60, "min")
    large, name, small, rest_name = units
    rest = rounded % large // small
    return f"{rounded // large} {name}" + (f" {rest} {rest_name}" if rest else "")


def format_decimal(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits, never as 1e-05: `0.00001`, `17,500`."""
    if not math.isfinite(value):
        return str(value)
    text = format(Decimal(f"{value:.{digits}g}"), "f")
    return f"{int(text):,}" if "." not in text else text


def format_difference(value: float) -> str:
    """A difference of probabilities: `0.34`, `0.0066`, `below 0.0001`."""
    return "below 0.0001" if 0 < value < 1e-4 else format_decimal(value, 2)


def natural_key(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts "img2" before "img10". Digits compare as numbers; a tie falls back to the text.

    >>> sorted(["c10", "c9", "C1", "c"], key=natural_key)
    ['c', 'C1', 'c9', 'c10']
    """
    parts = []
    for part in re.split(r"([0-9]+)", text):
        if part.isascii() and part.isdigit():
            digits = part.lstrip("0")  # longer is larger; int() refuses thousands of digits
            parts.append((0, len(digits), digits))
        elif part:
            parts.append((1, 0, part.casefold()))
    return tuple(parts), text


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def format_cell(value: object) -> object:
    """A value for a CSV that a spreadsheet may open: text that it would run as a formula is quoted
    with an apostrophe, and control characters, which a terminal obeys, are visible escapes.

    >>> [format_cell("=1+1"), format_cell("-1.5"), format_cell("a")]
    ["'=1+1", '-1.5', 'a']
    """
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", value)
    is_formula = text.startswith(("=", "+", "-", "@", "\t")) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def natural_sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=natural_key)


def to_flag(name: str) -> str:
    """The flag of an option: `--batch-size` for batch_size."""
    return f"--{name.replace('_', '-')}"


def format_flag(flag: str, *values: str) -> str:
    """A flag as one types it: `--label-column 'Finding Labels'`; several values with commas."""
    value = shlex.quote(",".join(values))
    return f"{flag}={value}" if values[0].startswith("-") else f"{flag} {value}"


def quote_path(path: Path) -> str:
    """A path quoted for a shell."""
    return shlex.quote(str(path))


def join_command_line(words: Sequence[str]) -> str:
    """`words` as one shell line, for reports; bytes that are not UTF-8 become escapes."""
    return shlex.join(words).encode("utf-8", "backslashreplace").decode()


def relative_path(path: Path) -> Path:
    """`path` relative to the current folder, if it is inside it; else as it is."""
    folder = Path.cwd()
    return path.relative_to(folder) if path.is_relative_to(folder) else path
