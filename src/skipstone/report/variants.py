"""Texts with variants of them, what differs marked: what augmentation makes of a training text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skipstone.report.words import escape, name

#: A text in pieces: 1 for one that came, -1 for one that is gone, 0 for one that stayed.
Marked = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class TextRow:
    """Args:
    label: of the text.
    texts: the text as it is, then its variants.
    """

    name: str
    label: str
    texts: tuple[Marked, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    title: str
    rows: tuple[TextRow, ...]
    note: str = ""

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Variants:
        rows = tuple(
            TextRow(str(row["name"]), str(row["label"]), tuple(map(_marked, row["texts"])))
            for row in value["rows"]
        )
        return Variants(str(value["title"]), rows, str(value.get("note", "")))


def variants(block: Variants) -> str:
    """Each text above its variants."""
    if not block.rows:
        return "<p>None.</p>"
    return f'<ul class="pictures wide texts">{"".join(map(_row, block.rows))}</ul>'


def _marked(pieces: Sequence[Sequence[Any]]) -> Marked:
    return tuple((str(piece), int(mark)) for piece, mark in pieces)


def _row(row: TextRow) -> str:
    texts = "".join(
        f'<p class="words" dir="auto">{"".join(map(_piece, text))}</p>' for text in row.texts
    )
    return (
        f"<li><figure>{texts}<figcaption>"
        f'<span class="truth"><i>label</i> {name(row.label)}</span>'
        f'<span class="file" title="{escape(row.name)}">{name(row.name)}</span>'
        "</figcaption></figure></li>"
    )


def _piece(marked: tuple[str, int]) -> str:
    piece, mark = marked
    if not mark:
        return escape(piece)
    if mark > 0:
        return f'<mark class="for s3">{escape(piece)}</mark>'
    return f'<del><mark class="against s1">{escape(piece)}</mark></del>'
