"""The classes of a data set's mask indices or colours: from a table, or inferred."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited, pluralize, quote_path
from skipstone.data.mask_files import (
    IGNORE_INDEX,
    MaskRow,
    MaskTable,
    format_colour,
    parse_colour,
)
from skipstone.data.options import ReadOptions

#: File names of class tables, next to the folders. classes.txt has one name per line; labelmap.txt
#: is the format of CVAT and Pascal VOC's tools: name:r,g,b:parts:actions.
CLASS_TABLE_NAMES = ("classes.csv", "class_dict.csv", "classes.txt", "labelmap.txt")
#: Without a table, masks with more colours than this are rejected.
MAX_INFERRED_COLOURS = 64
#: Masks with 0, 255, this many indices between, and one of these nearly white, have soft edges.
_MIN_SOFT_VALUES, _NEARLY_WHITE = 16, 240

_INDEX = frozenset({"index", "id", "value", "label_id", "code", "number"})
_NAME = frozenset({"name", "class", "label", "class_name", "category"})
_IGNORE = frozenset({"ignore", "ignored", "void"})
_COLOUR = frozenset({"colour", "color", "rgb", "hex"})
_RED, _GREEN, _BLUE = ({"r", "red"}, {"g", "green"}, {"b", "blue"})
_YES, _NO = (
    frozenset({"yes", "true", "1", "y", "x", "ignore"}),
    frozenset({"", "no", "false", "0", "n"}),
)


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
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty.")
    if path.name.casefold() == CLASS_TABLE_NAMES[-1]:
        return _read_labelmap(path, lines)
    if path.suffix.casefold() == ".txt":
        return MaskTable(
            tuple(MaskRow(index, None, line.strip()) for index, line in enumerate(lines)), path.name
        )
    delimiter = max(",;\t", key=lines[0].count)
    header, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = _ClassColumns.from_header([cell.strip().casefold() for cell in header], path)
    mask_rows: list[MaskRow] = []
    for line, cells in enumerate(rows, 2):
        if any(cell.strip() for cell in cells):
            padded = [*cells, *[""] * len(header)]
            mask_rows.append(columns.parse_row(padded, len(mask_rows), path, line))
    return MaskTable(tuple(mask_rows), path.name)


def _read_labelmap(path: Path, lines: Sequence[str]) -> MaskTable:
    mask_rows: list[MaskRow] = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        colour = rest.partition(":")[0]
        try:
            mask_rows.append(
                MaskRow(len(mask_rows), parse_colour(colour) if colour else None, name)
            )
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}.") from error
    return MaskTable(tuple(mask_rows), path.name)


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
        def find_column(words: frozenset[str] | set[str]) -> int | None:
            return next((number for number, word in enumerate(header) if word in words), None)

        name = find_column(_NAME)
        if name is None:
            raise DataError(
                f"{path} has no column with class names; its header is {join_limited(header, 8)}.",
                hint="Write the header index,name,ignore (or name,r,g,b; or name,colour).",
            )
        red, green, blue = find_column(_RED), find_column(_GREEN), find_column(_BLUE)
        channels = None
        if red is not None and green is not None and blue is not None:
            channels = (red, green, blue)
        return _ClassColumns(
            name, find_column(_INDEX), find_column(_IGNORE), find_column(_COLOUR), channels
        )

    def parse_row(self, cells: Sequence[str], number: int, path: Path, line: int) -> MaskRow:
        where = f"{path}, line {line}"
        name = cells[self.name].strip()
        if not name:
            raise DataError(f"{where}: the class name is empty.")
        colour = self._colour(cells, where)
        index: int | None = None if colour is not None else number
        if self.index is not None:
            text = cells[self.index].strip()
            if not text.isdecimal():
                raise DataError(f"{where}: the index {text!r} is not a whole number from 0.")
            index = int(text)
        elif colour is not None:
            index = number
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


@dataclass(frozen=True)
class MaskValues:
    """What the masks contain.

    Args:
        kinds: the kinds of mask files ("index", "palette", "colour").
        values, colours: all indices and colours, sorted.
        folder: the folder of the first mask.
    """

    kinds: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[int, ...]
    folder: Path = Path()

    def has_soft_edges(self) -> bool:
        """Whether the indices look like antialiased edges between 0 and 255: greys up to nearly
        white, unlike classes, which are numbered from 0."""
        between = [value for value in self.values if 0 < value < IGNORE_INDEX]
        has_both_ends = {0, IGNORE_INDEX} <= set(self.values)
        return has_both_ends and len(between) >= _MIN_SOFT_VALUES and max(between) >= _NEARLY_WHITE


def infer_class_table(found: MaskValues, root: Path) -> tuple[MaskTable, list[str]]:
    """Classes named after the indices or colours in the masks, and notes on what was inferred.

    Raises:
        UsageError: too many values to be classes, or both indices and colours.
    """
    hint = f"Name the classes in {root / 'classes.csv'}: index,name,ignore (or name,r,g,b)."
    if found.values and found.colours:
        raise UsageError(
            f"{root}: some masks hold indices and others hold colours, so the classes cannot be "
            "inferred.",
            hint=hint,
        )
    if found.colours:
        if len(found.colours) > MAX_INFERRED_COLOURS:
            raise UsageError(
                f"{root}: the masks hold {len(found.colours):,} colours, too many to be classes.",
                hint=hint,
            )
        rows = [MaskRow(None, colour, format_colour(colour)) for colour in found.colours]
        return MaskTable(tuple(rows)), [
            f"No classes.csv: each of the {len(rows)} colours in the masks is a class, named "
            f"after it ({join_limited([format_colour(c) for c in found.colours], 6)}); to ignore black "
            "pixels: --ignore '#000000'."
        ]
    if found.has_soft_edges():
        raise UsageError(
            f"{root}: the masks hold {len(found.values)} values from {found.values[0]} to "
            f"{found.values[-1]}, probably not classes: antialiasing or JPEG compression of masks "
            "causes such values.",
            hint=f"If the masks have two classes, {binarize_command(found.folder)}. If not: {hint}",
        )
    if set(found.values) == {0, 255}:
        rows = [MaskRow(0, None, "background"), MaskRow(255, None, "foreground")]
        return MaskTable(tuple(rows)), [
            "No classes.csv: the masks hold only 0 and 255, read as background and foreground."
        ]
    class_values = [value for value in found.values if value != IGNORE_INDEX]
    rows = [MaskRow(value, None, str(value)) for value in class_values]
    notes = [
        f"No classes.csv: {pluralize(len(class_values), 'class', 'classes')} named after the indices "
        f"in the masks ({join_limited(map(str, class_values), 6)}); to name them: --class-names."
    ]
    if IGNORE_INDEX in found.values:
        rows.append(MaskRow(IGNORE_INDEX, None, None))
        notes.append("Pixels of index 255 are ignored by default (to ignore others: --ignore).")
    return MaskTable(tuple(rows)), notes


def binarize_command(folder: Path) -> str:
    """The instruction that writes binary masks to a new folder."""
    target = quote_path(folder.with_name(f"{folder.name}-hard"))
    return (
        f"make them binary, with ImageMagick: mkdir {target} && magick mogrify -path {target} "
        f"-format png -threshold 50% {quote_path(folder)}/*; then replace the old folder with the new "
        "one"
    )


def build_named_class_table(
    found: MaskValues, root: Path, names: Sequence[str], ignore: Sequence[str]
) -> tuple[MaskTable, list[str]]:
    """The inferred classes named `names`, in ascending order of their indices or colours.

    Ignored values get no name. Index 255, ignored by default, becomes a class if there is one more
    name than other classes.

    Raises:
        UsageError: as `infer_class_table`; or the number of names differs from that of classes.
    """
    inferred, _ = infer_class_table(found, root)
    rows = list(ignore_classes(inferred, [word for word in ignore if word not in names]).rows)
    class_rows = [index for index, row in enumerate(rows) if row.name is not None]
    default_ignored = [
        index for index, row in enumerate(rows) if row.value == IGNORE_INDEX and row.name is None
    ]
    default_ignored = [] if str(IGNORE_INDEX) in ignore else default_ignored
    if default_ignored and len(names) == len(class_rows) + 1:
        class_rows = sorted((*class_rows, *default_ignored))
    written = [_format_value(rows[index]) for index in class_rows]
    if len(names) != len(class_rows):
        also = "; 255 is ignored unless it has a name, too" if default_ignored else ""
        raise UsageError(
            f"--class-names gives {pluralize(len(names), 'name')}, and the masks of {root} hold "
            f"{pluralize(len(class_rows), 'class', 'classes')}: {join_limited(written, 12)}{also}.",
            hint="Give one name per class, in this order. A class that occurs in no mask needs a "
            f"line in {root / 'classes.csv'}: index,name",
        )
    for index, name in zip(class_rows, names, strict=True):
        rows[index] = MaskRow(rows[index].value, rows[index].colour, name)
    pairs = [f"{value} is {name}" for value, name in zip(written, names, strict=True)]
    return MaskTable(tuple(rows), "--class-names"), [f"In the masks {join_limited(pairs, 12)}."]


def _format_value(row: MaskRow) -> str:
    """The index or colour, as users write it."""
    return format_colour(row.colour) if row.colour is not None else str(row.value)


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
