"""CSV files as spreadsheets and programs write them: encoding, delimiter, records.

UTF-8 or UTF-16 (Excel's "Unicode text"), each with or without a BOM; columns separated by a comma,
semicolon, tab or bar; and Excel's first line `sep=;`. An ambiguous delimiter is an error that names
the flag.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skipstone.core.errors import DataError, UsageError

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
    with path.open(encoding=dialect.encoding, errors=dialect.errors, newline="") as file:
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
    with path.open("rb") as file:
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
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding if number == 1 else encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1} (0x{line[error.start]:02x}),"
    return ""


def _stated_delimiter(path: Path, encoding: str, errors: str) -> str | None:
    """The delimiter in Excel's first line `sep=;`, or None."""
    try:
        with path.open(encoding=encoding, errors=errors) as file:
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
