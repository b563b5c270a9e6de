"""Table files as named columns of text, with line numbers: CSV, TSV, JSON Lines, Parquet."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone.core.disk import open_regular
from skipstone.core.errors import DataError, SkipstoneError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.input_files import list_file_inputs, list_suffixes, read_head
from skipstone.data.lfs_pointers import is_lfs_pointer, lfs_pointer_error
from skipstone.data.options import ColumnRef, ReadOptions
from skipstone.data.readers.csv_records import (
    detect_dialect,
    find_swallowed_row,
    read_csv_records,
    swallowed_lines_error,
)

Cell = str | list[str]  # a list only from Parquet's list columns
JSONL_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"}) | JSONL_SUFFIXES
_TABLE_CHANGED = "The table was changed since it was read. Run the command again from the start."
_SURROGATES = re.compile("[\ud800-\udfff]")
_LONGEST_LINE = 1 << 24
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
    long_lines: lines where a row with a line break begins.
    delimiter: of a CSV file, whose names are its first line; "" for other tables.
    """

    path: Path
    values: dict[str, list[Cell]]
    lines: list[int]
    unsupported_columns: dict[str, str]
    unit: str = "line"
    short_lines: tuple[int, ...] = ()
    long_lines: tuple[int, ...] = ()
    delimiter: str = ""

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
    """ "a CSV table", or None if `path` is not a table. A .json file is one if it is JSON Lines."""
    suffix = path.suffix.lower()
    if suffix == ".json" and path.is_file() and _holds_json_lines(path):
        return "a table of JSON Lines"
    return f"a {suffix[1:].upper()} table" if suffix in TABLE_SUFFIXES and path.is_file() else None


def _holds_json_lines(path: Path) -> bool:
    """Whether the first two lines are objects."""
    try:
        with open_regular(path) as file:
            lines = [file.readline(_LONGEST_LINE) for _ in range(2)]
            return all(isinstance(json.loads(line.decode("utf-8-sig")), dict) for line in lines)
    except (OSError, ValueError, RecursionError):
        return False


def describe_long_lines(columns: Columns) -> str:
    """A note on rows with line breaks: quotation marks may enclose what are rows."""
    count = pluralize(len(columns.long_lines), "row")
    return f"{count} with line breaks inside a cell (first line {columns.long_lines[0]})."


def read_names(path: Path) -> list[str]:
    """Names of a table's columns, from its beginning; [] if it cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        if path.suffix.lower() in (*JSONL_SUFFIXES, ".json"):
            return list(next(_records(path, "replace"), (0, {}))[1])
        dialect = detect_dialect(path, ReadOptions(bad_bytes="replace"))
        return next(read_csv_records(path, dialect), (0, []))[1]
    except (SkipstoneError, pa.ArrowException, OSError):
        return []


def read_columns(path: Path, options: ReadOptions, *, min_columns: int = 2) -> Columns:
    """Every cell of the table. DataError names the line that cannot be read.

    Args:
        min_columns: the minimal number of columns of a CSV file: two for a source and its label.
    """
    suffix = path.suffix.lower()
    if is_lfs_pointer(read_head(path)):
        raise lfs_pointer_error(path, path.parent)
    if suffix == ".parquet":
        columns = _read_parquet(path)
    elif suffix in JSONL_SUFFIXES or suffix == ".json":
        columns = _read_json_lines(path, options.bad_bytes)
    else:
        columns = _read_csv(path, options, min_columns)
    if not len(columns):
        raise DataError(
            f"{path} has no rows.", hint="A table is a header and then one row per sample."
        )
    return columns


def read_cell(path: Path, row: int, ref: ColumnRef) -> str:
    """The cell of record number `row`, from 0. Invalid bytes are kept as surrogates.

    Raises:
        DataError: the table cannot be read, or no longer has that column or row.
    """
    cells = read_column(path, ref)
    if not 0 <= row < len(cells):
        raise DataError(
            f"{path} holds {len(cells):,} rows now; row {row} no longer exists.",
            hint=_TABLE_CHANGED,
        )
    return cells[row]


def read_column(path: Path, ref: ColumnRef) -> list[str]:
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
        return _cached_column(path, ref, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _cached_column(path: Path, ref: ColumnRef, modified: int, size: int) -> list[str]:
    options = ReadOptions(
        delimiter=ref.delimiter,
        encoding=ref.encoding,
        quoting=ref.quoting,
        bad_bytes="surrogateescape",
    )
    columns = read_columns(path, options, min_columns=1)
    if ref.column not in columns.values:
        raise DataError(f"{path} no longer has the column {ref.column!r}.", hint=_TABLE_CHANGED)
    return columns.text_cells(ref.column)


def _read_csv(path: Path, options: ReadOptions, least: int) -> Columns:
    dialect = detect_dialect(path, options)
    csv_records = read_csv_records(path, dialect)
    header_line, header = next(csv_records, (0, []))
    names = _header(path, header, dialect.delimiter, least)
    if options.bad_bytes == "replace" and any("\ufffd" in name for name in names):
        # A name that cannot be typed; the strict reading says which byte is invalid.
        next(read_csv_records(path, replace(dialect, errors="strict")))
    cells: list[list[Any]] = [[] for _ in header]
    lines: list[int] = []
    short: list[int] = []
    long_rows: list[int] = []
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
        if any("\n" in cell or "\r" in cell for cell in record):
            long_rows.append(len(lines))
        lines.append(line)
        for column, cell in zip(cells, record, strict=False):
            column.append(cell)
    if options.quoting is None:
        row = find_swallowed_row(cells, long_rows, dialect.delimiter)
        if row is not None:
            raise swallowed_lines_error(path, lines[row], [column[row] for column in cells])
    return Columns(
        path,
        {name: column for name, column in zip(names, cells, strict=True) if name},
        lines,
        {},
        short_lines=tuple(short),
        long_lines=tuple(lines[row] for row in long_rows),
        delimiter=dialect.delimiter,
    )


def _header(path: Path, header: list[str], delimiter: str, least: int) -> list[str]:
    if not header:
        raise DataError(f"{path} is empty.", hint="A table starts with a header: path,label")
    suffixes = list_suffixes(list_file_inputs())
    for name in header:
        if name.lower().endswith(suffixes):
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
            hint="Give each column a different name. If the first line is a row, add a line of names "
            "above it, such as: path,label",
        )
    return header


def _read_parquet(path: Path) -> Columns:
    try:
        with open_regular(path) as file:
            table = pq.read_table(file)
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
        else:
            try:
                cells = column.to_pylist()
            except (ValueError, OverflowError, pa.ArrowException):  # such as times in nanoseconds
                unread[name] = str(kind)
                continue
            if is_list:
                values[name] = [[_cell(item) for item in cell or ()] for cell in cells]
            else:
                values[name] = [_cell(item) for item in cells]
    return Columns(path, values, list(range(table.num_rows)), unread, unit="row")


def _read_json_lines(path: Path, errors: str) -> Columns:
    raw_columns, lines, unread = read_jsonl(path, errors)
    if errors == "replace" and any("\ufffd" in name for name in raw_columns):
        # Names that cannot be typed; the strict reading says which byte or letter is invalid.
        for name in read_jsonl(path)[0]:
            if _SURROGATES.search(name):
                raise DataError(
                    f"{path}: the name of a column holds a lone surrogate ({name!a}).",
                    hint="Write both \\u escapes of the letter, or neither.",
                )
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


def read_jsonl(
    path: Path, errors: str = "strict"
) -> tuple[dict[str, list[Any]], list[int], dict[str, str]]:
    """({name: values}, the line of each record, {name: type} of columns that hold objects).

    A key that a record lacks is None there. Values are as JSON gives them. A lone surrogate escape
    (a truncated emoji leaves "\\ud83d") stays a surrogate, unless `errors` is "replace".

    Args:
        errors: Python's error handler for invalid bytes.

    Raises:
        DataError: a line is not UTF-8, or not a JSON object; names the line.
    """
    records = list(_records(path, errors))
    names = dict.fromkeys(name for _, record in records for name in record)
    values = {name: [record.get(name) for _, record in records] for name in names}
    nested = {name: "objects" for name in names if any(_is_nested(value) for value in values[name])}
    return (
        {name: values[name] for name in names if name not in nested},
        [line for line, _ in records],
        nested,
    )


def _records(path: Path, errors: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors).strip()
                if not text:
                    continue
                record = json.loads(text)
                if errors == "replace" and "\\u" in text:
                    record = _replace_surrogates(record)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}, byte {error.start + 1}: "
                    f"0x{line[error.start]:02x} is not valid UTF-8.",
                    hint="Save the file as UTF-8.",
                ) from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is not valid JSON: {error}.") from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} holds {type(record).__name__}, not an object.",
                    hint='Example of a line: {"text": "...", "label": "..."}.',
                )
            yield number, record


def _replace_surrogates(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            _replace_surrogates(name): _replace_surrogates(item) for name, item in value.items()
        }
    return value


def _is_nested(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict)
