"""Table files as named columns of text, with line numbers: CSV, TSV, JSON Lines, Parquet.

CSV is read as spreadsheets and programs write it: UTF-8 or UTF-16 (Excel's "Unicode text"), each
with or without a BOM; columns separated by a comma, semicolon, tab or bar; and Excel's first line
`sep=;`. An ambiguous delimiter is an error that names the flag.
"""

from __future__ import annotations

import codecs
import csv
import functools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone.core.disk import open_regular, open_regular_text
from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited
from skipstone.data.input_files import list_file_inputs, list_suffixes
from skipstone.data.options import ReadOptions

Cell = str | list[str]  # a list only from Parquet's list columns
JSONL_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"}) | JSONL_SUFFIXES
_TABLE_CHANGED = "The table was changed since it was read. Run the command again from the start."
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_HEAD = 4096
#: Maximal characters per cell: the largest C long on every platform. Python's default is 131,072.
_LONGEST_CELL = (1 << 31) - 1
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's BOM, which is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURROGATES = re.compile("[\ud800-\udfff]")
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
            hint="Give each column a different name.",
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


@dataclass(frozen=True, slots=True)
class Dialect:
    """Args:
    encoding: Python's name.
    skip_lines: lines before the header (Excel's `sep=;` is one).
    errors: Python's error handler for invalid bytes.
    """

    encoding: str
    delimiter: str
    skip_lines: int = 0
    errors: str = "strict"


def detect_dialect(
    path: Path,
    delimiter: str | None = None,
    encoding: str | None = None,
    errors: str = "strict",
) -> Dialect:
    """Detect how the table is written; the arguments override what is detected.

    Raises:
        UsageError: two delimiters fit (names the flag), or the encoding is unknown.
        DataError: the bytes are invalid in the encoding; names the line.
    """
    encoding = _detect_encoding(path) if encoding is None else _python_encoding(encoding)
    stated = _stated_delimiter(path, encoding, errors)
    skip = int(stated is not None)
    delimiter = delimiter or stated or _infer_delimiter(path, encoding, errors)
    return Dialect(encoding, delimiter, skip, errors)


def read_csv_records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, stripped cells) of each record that is not blank."""
    line = dialect.skip_lines
    csv.field_size_limit(_LONGEST_CELL)
    with open_regular_text(path, dialect.encoding, dialect.errors, "") as file:
        try:
            for _ in range(dialect.skip_lines):
                file.readline()
            reader = csv.reader(
                file, delimiter=dialect.delimiter, strict=True, skipinitialspace=True
            )
            for record in reader:
                first, line = line + 1, dialect.skip_lines + reader.line_num
                if any(cell.strip() for cell in record):
                    yield first, [cell.strip() for cell in record]
        except UnicodeError as error:
            raise _encoding_error(path, line, dialect.encoding) from error
        except csv.Error as error:
            hint = "A cell that contains the delimiter, a quote or a line break must be in double "
            hint += 'quotes, with each quote inside it doubled: "".'
            raise DataError(f"{path}, line {line + 1}: {error}.", hint=hint) from error


def _detect_encoding(path: Path) -> str:
    with open_regular(path) as file:
        head = file.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:  # never in UTF-8; the header's letters are 0x00 and a byte in UTF-16
        return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
    return "utf-8"


def _python_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(
            f"unknown --encoding {encoding}.",
            hint="Examples: utf-8, utf-16, cp1252 (Windows, Western Europe), shift_jis.",
        ) from None
    return "utf-8-sig" if name == "utf-8" else name  # removes a BOM from the header


def _encoding_error(path: Path, line: int, encoding: str) -> DataError:
    name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
    where = _first_invalid_byte(path, encoding) or f"a character after line {line}"
    return DataError(
        f"{path} is not {name}: {where} is invalid.",
        hint="Save the table as 'CSV UTF-8', or name its encoding, such as --encoding cp1252.",
    )


def _first_invalid_byte(path: Path, encoding: str) -> str:
    """The place of the first invalid byte; "" for encodings with a line feed of several bytes."""
    if len("\n".encode(encoding.removesuffix("-sig"))) > 1:
        return ""
    with open_regular(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding if number == 1 else encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1} (0x{line[error.start]:02x}),"
    return ""


def _stated_delimiter(path: Path, encoding: str, errors: str) -> str | None:
    """The delimiter in Excel's first line `sep=;`, or None."""
    try:
        with open_regular_text(path, encoding, errors) as file:
            match = _SEP_LINE.fullmatch(file.readline(16))
    except UnicodeError as error:
        raise _encoding_error(path, 0, encoding) from error
    return None if match is None else match.group(1)


def _infer_delimiter(path: Path, encoding: str, errors: str) -> str:
    """The delimiter that gives the first lines the same number of columns, more than one."""
    widths_by_delimiter: dict[str, int] = {}
    for candidate in _DELIMITERS:
        widths = []
        try:
            for _, record in read_csv_records(path, Dialect(encoding, candidate, errors=errors)):
                widths.append(len(record))
                if len(widths) == _SAMPLE_LINES:
                    break
        except DataError as error:
            if isinstance(error.__cause__, UnicodeError):
                raise
            continue  # invalid quoting with this delimiter
        if widths and widths[0] > 1:
            is_consistent = len(set(widths)) == 1
            widths_by_delimiter[candidate] = widths[0] if is_consistent else 0
    consistent = {candidate: width for candidate, width in widths_by_delimiter.items() if width}
    if len(consistent) == 1:
        return next(iter(consistent))
    if len(consistent) > 1:
        raise UsageError(
            f"{path}: the delimiter may be {' or '.join(map(repr, consistent))}.",
            hint=f"Name it: --delimiter {next(iter(consistent))!r}",
        )
    if widths_by_delimiter:  # inconsistent: the error of reading will name the line
        return next(iter(widths_by_delimiter))
    return "\t" if path.suffix.lower() == ".tsv" else ","


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
