"""Which column of a table holds texts, where its rows are texts and not files."""

from __future__ import annotations

from pathlib import Path

from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.table_columns import names_files, sample_cells
from skipstone.errors import UsageError
from skipstone.words import listed

_TEXT_NAMES = frozenset(
    {
        *("text", "texts", "sentence", "content", "body", "review", "comment", "question"),
        *("message", "tweet", "document", "description", "headline", "abstract", "utterance"),
    }
)
#: A column that nobody named holds texts where its cells have this many words on average ...
_WORDS = 3
#: ... or, in writing without spaces, this many letters.
_LETTERS = 12


def text_column(columns: Columns, root: Path, options: ReadOptions) -> str | None:
    """The column of texts, or None where the table names files.

    Raises:
        UsageError: more than one column may be it; names the flag that decides.
    """
    if options.text_column is not None:
        if options.path_column is not None:
            raise UsageError(
                "--text-column and --path-column are both given: rows are texts or files.",
                hint="Give one of the two.",
            )
        return columns.check(options.text_column, "--text-column")
    spoken_for = {
        options.label_column,
        *options.label_columns,
        options.split_column,
        options.group_column,
    }
    free = [name for name in columns.names if name not in spoken_for]
    if options.path_column is not None or any(names_files(columns, root, name) for name in free):
        return None
    named = [name for name in free if name.casefold() in _TEXT_NAMES]
    fits = named or [name for name in free if _holds_texts(columns, name)]
    if len(fits) > 1:
        raise UsageError(
            f"{columns.path}: more than one column may hold the texts ({listed(fits)}).",
            hint=f"Say which: --text-column {fits[0]}",
        )
    return fits[0] if fits else None


def _holds_texts(columns: Columns, name: str) -> bool:
    """Whether cells are sentences: several words (or letters beyond ASCII), seldom the same."""
    cells = [cell for cell in sample_cells(columns, name) if cell]
    if not cells or 2 * len(set(cells)) < len(cells):
        return False
    words = sum(len(cell.split()) for cell in cells) / len(cells)
    letters = sum(sum(ord(letter) > 0x2E7F for letter in cell) for cell in cells) / len(cells)
    return words >= _WORDS or letters >= _LETTERS
