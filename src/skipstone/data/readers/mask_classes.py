"""Which numbers or colours of masks are which classes: from a table beside them, or inferred."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.data.masks import (
    IGNORE,
    MaskRow,
    MaskTable,
    hex_colour,
    parse_colour,
)
from skipstone.data.options import ReadOptions
from skipstone.errors import DataError, UsageError, did_you_mean
from skipstone.words import counted, listed, quoted

#: Where the classes are looked for, beside the folders. classes.txt is a name a line, labelmap.txt
#: what CVAT and Pascal VOC's tools write: name:r,g,b:parts:actions.
TABLES = ("classes.csv", "class_dict.csv", "classes.txt", "labelmap.txt")
#: More different colours than this in masks without a table are no classes.
MOST_INFERRED = 64
#: So many indices between 0 and 255, of which one is nearly white, are no classes.
_SOFT, _NEARLY_WHITE = 16, 240

_INDEX = frozenset({"index", "id", "value", "label_id", "code", "number"})
_NAME = frozenset({"name", "class", "label", "class_name", "category"})
_IGNORE = frozenset({"ignore", "ignored", "void"})
_COLOUR = frozenset({"colour", "color", "rgb", "hex"})
_RED, _GREEN, _BLUE = ({"r", "red"}, {"g", "green"}, {"b", "blue"})
_YES, _NO = (
    frozenset({"yes", "true", "1", "y", "x", "ignore"}),
    frozenset({"", "no", "false", "0", "n"}),
)


def class_table(root: Path, options: ReadOptions) -> MaskTable | None:
    """The table that the user names, or one beside the folders; None where there is none, or
    where `class_names` are for what the masks hold.

    Raises:
        UsageError, DataError: it cannot be read; with the file and the line.
    """
    if options.class_names:
        return None
    if options.classes is not None:
        path = Path(options.classes).expanduser()
        if not path.is_file():
            raise UsageError(f"--classes {path} is no file.")
        return read_class_table(path)
    for name in TABLES:
        if (root / name).is_file():
            return read_class_table(root / name)
    return None


def read_class_table(path: Path) -> MaskTable:
    """A CSV with a header (index or colour, name, perhaps ignore), or names, one a line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty.")
    if path.name.casefold() == TABLES[-1]:
        return _read_labelmap(path, lines)
    if path.suffix.casefold() == ".txt":
        return MaskTable(
            tuple(MaskRow(at, None, line.strip()) for at, line in enumerate(lines)), path.name
        )
    delimiter = max(",;\t", key=lines[0].count)
    header, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    columns = _Columns.of([cell.strip().casefold() for cell in header], path)
    found: list[MaskRow] = []
    for line, cells in enumerate(rows, 2):
        if any(cell.strip() for cell in cells):
            found.append(columns.row([*cells, *[""] * len(header)], len(found), path, line))
    return MaskTable(tuple(found), path.name)


def _read_labelmap(path: Path, lines: Sequence[str]) -> MaskTable:
    found: list[MaskRow] = []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        colour = rest.partition(":")[0]
        try:
            found.append(MaskRow(len(found), parse_colour(colour) if colour else None, name))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}.") from error
    return MaskTable(tuple(found), path.name)


@dataclass(frozen=True)
class _Columns:
    """Places of the columns in a row; None where there is none."""

    name: int
    index: int | None
    ignore: int | None
    colour: int | None
    channels: tuple[int, int, int] | None

    @staticmethod
    def of(header: Sequence[str], path: Path) -> _Columns:
        def place(words: frozenset[str] | set[str]) -> int | None:
            return next((at for at, word in enumerate(header) if word in words), None)

        name = place(_NAME)
        if name is None:
            raise DataError(
                f"{path} has no column with the classes' names; its header is {listed(header, 8)}.",
                hint="The header is: index,name,ignore (or name,r,g,b; or name,colour).",
            )
        rgb = (place(_RED), place(_GREEN), place(_BLUE))
        channels = None if None in rgb else rgb
        return _Columns(name, place(_INDEX), place(_IGNORE), place(_COLOUR), channels)  # type: ignore[arg-type]

    def row(self, cells: Sequence[str], number: int, path: Path, line: int) -> MaskRow:
        where = f"{path}, line {line}"
        name = cells[self.name].strip()
        if not name:
            raise DataError(f"{where}: a class without a name.")
        colour = self._colour(cells, where)
        index: int | None = None if colour is not None else number
        if self.index is not None:
            text = cells[self.index].strip()
            if not text.isdecimal():
                raise DataError(f"{where}: the index {text!r} is no whole number from 0.")
            index = int(text)
        elif colour is not None:
            index = number
        ignored = cells[self.ignore].strip().casefold() if self.ignore is not None else ""
        if ignored not in _YES | _NO:
            raise DataError(f"{where}: ignore is {ignored!r}; write yes, or nothing.")
        return MaskRow(index, colour, None if ignored in _YES else name)

    def _colour(self, cells: Sequence[str], where: str) -> int | None:
        if self.channels is not None:
            text = " ".join(cells[at].strip() for at in self.channels)
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
class Found:
    """What the masks hold: the kinds of files, and all indices and colours in them; and the folder
    of the first."""

    kinds: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[int, ...]
    folder: Path = Path()

    def soft(self) -> bool:
        """Whether indices are what an outline drawn soft leaves between 0 and 255: greys up to
        white, of which classes that are numbered from 0 stay far."""
        between = [value for value in self.values if 0 < value < IGNORE]
        both = {0, IGNORE} <= set(self.values)
        return both and len(between) >= _SOFT and max(between) >= _NEARLY_WHITE


def inferred_table(found: Found, root: Path) -> tuple[MaskTable, list[str]]:
    """Classes named after the indices or colours in the masks, and what was inferred.

    Raises:
        UsageError: they cannot be told apart from a photo's colours, or there are both kinds.
    """
    hint = f"Say what they are in {root / 'classes.csv'}: index,name,ignore (or name,r,g,b)."
    if found.values and found.colours:
        raise UsageError(
            f"{root}: some masks hold indices and others colours, so their classes cannot be "
            "inferred.",
            hint=hint,
        )
    if found.colours:
        if len(found.colours) > MOST_INFERRED:
            raise UsageError(
                f"{root}: the masks hold {len(found.colours):,} different colours, which are "
                "hardly classes.",
                hint=hint,
            )
        rows = [MaskRow(None, colour, hex_colour(colour)) for colour in found.colours]
        return MaskTable(tuple(rows)), [
            f"No classes.csv: each of the {len(rows)} colours in the masks is a class, named "
            f"after it ({listed([hex_colour(c) for c in found.colours], 6)}); --ignore '#000000' "
            "would make black count for nothing."
        ]
    if found.soft():
        raise UsageError(
            f"{root}: the masks hold {len(found.values)} different values from {found.values[0]} "
            f"to {found.values[-1]}, which are hardly classes: outlines that were drawn soft, or "
            "saved as JPEG once, leave such values.",
            hint=f"If they show two classes, {harden(found.folder)}. If not: {hint}",
        )
    if set(found.values) == {0, 255}:
        rows = [MaskRow(0, None, "background"), MaskRow(255, None, "foreground")]
        return MaskTable(tuple(rows)), [
            "No classes.csv: the masks hold 0 and 255 only, taken for background and foreground."
        ]
    kept = [value for value in found.values if value != IGNORE]
    rows = [MaskRow(value, None, str(value)) for value in kept]
    notes = [
        f"No classes.csv: {counted(len(kept), 'class', 'classes')} named after the indices in the "
        f"masks ({listed([str(value) for value in kept], 6)}); --class-names gives them names."
    ]
    if IGNORE in found.values:
        rows.append(MaskRow(IGNORE, None, None))
        notes.append("Pixels of index 255 count for nothing, as is usual (--ignore says others).")
    return MaskTable(tuple(rows)), notes


def harden(folder: Path) -> str:
    """What to type for masks of two classes as exact numbers, beside those that there are."""
    hard = quoted(folder.with_name(f"{folder.name}-hard"))
    return (
        f"make them hard, with ImageMagick: mkdir {hard} && magick mogrify -path {hard} "
        f"-format png -threshold 50% {quoted(folder)}/*; then let that folder take the "
        "other's place"
    )


def named_table(
    found: Found, root: Path, names: Sequence[str], ignore: Sequence[str]
) -> tuple[MaskTable, list[str]]:
    """The inferred classes with `names` in place of their indices or colours, in ascending order.

    What counts for nothing gets none; index 255, which does so as is usual, gets one where there is
    one for it.

    Raises:
        UsageError: as `inferred_table` does; or there are more names than classes, or fewer.
    """
    inferred, _ = inferred_table(found, root)
    rows = list(with_ignored(inferred, [word for word in ignore if word not in names]).rows)
    places = [at for at, row in enumerate(rows) if row.name is not None]
    usual = [at for at, row in enumerate(rows) if row.value == IGNORE and row.name is None]
    usual = [] if str(IGNORE) in ignore else usual
    if usual and len(names) == len(places) + 1:
        places = sorted((*places, *usual))
    shown = [_shown(rows[at]) for at in places]
    if len(names) != len(places):
        also = "; 255 counts for nothing unless it has a name, too" if usual else ""
        raise UsageError(
            f"--class-names gives {counted(len(names), 'name')}, and the masks of {root} hold "
            f"{counted(len(places), 'class', 'classes')}: {listed(shown, 12)}{also}.",
            hint="Give one name each, in this order. A class that no mask shows needs a line in "
            f"{root / 'classes.csv'}: index,name",
        )
    for at, name in zip(places, names, strict=True):
        rows[at] = MaskRow(rows[at].value, rows[at].colour, name)
    pairs = [f"{value} is {name}" for value, name in zip(shown, names, strict=True)]
    return MaskTable(tuple(rows), "--class-names"), [f"In the masks {listed(pairs, 12)}."]


def _shown(row: MaskRow) -> str:
    """The index or colour, as it is written in the files."""
    return hex_colour(row.colour) if row.colour is not None else str(row.value)


def with_ignored(table: MaskTable, words: Sequence[str]) -> MaskTable:
    """The same table, in which these indices, colours or classes count for nothing."""
    rows = list(table.rows)
    for word in words:
        hit = [at for at, row in enumerate(rows) if row.name == word]
        value = colour = None
        if not hit and word.isdecimal():
            value = int(word)
            hit = [at for at, row in enumerate(rows) if row.value == value]
        elif not hit:
            try:
                colour = parse_colour(word)
            except ValueError:
                raise UsageError(
                    f"--ignore {word!r} is no class, no index and no colour.",
                    hint=did_you_mean(word, table.names) or "Such as --ignore 255",
                ) from None
            hit = [at for at, row in enumerate(rows) if row.colour == colour]
        for at in hit:
            rows[at] = MaskRow(rows[at].value, rows[at].colour, None)
        if not hit:
            rows.append(MaskRow(value, colour, None))
    return MaskTable(tuple(rows), table.source)
