"""CSV files as records of cells: the encoding, the delimiter, and what quotes mean.

CSV is read as spreadsheets and programs write it: UTF-8 or UTF-16 (Excel's "Unicode text"), each
with or without a BOM; columns separated by a comma, semicolon, tab or bar; and Excel's first line
`sep=;`. What is ambiguous is an error that names the flag.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skipstone.core.disk import open_regular, open_regular_text
from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import pluralize
from skipstone.data.options import ReadOptions

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_HEAD = 4096
#: Zero bytes in the head of UTF-16 without a BOM, at least.
_MIN_ZEROS = 3
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
#: The share of lines inside a cell that hold a label of other rows, if they are rows themselves.
_MIN_RECURRING = 0.75
_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Args:
    encoding: Python's name.
    skip_lines: lines before the header (Excel's `sep=;` is one).
    errors: Python's error handler for invalid bytes.
    has_quotes: whether double quotes enclose cells; else they are letters.
    """

    encoding: str
    delimiter: str
    skip_lines: int = 0
    errors: str = "strict"
    has_quotes: bool = True


def detect_dialect(path: Path, options: ReadOptions) -> Dialect:
    """Detect how the table is written; the options override what is detected.

    Raises:
        UsageError: two delimiters fit (names the flag), or the encoding is unknown.
        DataError: the bytes are invalid in the encoding; names the line.
    """
    if options.quoting not in (None, "double", "none"):
        raise UsageError(
            f"--quoting {options.quoting}: unknown word.",
            hint="double: quotation marks enclose cells. none: they are letters.",
        )
    encoding = _python_encoding(options.encoding) if options.encoding else _detect_encoding(path)
    stated = _stated_delimiter(path, encoding, options.bad_bytes)
    dialect = Dialect(encoding, "", int(stated is not None), options.bad_bytes)
    dialect = replace(dialect, has_quotes=options.quoting != "none")
    return replace(
        dialect, delimiter=options.delimiter or stated or _infer_delimiter(path, dialect)
    )


def read_csv_records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, stripped cells) of each record that is not blank."""
    line = dialect.skip_lines
    csv.field_size_limit(_LONGEST_CELL)
    with open_regular_text(path, dialect.encoding, dialect.errors, "") as file:
        try:
            for _ in range(dialect.skip_lines):
                file.readline()
            reader = csv.reader(
                file,
                delimiter=dialect.delimiter,
                quoting=csv.QUOTE_MINIMAL if dialect.has_quotes else csv.QUOTE_NONE,
                strict=True,
                skipinitialspace=True,
            )
            for record in reader:
                first, line = line + 1, dialect.skip_lines + reader.line_num
                # Programs pad cells of a fixed width with NUL; no text holds one.
                cells = [cell.replace("\0", "").strip() for cell in record]
                if any(cells):
                    yield first, cells
        except UnicodeError as error:
            raise encoding_error(path, line, dialect.encoding) from error
        except csv.Error as error:
            hint = "A cell that contains the delimiter, a quote or a line break must be in double "
            hint += 'quotes, with each quote inside it doubled: "". If quotes are letters of the '
            hint += "texts, not marks around cells: --quoting none"
            raise DataError(f"{path}, line {line + 1}: {error}.", hint=hint) from error


def _detect_encoding(path: Path) -> str:
    with open_regular(path) as file:
        head = file.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    # In UTF-16 letters of the header are a zero byte and another; a stray NUL occurs in any file.
    even, odd = (head[start::2].count(0) for start in (0, 1))
    if max(even, odd) >= max(_MIN_ZEROS, len(head) // 40, 4 * min(even, odd)):
        return "utf-16-le" if odd > even else "utf-16-be"
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


def encoding_error(path: Path, line: int, encoding: str) -> DataError:
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
        raise encoding_error(path, 0, encoding) from error
    return None if match is None else match.group(1)


def _infer_delimiter(path: Path, dialect: Dialect) -> str:
    """The delimiter that gives the first lines the same number of columns, more than one."""
    widths_by_delimiter: dict[str, int] = {}
    for candidate in _DELIMITERS:
        widths = []
        try:
            for _, record in read_csv_records(path, replace(dialect, delimiter=candidate)):
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


def find_swallowed_row(
    columns: Sequence[Sequence[str]], long_rows: Sequence[int], delimiter: str
) -> int | None:
    """The first row of which a cell holds whole lines of the table: a quote at the start of one
    text and another at the end of a later one enclose all lines between them. None if there is
    none.

    Each line of such a row has all columns, and in a column of labels or of numbers it holds what
    other rows hold there. Lines of a text do not.

    Args:
        long_rows: the rows with line breaks.
    """
    if not long_rows:
        return None
    skipped = set(long_rows)
    known = [
        Counter(cell for row, cell in enumerate(cells) if row not in skipped) for cells in columns
    ]
    for row in long_rows:
        lines = split_lines(delimiter.join(cells[row] for cells in columns))
        fields = [[field.strip() for field in line.split(delimiter)] for line in lines]
        if all(len(line) == len(columns) for line in fields) and any(
            _continues_column(Counter(column), others)
            for column, others in zip(zip(*fields, strict=True), known, strict=True)
        ):
            return row
    return None


def split_lines(text: str) -> list[str]:
    """The lines of a cell; unlike `splitlines`, only of the line ends of table files."""
    return _LINE_END.split(text)


def _continues_column(cells: Counter[str], others: Counter[str]) -> bool:
    """Whether `cells` are labels that recur in the column of `others`, or numbers as all of them."""
    distinct = len(others) + sum(cell not in others for cell in cells)
    recurs = 2 * distinct <= others.total() + cells.total()
    recurring = sum(count for cell, count in cells.items() if count + others[cell] > 1)
    if recurs and recurring >= _MIN_RECURRING * cells.total():
        return True
    return all(map(str.isdecimal, cells)) and all(map(str.isdecimal, others))


def swallowed_lines_error(path: Path, line: int, cells: Iterable[str]) -> DataError:
    """The error for a row of `find_swallowed_row` that begins at `line`."""
    count = max(len(split_lines(cell)) for cell in cells)
    return DataError(
        f"{path}, line {line}: a quotation mark there closes {pluralize(count - 1, 'line')} later, "
        "and each of these lines looks like a row of its own.",
        hint="If quotation marks are letters of the texts: --quoting none (or, if one cell holds "
        "these lines: --quoting double)",
    )
