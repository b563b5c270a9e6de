"""Text tables as spreadsheets and programs write them: encoding, delimiter, records.

UTF-8 with or without a mark, UTF-16 (Excel's "Unicode text") with or without one, columns separated
by a comma, semicolon, tab or bar, and Excel's first line `sep=;`. What fits twice is refused with
the flag that decides.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skipstone.errors import DataError, UsageError

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_HEAD = 4096
#: Letters of a cell, as many as a C long holds everywhere; Python's csv takes 131,072 by itself.
_LONGEST_CELL = (1 << 31) - 1
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which begins the same
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Args:
    encoding: Python's name.
    skip: lines before the header (Excel's `sep=;` is one).
    errors: what becomes of bytes that are no letters, as Python names it.
    """

    encoding: str
    delimiter: str
    skip: int = 0
    errors: str = "strict"


def sniff_dialect(
    path: Path,
    delimiter: str | None = None,
    encoding: str | None = None,
    errors: str = "strict",
) -> Dialect:
    """How the table is written; what the user said wins.

    Raises:
        UsageError: two delimiters fit; names the flag. An unknown encoding.
        DataError: the bytes are not of the encoding; names the line.
    """
    encoding = _encoding(path) if encoding is None else _known(encoding)
    stated = _stated_delimiter(path, encoding, errors)
    skip = int(stated is not None)
    delimiter = delimiter or stated or _delimiter(path, encoding, errors)
    return Dialect(encoding, delimiter, skip, errors)


def records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, stripped cells) of each record that is not blank."""
    line = dialect.skip
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding=dialect.encoding, errors=dialect.errors, newline="") as file:
        try:
            for _ in range(dialect.skip):
                file.readline()
            reader = csv.reader(
                file, delimiter=dialect.delimiter, strict=True, skipinitialspace=True
            )
            for record in reader:
                first, line = line + 1, dialect.skip + reader.line_num
                if any(cell.strip() for cell in record):
                    yield first, [cell.strip() for cell in record]
        except UnicodeError as error:
            raise _not_of(path, line, dialect.encoding) from error
        except csv.Error as error:
            hint = "A cell that holds the delimiter, a quote or a line's end stands in double "
            hint += 'quotes, and a quote in it is written twice: "".'
            raise DataError(f"{path}, line {line + 1}: {error}.", hint=hint) from error


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:  # never in UTF-8; the header's letters are 0x00 and a byte in UTF-16
        return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
    return "utf-8"


def _known(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(
            f"--encoding {encoding} is not known.",
            hint="Such as utf-8, utf-16, cp1252 (Windows, Western Europe) or shift_jis.",
        ) from None
    return "utf-8-sig" if name == "utf-8" else name  # a mark is no letter of the header


def _not_of(path: Path, line: int, encoding: str) -> DataError:
    name = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
    return DataError(
        f"{path} is not {name}: {_first_bad(path, encoding) or f'a letter after line {line}'} "
        "cannot be read.",
        hint="Save the table as 'CSV UTF-8', or say what it is, such as --encoding cp1252.",
    )


def _first_bad(path: Path, encoding: str) -> str:
    """The first byte that is not of an encoding whose line feed is one byte; "" elsewhere."""
    if len("\n".encode(encoding.removesuffix("-sig"))) > 1:
        return ""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding if number == 1 else encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                byte = f"byte {error.start + 1} (0x{line[error.start]:02x})"
                return f"line {number}, {byte},"
    return ""


def _stated_delimiter(path: Path, encoding: str, errors: str) -> str | None:
    """What Excel's first line `sep=;` says."""
    try:
        with path.open(encoding=encoding, errors=errors) as file:
            found = _SEP_LINE.fullmatch(file.readline(16))
    except UnicodeError as error:
        raise _not_of(path, 0, encoding) from error
    return None if found is None else found.group(1)


def _delimiter(path: Path, encoding: str, errors: str) -> str:
    """The one that gives the first lines the same number of columns, more than one."""
    fits: dict[str, int] = {}
    for candidate in _DELIMITERS:
        widths = []
        try:
            for _, record in records(path, Dialect(encoding, candidate, errors=errors)):
                widths.append(len(record))
                if len(widths) == _SAMPLE_LINES:
                    break
        except DataError as error:
            if isinstance(error.__cause__, UnicodeError):
                raise
            continue  # quotes that make no sense with this delimiter
        if widths and widths[0] > 1:
            even = len(set(widths)) == 1
            fits[candidate] = widths[0] if even else 0
    even_ones = {candidate: width for candidate, width in fits.items() if width}
    if len(even_ones) == 1:
        return next(iter(even_ones))
    if len(even_ones) > 1:
        raise UsageError(
            f"{path}: its columns may be separated by {' or by '.join(map(repr, even_ones))}.",
            hint=f"Say which: --delimiter {next(iter(even_ones))!r}",
        )
    if fits:  # uneven: let the reading name the line
        return next(iter(fits))
    return "\t" if path.suffix.lower() == ".tsv" else ","
