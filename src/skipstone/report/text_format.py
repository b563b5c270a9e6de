"""Format values for people and for HTML: numbers, sizes, durations, and text from outside."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable
from typing import Any

MISSING_VALUE = "–"
#: Joiners that ordinary words need (Persian, Hindi, emoji); they neither hide nor reorder text.
_JOINERS = {"\u200c", "\u200d"}


def escape_control_characters(value: object) -> str:
    """`value` as text, with every character that hides, reorders or controls text escaped.

    Control characters, bidirectional overrides, lone surrogates (file names that are not UTF-8) and
    line ends become `\\x1b`, `\\u202e`, `\\udcff`, `\\n`.
    """
    return "".join(char if _is_printable(char) else _escape_char(char) for char in str(value))


def escape_html(value: object) -> str:
    """For text and quoted attributes in HTML and SVG."""
    return html.escape(escape_control_characters(value), quote=True)


def render_name(value: object) -> str:
    """A name from outside (a class, a file) as HTML, in <bdi> so that right-to-left text does not
    reorder its row."""
    return f"<bdi>{escape_html(value)}</bdi>"


def _is_printable(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def _escape_char(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def format_percent(value: float | None, digits: int = 1) -> str:
    """97.3 %. A value below 100 % or above 0 % is never rounded to these."""
    if value is None or not math.isfinite(value):
        return MISSING_VALUE
    share = 100 * value
    while digits < 4 and (
        (value < 1 and float(f"{share:.{digits}f}") == 100)
        or (value > 0 and float(f"{share:.{digits}f}") == 0)
    ):
        digits += 1
    return f"{share:.{digits}f} %"


def format_number(value: Any) -> str:
    """Integers as 1,234; other numbers with four significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING_VALUE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape_control_characters(value)
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e12:
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def format_metric(value: float | None, *, as_percent: bool) -> str:
    """A value in percent, or with three significant digits."""
    if as_percent:
        return format_percent(value)
    if value is None or not math.isfinite(value):
        return MISSING_VALUE
    if value == 0 or not 1e-3 <= abs(value) < 1000:
        return format_number(float(f"{value:.3g}"))
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def format_interval(low: float | None, high: float | None, *, as_percent: bool) -> str:
    """96.1 – 98.2 %."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return MISSING_VALUE
    if as_percent:
        return f"{format_percent(low).removesuffix(' %')} – {format_percent(high)}"
    return f"{format_metric(low, as_percent=False)} – {format_metric(high, as_percent=False)}"


def format_bytes(count: float) -> str:
    """Bytes as 812 B, 4.2 kB, 44.7 MB (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def format_count(value: float) -> str:
    """A large number in short: 11.2 million."""
    for limit, word in ((1e9, "billion"), (1e6, "million")):
        if value >= limit:
            return f"{value / limit:.3g} {word}"
    return f"{value:,.0f}"


def render_weighted_text(pieces: Iterable[tuple[str, float]]) -> str:
    """A text in pieces as HTML. Pieces with a weight are marked, in three strengths: positive
    weights speak for the prediction, negative ones against it."""
    return f'<p class="words" dir="auto">{"".join(map(_piece, pieces))}</p>'


def _piece(piece: tuple[str, float]) -> str:
    words, weight = piece
    strength = min(3, int(abs(weight) * 3 + 0.5))
    if not strength:
        return escape_html(words)
    side = "for" if weight > 0 else "against"
    return f'<mark class="{side} s{strength}">{escape_html(words)}</mark>'


def capitalize_first(text: str) -> str:
    """With a capital first letter, unless the first word mixes cases, as in mAP."""
    word = text.partition(" ")[0]
    return text if word != word.lower() else text[:1].upper() + text[1:]
