"""A table (CSV, TSV, JSON Lines, Parquet) as named columns of text, with line numbers."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited
from skipstone.data.file_types import PICTURE_SUFFIXES
from skipstone.data.options import ReadOptions
from skipstone.data.readers.csv_file import detect_dialect, read_csv_records
from skipstone.data.readers.jsonl_file import SUFFIXES as JSONL_SUFFIXES
from skipstone.data.readers.jsonl_file import read_jsonl

Cell = str | list[str]  # a list only from Parquet's list columns
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"}) | JSONL_SUFFIXES
_TABLE_CHANGED = "The table was changed since it was read. Run the command again from the start."
_lock = threading.Lock()


@dataclass(frozen=True)
class Columns:
    """Args:
    path: the table file.
    values: {name: cells}, all of one length; a missing cell is "".
    lines: the line (CSV, from 1) or row (Parquet, from 0) of each record.
    unsupported_columns: {name: type} of columns that hold neither text nor numbers (embedded pictures).
    unit: what `lines` counts: "line" or "row".
    short_lines: lines that end before the last column. Excel omits empty cells at the end of a line;
        here they are "".
    """

    path: Path
    values: dict[str, list[Cell]]
    lines: list[int]
    unsupported_columns: dict[str, str]
    unit: str = "line"
    short_lines: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.values)

    def __len__(self) -> int:
        return len(self.lines)

    def row_location(self, row: int) -> str:
        """ "labels.csv, line 12" """
        return f"{self.path.name}, {self.unit} {self.lines[row]}"

    def require_column(self, name: str, flag: str) -> str:
        """`name`, if that column exists; else a UsageError that names the flag."""
        if name in self.unsupported_columns:
            raise UsageError(
                f"{flag} {name}: this column of {self.path} holds {self.unsupported_columns[name]}, not text."
            )
        if name not in self.values:
            raise UsageError(
                f"{flag} {name}: {self.path} has no such column.",
                hint=did_you_mean(name, self.names) or f"It has {join_limited(self.names, 12)}.",
            )
        return name

    def reject_lone_surrogates(self, name: str) -> None:
        """DataError for the first cell of a column with a lone surrogate, which JSON escapes can
        produce and UTF-8 cannot encode."""
        for row, cell in enumerate(self.values[name]):
            try:
                (cell if isinstance(cell, str) else "".join(cell)).encode()
            except UnicodeEncodeError:
                raise DataError(
                    f"{self.path}, {self.unit} {self.lines[row]}: {name} holds a lone surrogate "
                    f"({cell!a}).",
                    hint="JSON writes an emoji as two \\u escapes, and one of them is missing. "
                    "Write both, or neither.",
                ) from None

    def text_cells(self, name: str) -> list[str]:
        """The cells of a text column. DataError if a cell is a list."""
        cells = self.values[name]
        for row, cell in enumerate(cells):
            if not isinstance(cell, str):
                raise DataError(
                    f"{self.row_location(row)}: {name} holds a list, not a single value."
                )
        return cells  # type: ignore[return-value]  # checked above


def detect_table(path: Path) -> str | None:
    """ "a CSV table", or None if `path` is not a table."""
    suffix = path.suffix.lower()
    return f"a {suffix[1:].upper()} table" if suffix in TABLE_SUFFIXES and path.is_file() else None


def read_columns(path: Path, options: ReadOptions, *, min_columns: int = 2) -> Columns:
    """Every cell of the table. DataError names the line that cannot be read.

    Args:
        min_columns: the minimal number of columns of a CSV file: two for a source and its label.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        columns = _read_parquet(path)
    elif suffix in JSONL_SUFFIXES:
        columns = _read_json_lines(path, options.bad_bytes)
    else:
        columns = _read_csv(path, options, min_columns)
    if not len(columns):
        raise DataError(
            f"{path} has no rows.", hint="A table is a header and then one row per sample."
        )
    return columns


def read_cell(
    path: Path, row: int, column: str, delimiter: str | None, encoding: str | None
) -> str:
    """The cell of record number `row`, from 0. Invalid bytes are kept as surrogates.

    Raises:
        DataError: the table cannot be read, or no longer has that column or row.
    """
    cells = read_column(path, column, delimiter, encoding)
    if not 0 <= row < len(cells):
        raise DataError(
            f"{path} holds {len(cells):,} rows now; row {row} no longer exists.",
            hint=_TABLE_CHANGED,
        )
    return cells[row]


def read_column(path: Path, column: str, delimiter: str | None, encoding: str | None) -> list[str]:
    """Every cell of one column; cached until the file changes. Invalid bytes are kept as
    surrogates.

    Raises:
        DataError: the table cannot be read, or no longer has that column.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with _lock:  # two threads would otherwise read the same file twice
        return _cached_column(path, column, delimiter, encoding, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _cached_column(
    path: Path,
    column: str,
    delimiter: str | None,
    encoding: str | None,
    modified: int,
    size: int,
) -> list[str]:
    options = ReadOptions(delimiter=delimiter, encoding=encoding, bad_bytes="surrogateescape")
    columns = read_columns(path, options, min_columns=1)
    if column not in columns.values:
        raise DataError(f"{path} no longer has the column {column!r}.", hint=_TABLE_CHANGED)
    return columns.text_cells(column)


def _read_csv(path: Path, options: ReadOptions, least: int) -> Columns:
    dialect = detect_dialect(path, options.delimiter, options.encoding, options.bad_bytes)
    csv_records = read_csv_records(path, dialect)
    header_line, header = next(csv_records, (0, []))
    names = _header(path, header, dialect.delimiter, least)
    cells: list[list[Cell]] = [[] for _ in header]
    lines: list[int] = []
    short: list[int] = []
    for line, record in csv_records:
        if len(record) > len(header) and any(record[len(header) :]):
            raise DataError(
                f"{path}, line {line} has {len(record)} columns, but the header (line "
                f"{header_line}) has {len(header)}: {dialect.delimiter.join(record)[:80]!r}.",
                hint="A cell that contains the delimiter must be in double quotes.",
            )
        if len(record) < len(header):
            short.append(line)
            record += [""] * (len(header) - len(record))
        lines.append(line)
        for column, cell in zip(cells, record, strict=False):
            column.append(cell)
    values = {name: column for name, column in zip(names, cells, strict=True) if name}
    return Columns(path, values, lines, {}, short_lines=tuple(short))


def _header(path: Path, header: list[str], delimiter: str, least: int) -> list[str]:
    if not header:
        raise DataError(f"{path} is empty.", hint="A table starts with a header: path,label")
    for name in header:
        if Path(name).suffix.lower() in PICTURE_SUFFIXES:
            raise DataError(
                f"{path} has no header: its first line contains {name!r}.",
                hint="Add a first line with the column names, such as: path,label",
            )
    if len(header) < least:
        raise DataError(
            f"{path} has only one column ({header[0]!r}, with the delimiter {delimiter!r}).",
            hint="Two are needed, such as path,label. To change the delimiter: --delimiter",
        )
    names = [name for name in header if name]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise DataError(
            f"{path} has more than one column named {join_limited(duplicates)}.",
            hint="Give each column a different name.",
        )
    return header


def _read_parquet(path: Path) -> Columns:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as Parquet: {first}") from error
    values: dict[str, list[Cell]] = {}
    unread: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        inner = kind.value_type if is_list else kind
        if (
            pa.types.is_nested(inner)
            or pa.types.is_binary(inner)
            or pa.types.is_large_binary(inner)
        ):
            unread[name] = str(kind)
        elif is_list:
            values[name] = [[_cell(item) for item in cell or ()] for cell in column.to_pylist()]
        else:
            values[name] = [_cell(item) for item in column.to_pylist()]
    return Columns(path, values, list(range(table.num_rows)), unread, unit="row")


def _read_json_lines(path: Path, errors: str) -> Columns:
    raw_columns, lines, unread = read_jsonl(path, errors)
    values: dict[str, list[Cell]] = {}
    for name, cells in raw_columns.items():
        is_list = any(isinstance(cell, list) for cell in cells)
        if is_list:
            values[name] = [[_cell(item) for item in cell or ()] for cell in map(_as_list, cells)]
        else:
            values[name] = [_cell(cell) for cell in cells]
    return Columns(path, values, lines, unread)


def _as_list(cell: Any) -> list[Any]:
    """A single value as a list of one; None as an empty list."""
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _cell(value: Any) -> str:
    """A value as text. 3.0 becomes "3": pandas writes integers as floats if values are missing."""
    if value is None or value != value:  # NaN is pandas' missing value
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
