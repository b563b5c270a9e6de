"""Tables of classes next to masks: classes.csv, class_dict.csv, classes.txt and labelmap.txt.

A column that is not read would be a silent mistake (an index under an unknown name), so it is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited
from skipstone.data.mask_files import MaskRow, MaskTable, parse_colour
from skipstone.data.options import ReadOptions

#: File names of class tables, next to the folders. classes.txt has one name per line; labelmap.txt
#: is the format of CVAT and Pascal VOC's tools: name:r,g,b:parts:actions.
CLASS_TABLE_NAMES = ("classes.csv", "class_dict.csv", "classes.txt", "labelmap.txt")
# Names of columns, in lower case and without spaces, hyphens and underscores.
_COLUMN_NAMES = {
    "name": frozenset({"name", "class", "label", "classname", "labelname", "category"}),
    "index": frozenset(
        {"index", "idx", "id", "value", "pixelvalue", "labelid", "classid", "classindex"}
        | {"code", "number", "gray", "grey", "grayvalue", "greyvalue"}
    ),
    "ignore": frozenset({"ignore", "ignored", "void"}),
    "colour": frozenset({"colour", "color", "rgb", "hex", "colorrgb", "colourrgb"}),
    "red": frozenset({"r", "red"}),
    "green": frozenset({"g", "green"}),
    "blue": frozenset({"b", "blue"}),
    "": frozenset({"comment", "comments", "description", "note", "notes"}),
}
_YES, _NO = (
    frozenset({"yes", "true", "1", "y", "x", "ignore"}),
    frozenset({"", "no", "false", "0", "n"}),
)
_HEADERS = "index,name,ignore (or name,r,g,b; or name,colour; index may be added to these)"


def find_class_table(root: Path, options: ReadOptions) -> MaskTable | None:
    """The table that the user names, or one next to the folders; None without a table, or if the
    user gives `class_names`.

    Raises:
        UsageError, DataError: the table cannot be read; names the file and the line.
    """
    if options.class_names:
        return None
    if options.classes is not None:
        path = Path(options.classes).expanduser()
        if not path.is_file():
            raise UsageError(f"--classes {path} is not a file.")
        return read_class_table(path)
    for name in CLASS_TABLE_NAMES:
        if (root / name).is_file():
            return read_class_table(root / name)
    return None


def read_class_table(path: Path) -> MaskTable:
    """Read a CSV with a header (index or colour, name, optionally ignore), or one name per line."""
    try:
        text = read_regular(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty.")
    if path.name.casefold() == CLASS_TABLE_NAMES[-1]:
        return _read_labelmap(path, text.splitlines())
    if path.suffix.casefold() == ".txt":
        return _read_names(path, lines)
    delimiter = max(",;\t", key=lines[0].count)
    header, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = _ClassColumns.from_header(header, path)
    mask_rows: list[MaskRow] = []
    for line, cells in enumerate(rows, 2):
        if any(cell.strip() for cell in cells):
            if extra := [cell for cell in cells[len(header) :] if cell.strip()]:
                raise DataError(
                    f"{path}, line {line}: {join_limited(extra)} has no column in the header.",
                    hint=f"Quote cells that hold {delimiter!r}, or name the column: {_HEADERS}.",
                )
            padded = [*cells, *[""] * len(header)]
            mask_rows.append(columns.parse_row(padded, len(mask_rows), path, line))
    return MaskTable(tuple(mask_rows), path.name)


def _read_names(path: Path, lines: Sequence[str]) -> MaskTable:
    """One name per line; the index is the number of the line, from 0."""
    names = [line.strip() for line in lines]
    hint = f"Save it as classes.csv with a header: {_HEADERS}."
    if len(names) > 1 and all(_NUMBERED.search(name) for name in names):
        raise DataError(
            f"{path}: each line holds a number next to the name, such as {names[0]!r}, and a .txt "
            "table is read as one name per line.",
            hint=hint,
        )
    if special := [name for name in names if name.casefold() in ("__ignore__", "_ignore_")]:
        raise DataError(
            f"{path}: {special[0]} is not a class, and it is unclear whether it takes an index.",
            hint=hint,
        )
    return MaskTable(
        tuple(MaskRow(index, None, name) for index, name in enumerate(names)), path.name
    )


#: "0 sky", "0: sky", "128 64 0 sky", "sky 128 64 0", "sky = 3"; but not "area 3"
_NUMBERED = re.compile(r"^\d+\s*[\s,;:=|.)-]\s*\S|[,;:=|]\s*\d+$|(\s\d+){3}$")


def _read_labelmap(path: Path, lines: Sequence[str]) -> MaskTable:
    rows: list[tuple[int, str, int | None]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        colour = rest.partition(":")[0].strip()
        try:
            rows.append((number, name, parse_colour(colour) if colour else None))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}.") from error
    with_colours = any(colour is not None for _, _, colour in rows)
    for number, name, shade in rows:
        if with_colours and shade is None:
            raise DataError(
                f"{path}, line {number}: {name} has no colour, and other classes have one."
            )
    return MaskTable(
        tuple(
            MaskRow(None if with_colours else index, colour, name)
            for index, (_, name, colour) in enumerate(rows)
        ),
        path.name,
    )


@dataclass(frozen=True)
class _ClassColumns:
    """Column numbers in a row; None for a missing column."""

    name: int
    index: int | None
    ignore: int | None
    colour: int | None
    channels: tuple[int, int, int] | None

    @staticmethod
    def from_header(header: Sequence[str], path: Path) -> _ClassColumns:
        words = [re.sub(r"[\s_-]", "", cell.casefold()) for cell in header]
        columns = {
            key: [number for number, word in enumerate(words) if word in names]
            for key, names in _COLUMN_NAMES.items()
        }
        if not columns["name"]:
            raise DataError(
                f"{path} has no column with class names; its header is {join_limited(header, 8)}.",
                hint=f"Write the header {_HEADERS}.",
            )
        read = {numbers[0]: key for key, numbers in columns.items() if key and numbers}
        channels = [columns[key][:1] for key in ("red", "green", "blue")]
        if not all(channels):
            read = {n: key for n, key in read.items() if key not in ("red", "green", "blue")}
        elif columns["colour"]:
            del read[columns["colour"][0]]
        unread = [
            cell.strip() or f"column {number + 1}, which has no name"
            for number, cell in enumerate(header)
            if number not in read and number not in columns[""]
        ]
        if unread:
            raise DataError(
                f"{path}: {join_limited(unread, 8)} would not be read; as its columns it has "
                f"{', '.join(f'{header[n].strip()} ({key})' for n, key in sorted(read.items()))}.",
                hint=f"Rename or remove what is not read. The columns are {_HEADERS}; a column "
                "called comment is not read.",
            )

        def first(key: str) -> int | None:
            return columns[key][0] if columns[key] else None

        rgb = (channels[0][0], channels[1][0], channels[2][0]) if all(channels) else None
        return _ClassColumns(
            columns["name"][0], first("index"), first("ignore"), first("colour"), rgb
        )

    def parse_row(self, cells: Sequence[str], number: int, path: Path, line: int) -> MaskRow:
        where = f"{path}, line {line}"
        name = cells[self.name].strip()
        if not name:
            raise DataError(f"{where}: the class name is empty.")
        colour = self._colour(cells, where)
        index: int | None = None
        if self.index is not None:
            text = cells[self.index].strip()
            if not text.isdecimal():
                raise DataError(f"{where}: the index {text!r} is not a whole number from 0.")
            index = int(text)
        elif self.colour is None and self.channels is None:
            index = number
        elif colour is None:
            raise DataError(
                f"{where}: {name} has no colour, and the table has no column index.",
                hint="Add its colour, or an index to every class.",
            )
        ignored = cells[self.ignore].strip().casefold() if self.ignore is not None else ""
        if ignored not in _YES | _NO:
            raise DataError(f"{where}: ignore is {ignored!r}; write yes, or nothing.")
        return MaskRow(index, colour, None if ignored in _YES else name)

    def _colour(self, cells: Sequence[str], where: str) -> int | None:
        if self.channels is not None:
            text = " ".join(cells[channel].strip() for channel in self.channels)
        elif self.colour is not None:
            text = cells[self.colour]
        else:
            return None
        if not text.strip():
            return None
        try:
            return parse_colour(text)
        except ValueError as error:
            raise DataError(f"{where}: {error}.") from error


def ignore_classes(table: MaskTable, words: Sequence[str]) -> MaskTable:
    """The table with these indices, colours or classes ignored."""
    rows = list(table.rows)
    for word in words:
        matches = [index for index, row in enumerate(rows) if row.name == word]
        value = colour = None
        if not matches and word.isdecimal():
            value = int(word)
            matches = [index for index, row in enumerate(rows) if row.value == value]
        elif not matches:
            try:
                colour = parse_colour(word)
            except ValueError:
                raise UsageError(
                    f"--ignore {word!r} is not a class, an index or a colour.",
                    hint=did_you_mean(word, table.names) or "Example: --ignore 255",
                ) from None
            matches = [index for index, row in enumerate(rows) if row.colour == colour]
        for index in matches:
            rows[index] = MaskRow(rows[index].value, rows[index].colour, None)
        if not matches:
            rows.append(MaskRow(value, colour, None))
    return MaskTable(tuple(rows), table.source)
