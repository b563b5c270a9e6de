"""Texts with their augmented variants, and the differences marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skipstone.report.text_format import escape_html, render_name

#: A text in pieces: 1 for an added piece, -1 for a removed one, 0 for an unchanged one.
MarkedText = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text and its variants.

    Args:
        texts: the original first.
    """

    name: str
    label: str
    texts: tuple[MarkedText, ...]


@dataclass(frozen=True, slots=True)
class TextVariants:
    """Texts, each with its variants."""

    title: str
    rows: tuple[TextRow, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TextVariants:
        rows = tuple(
            TextRow(str(row["name"]), str(row["label"]), tuple(map(_marked, row["texts"])))
            for row in value["rows"]
        )
        return TextVariants(str(value["title"]), rows, str(value.get("note", "")))


def render_text_variants(block: TextVariants) -> str:
    """Each text, with its variants below."""
    if not block.rows:
        return "<p>None.</p>"
    return f'<ul class="pictures wide texts">{"".join(map(_row, block.rows))}</ul>'


def _marked(pieces: Sequence[Sequence[Any]]) -> MarkedText:
    return tuple((str(piece), int(mark)) for piece, mark in pieces)


def _row(row: TextRow) -> str:
    texts = "".join(
        f'<p class="words" dir="auto">{"".join(map(_piece, text))}</p>' for text in row.texts
    )
    return (
        f"<li><figure>{texts}<figcaption>"
        f'<span class="truth"><i>label</i> {render_name(row.label)}</span>'
        f'<span class="file" title="{escape_html(row.name)}">{render_name(row.name)}</span>'
        "</figcaption></figure></li>"
    )


def _piece(marked: tuple[str, int]) -> str:
    piece, mark = marked
    if not mark:
        return escape_html(piece)
    if mark > 0:
        return f'<mark class="for s3">{escape_html(piece)}</mark>'
    return f'<del><mark class="against s1">{escape_html(piece)}</mark></del>'
