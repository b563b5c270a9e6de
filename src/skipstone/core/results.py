"""What the results of all commands have in common in Python: a table, for pandas and notebooks."""

from __future__ import annotations

import abc
import html
from collections.abc import Mapping, Sequence
from typing import Any

from skipstone.core.errors import MissingExtra

#: Rows that a notebook shows.
MAX_ROWS = 20


class TableResult(abc.ABC):
    """A result that is a table of records."""

    @abc.abstractmethod
    def table_rows(self) -> Sequence[Mapping[str, Any]]:
        """The records, with simple values."""

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame. MissingExtra without pandas."""
        try:
            import pandas  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise MissingExtra(
                "to_frame needs pandas, which is not installed.", hint="pip install pandas"
            ) from None
        return pandas.DataFrame(list(self.table_rows()))

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        rows = self.table_rows()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_format_cell(row.get(name))}</td>' for name in columns)}</tr>"
            for row in rows[:MAX_ROWS]
        )
        more = len(rows) - MAX_ROWS
        note = f"<p>and {more:,} more rows</p>" if more > 0 else ""
        title = html.escape(type(self).__name__)
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{body}</table>{note}"


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))
