"""A table (CSV, TSV, JSON Lines, Parquet) as named columns of text, with lines for messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skipstone.data.file_types import PICTURE_SUFFIXES
from skipstone.data.options import ReadOptions
from skipstone.data.readers.csv_file import records, sniff_dialect
from skipstone.data.readers.jsonl_file import SUFFIXES as JSONL_SUFFIXES
from skipstone.data.readers.jsonl_file import read_jsonl
from skipstone.errors import DataError, UsageError, did_you_mean
from skipstone.words import listed

Cell = str | list[str]  # a list only from Parquet's list columns
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"}) | JSONL_SUFFIXES


@dataclass(frozen=True)
class Columns:
    """Args:
    path: the file it came from.
    values: {name: cells}, all of one length; a missing cell is "".
    lines: the line (CSV, from 1) or row (Parquet, from 0) of each record.
    unread: {name: type} of columns that hold neither text nor numbers (embedded pictures).
    short: lines that end before the last column. Excel leaves out empty cells at the end of a
        line; they are "" here.
    """

    path: Path
    values: dict[str, list[Cell]]
    lines: list[int]
    unread: dict[str, str]
    unit: str = "line"
    short: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.values)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """ "labels.csv, line 12" """
        return f"{self.path.name}, {self.unit} {self.lines[row]}"

    def check(self, name: str, flag: str) -> str:
        """`name`, if there is such a column. UsageError names the flag otherwise."""
        if name in self.unread:
            raise UsageError(
                f"{flag} {name}: that column of {self.path} holds {self.unread[name]}, not text."
            )
        if name not in self.values:
            raise UsageError(
                f"{flag} {name}: {self.path} has no such column.",
                hint=did_you_mean(name, self.names) or f"It has {listed(self.names, 12)}.",
            )
        return name

    def check_letters(self, name: str) -> None:
        """DataError names the first cell of a column that no file can hold: JSON's escapes may give
        half a letter, without its other half."""
        for row, cell in enumerate(self.values[name]):
            try:
                (cell if isinstance(cell, str) else "".join(cell)).encode()
            except UnicodeEncodeError:
                raise DataError(
                    f"{self.path}, {self.unit} {self.lines[row]}: {name} holds half a letter "
                    f"({cell!a}).",
                    hint="An emoji is two \\u escapes in JSON, and one of them was cut off. Write "
                    "both, or neither.",
                ) from None

    def text(self, name: str) -> list[str]:
        """A column whose cells are all text."""
        cells = self.values[name]
        for row, cell in enumerate(cells):
            if not isinstance(cell, str):
                raise DataError(f"{self.where(row)}: {name} holds a list, not one value.")
        return cells  # type: ignore[return-value]  # checked above


def sniff_table(path: Path) -> str | None:
    """ "a CSV table", or None where `path` is none: what every reader of tables asks."""
    suffix = path.suffix.lower()
    return f"a {suffix[1:].upper()} table" if suffix in TABLE_SUFFIXES and path.is_file() else None


def read_columns(path: Path, options: ReadOptions, *, least: int = 2) -> Columns:
    """Every cell of the table. DataError names the line that cannot be read.

    Args:
        least: columns that a CSV file has to have: two for something and its label.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        columns = _read_parquet(path)
    elif suffix in JSONL_SUFFIXES:
        columns = _read_json_lines(path, options.bad_bytes)
    else:
        columns = _read_csv(path, options, least)
    if not len(columns):
        raise DataError(
            f"{path} has no rows.", hint="A table is a header and a row for each sample below it."
        )
    return columns


def _read_csv(path: Path, options: ReadOptions, least: int) -> Columns:
    dialect = sniff_dialect(path, options.delimiter, options.encoding, options.bad_bytes)
    found = records(path, dialect)
    header_line, header = next(found, (0, []))
    names = _header(path, header, dialect.delimiter, least)
    cells: list[list[Cell]] = [[] for _ in header]
    lines: list[int] = []
    short: list[int] = []
    for line, record in found:
        if len(record) > len(header) and any(record[len(header) :]):
            raise DataError(
                f"{path}, line {line} has {len(record)} columns, but the header (line "
                f"{header_line}) has {len(header)}: {dialect.delimiter.join(record)[:80]!r}.",
                hint="A cell that holds the delimiter must stand in double quotes.",
            )
        if len(record) < len(header):
            short.append(line)
            record += [""] * (len(header) - len(record))
        lines.append(line)
        for column, cell in zip(cells, record, strict=False):
            column.append(cell)
    values = {name: column for name, column in zip(names, cells, strict=True) if name}
    return Columns(path, values, lines, {}, short=tuple(short))


def _header(path: Path, header: list[str], delimiter: str, least: int) -> list[str]:
    if not header:
        raise DataError(f"{path} is empty.", hint="A table begins with a header: path,label")
    for name in header:
        if Path(name).suffix.lower() in PICTURE_SUFFIXES:
            raise DataError(
                f"{path} has no header: its first line holds {name!r}.",
                hint="Put a line with the names of the columns first, such as: path,label",
            )
    if len(header) < least:
        raise DataError(
            f"{path} has one column only ({header[0]!r}, columns separated by {delimiter!r}).",
            hint="Two are needed, such as path,label. Another separator: --delimiter",
        )
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} has more than one column named {listed(twice)}.",
            hint="Give each column a name of its own.",
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
        listing = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        inner = kind.value_type if listing else kind
        if (
            pa.types.is_nested(inner)
            or pa.types.is_binary(inner)
            or pa.types.is_large_binary(inner)
        ):
            unread[name] = str(kind)
        elif listing:
            values[name] = [[_cell(item) for item in cell or ()] for cell in column.to_pylist()]
        else:
            values[name] = [_cell(item) for item in column.to_pylist()]
    return Columns(path, values, list(range(table.num_rows)), unread, unit="row")


def _read_json_lines(path: Path, errors: str) -> Columns:
    found, lines, unread = read_jsonl(path, errors)
    values: dict[str, list[Cell]] = {}
    for name, cells in found.items():
        listing = any(isinstance(cell, list) for cell in cells)
        if listing:
            values[name] = [[_cell(item) for item in cell or ()] for cell in map(_listed, cells)]
        else:
            values[name] = [_cell(cell) for cell in cells]
    return Columns(path, values, lines, unread)


def _listed(cell: Any) -> list[Any]:
    """A lone value among lists is a list of one."""
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _cell(value: Any) -> str:
    """Numbers as a person writes them: 3.0 (pandas' way to hold 3 beside a gap) is 3."""
    if value is None or value != value:  # NaN is pandas' missing value
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
