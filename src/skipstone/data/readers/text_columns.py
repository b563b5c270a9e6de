"""Find the text column of a table whose rows are texts, not paths."""

from __future__ import annotations

from pathlib import Path

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.table_columns import is_path_column, sample_cells

_TEXT_NAMES = frozenset(
    {
        *("text", "texts", "sentence", "content", "body", "review", "comment", "question"),
        *("message", "tweet", "document", "description", "headline", "abstract", "utterance"),
    }
)
#: An unnamed column holds texts if its cells have on average at least this many words ...
_WORDS = 3
#: ... or, in scripts without spaces, this many letters.
_LETTERS = 12


def choose_text_column(columns: Columns, root: Path, options: ReadOptions) -> str | None:
    """The column of texts, or None if the table names files.

    Raises:
        UsageError: more than one column may hold the texts; names the flag.
    """
    if options.text_column is not None:
        if options.path_column is not None:
            raise UsageError(
                "--text-column and --path-column exclude each other: rows are texts or files.",
                hint="Give one of the two.",
            )
        return columns.require_column(options.text_column, "--text-column")
    assigned = {
        options.label_column,
        *options.label_columns,
        options.split_column,
        options.group_column,
    }
    unassigned = [name for name in columns.names if name not in assigned]
    if options.path_column is not None or any(
        is_path_column(columns, root, name) for name in unassigned
    ):
        return None
    named = [name for name in unassigned if name.casefold() in _TEXT_NAMES]
    matches = named or [name for name in unassigned if _holds_texts(columns, name)]
    if len(matches) > 1:
        raise UsageError(
            f"{columns.path}: more than one column may hold the texts ({join_limited(matches)}).",
            hint=f"Choose one: --text-column {matches[0]}",
        )
    return matches[0] if matches else None


def _holds_texts(columns: Columns, name: str) -> bool:
    """Whether cells are sentences: several words (or CJK letters), and mostly distinct."""
    cells = [cell for cell in sample_cells(columns, name) if cell]
    if not cells or 2 * len(set(cells)) < len(cells):
        return False
    words = sum(len(cell.split()) for cell in cells) / len(cells)
    letters = sum(sum(ord(letter) > 0x2E7F for letter in cell) for cell in cells) / len(cells)
    return words >= _WORDS or letters >= _LETTERS
