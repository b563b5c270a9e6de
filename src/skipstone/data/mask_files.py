"""Segmentation masks: image files that give the class of each pixel, and the table of classes.

A `MaskTable` maps a file's indices or colours to classes: each row is one index or colour and its
class, or None for ignored pixels. It is read from a file such as classes.csv, or inferred from the
masks. In memory a mask is uint8 (H, W): class codes, or IGNORE_INDEX.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.disk import read_regular
from skipstone.core.errors import DataError, UsageError, did_you_mean
from skipstone.core.formatting import join_limited, pluralize, quote_path
from skipstone.data.options import ReadOptions

#: The code of ignored pixels: they are neither trained on nor scored.
IGNORE_INDEX = 255
#: Codes are 8-bit numbers below IGNORE.
MAX_CLASSES = IGNORE_INDEX
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


@dataclass(frozen=True, slots=True)
class MaskRow:
    """Args:
    value: the index in index and palette masks; None if the row is for colour masks only.
    colour: 0xRRGGBB in colour masks; None if the row is for index masks only.
    name: the class; None for ignored pixels.
    """

    value: int | None
    colour: int | None
    name: str | None


@dataclass(frozen=True)
class MaskTable:
    """The classes of the indices and colours in a data set's masks. Rows of one name are one
    class."""

    rows: tuple[MaskRow, ...]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = f"{self.source}: " if self.source else ""
        for key, what in (("value", "index"), ("colour", "colour")):
            coded_rows = [row for row in self.rows if getattr(row, key) is not None]
            names_by_number: dict[int, str | None] = {}
            for row in coded_rows:
                number = getattr(row, key)
                if number in names_by_number:
                    written = format_colour(number) if key == "colour" else str(number)
                    first = names_by_number[number] or "ignored"
                    raise UsageError(
                        f"{where}the {what} {written} is both {first} and {row.name or 'ignored'}."
                    )
                names_by_number[number] = row.name
        if len(self.names) > MAX_CLASSES:
            raise UsageError(
                f"{where}{len(self.names)} classes are more than the {MAX_CLASSES} that an 8-bit "
                "mask can hold."
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of their codes."""
        return tuple(dict.fromkeys(row.name for row in self.rows if row.name is not None))

    @cached_property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """(red, green, blue) to draw each class with: the table's colour, or a default one."""
        listed_colours: dict[str, int] = {}
        for row in self.rows:
            if row.name is not None and row.colour is not None:
                listed_colours.setdefault(row.name, row.colour)
        palette = default_palette(len(self.names))
        return tuple(
            _rgb(listed_colours[name]) if name in listed_colours else palette[code]
            for code, name in enumerate(self.names)
        )

    @property
    def ignored_values(self) -> tuple[str, ...]:
        """The ignored indices and colours, as users write them."""
        return tuple(
            str(row.value) if row.value is not None else format_colour(row.colour or 0)
            for row in self.rows
            if row.name is None
        )

    def codes_by_value(self, key: str) -> dict[int, int]:
        """{index or colour in a file: code}; `key` is "value" or "colour"."""
        code_of = {name: code for code, name in enumerate(self.names)}
        return {
            getattr(row, key): IGNORE_INDEX if row.name is None else code_of[row.name]
            for row in self.rows
            if getattr(row, key) is not None
        }

    def to_json(self) -> list[list[Any]]:
        return [[row.value, row.colour, row.name] for row in self.rows]

    @staticmethod
    def from_json(rows: Sequence[Sequence[Any]]) -> MaskTable:
        return MaskTable(tuple(MaskRow(*row) for row in rows))

    @staticmethod
    def from_schema(schema: Mapping[str, Any]) -> MaskTable:
        """The table of a label schema; without one, class number i has index i."""
        if "masks" in schema:
            return MaskTable.from_json(schema["masks"])
        names = [str(name) for name in schema["classes"]]
        return MaskTable(tuple(MaskRow(code, None, name) for code, name in enumerate(names)))


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """A decoded mask file: indices (H, W), or colours 0xRRGGBB (H, W), int32.

    Args:
        kind: "index", "palette" or "colour".
    """

    kind: str
    pixels: np.ndarray

    @property
    def key(self) -> str:
        return "colour" if self.kind == "colour" else "value"

    def distinct_values(self) -> np.ndarray:
        """The distinct indices or colours, sorted."""
        if self.kind != "colour" and self.pixels.size and int(self.pixels.max()) < 1 << 16:
            return np.flatnonzero(np.bincount(self.pixels.ravel()))
        return np.unique(self.pixels)

    def format_value(self, value: int) -> str:
        return format_colour(value) if self.kind == "colour" else str(value)

    def to_index_mask(self) -> MaskPixels | None:
        """Grey colours as indices (an index mask saved as RGB); None if a colour is not grey."""
        if self.kind != "colour":
            return self
        red = self.pixels >> 16
        if np.array_equal(red * 0x10101, self.pixels):
            return MaskPixels("index", red)
        return None


def decode_mask(data: bytes) -> MaskPixels:
    """Decode a mask file. ValueError, with a message for the user, if it is not a mask."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                raise ValueError("JPEG does not preserve exact mask values; save masks as PNG")
            image.load()
            mode = image.mode
            if mode in ("RGB", "RGBA", "RGBX"):
                pixels = np.asarray(image.convert("RGB")).astype(np.int32)
                return MaskPixels(
                    "colour", pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
                )
            if mode == "P":
                return MaskPixels("palette", np.asarray(image).astype(np.int32))
            if mode in ("1", "L", "I") or mode.startswith("I;16"):
                return MaskPixels("index", np.asarray(image).astype(np.int32))
            if mode == "LA":
                return MaskPixels("index", np.asarray(image)[..., 0].astype(np.int32))
    except ValueError:
        raise
    except UnidentifiedImageError:
        raise ValueError("not an image file") from None
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, struct.error
        raise ValueError(f"damaged or truncated ({error})") from error
    raise ValueError(f"pixel mode {mode} is not supported for masks; save it as a PNG of indices")


def to_class_codes(mask: MaskPixels, table: MaskTable) -> np.ndarray:
    """Class codes uint8 (H, W) of a mask file.

    Raises:
        ValueError: a value is not in the table; the message counts its pixels.
    """
    codes, mask = _codes_for(mask, table)
    values, inverse = _distinct(mask)
    unknown = [int(value) for value in values if int(value) not in codes]
    if unknown:
        first = unknown[0]
        count = int((mask.pixels == first).sum())
        more = f" and {len(unknown) - 1} more values" if len(unknown) > 1 else ""
        raise ValueError(
            f"{count:,} pixels hold {mask.format_value(first)}{more}, which no class has"
        )
    codes_of_values = np.array([codes[int(value)] for value in values], np.uint8)
    return np.asarray(codes_of_values[inverse].reshape(mask.pixels.shape))


def _codes_for(mask: MaskPixels, table: MaskTable) -> tuple[dict[int, int], MaskPixels]:
    """{value: code} for this mask, and the mask. Grey colours may stand for indices."""
    codes = table.codes_by_value(mask.key)
    if not codes and (index := mask.to_index_mask()) is not None:
        return table.codes_by_value("value"), index
    return codes, mask


def _distinct(mask: MaskPixels) -> tuple[np.ndarray, np.ndarray]:
    """(distinct values, index into them for each pixel, flat), as np.unique returns them."""
    flat = mask.pixels.ravel()
    if mask.kind == "colour" or (flat.size and int(flat.max()) >= 1 << 16):
        values, inverse = np.unique(flat, return_inverse=True)
        return values, inverse.reshape(-1)
    values = np.flatnonzero(np.bincount(flat))
    lookup = np.zeros(int(values[-1]) + 1 if len(values) else 1, np.int64)
    lookup[values] = np.arange(len(values))
    return values, lookup[flat]


def load_mask_codes(data: bytes, table: MaskTable, name: str) -> np.ndarray:
    """`decode_mask`, then `to_class_codes`. DataError names the file and the remedy."""
    try:
        return to_class_codes(decode_mask(data), table)
    except ValueError as error:
        raise DataError(
            f"{name}: {error}.",
            hint="`skipstone audit` lists every such mask. Name the value in classes.csv, or "
            "ignore its pixels: --ignore VALUE"
            if "no class has" in str(error)
            else None,
        ) from error


def format_colour(colour: int) -> str:
    """0xRRGGBB as "#804000"."""
    return f"#{colour:06x}"


def parse_colour(text: str) -> int:
    """ "#804000", "804000", "128,64,0" or "128 64 0" as 0xRRGGBB. ValueError for anything else."""
    word = text.strip().strip("()[]").lower()
    parts = word.replace(",", " ").replace(";", " ").split()
    if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
        return int(parts[0]) << 16 | int(parts[1]) << 8 | int(parts[2])
    digits = word.removeprefix("#").removeprefix("0x")
    if len(digits) == 6 and set(digits) <= set("0123456789abcdef"):
        return int(digits, 16)
    raise ValueError(f"{text!r} is not a colour; write #804000 or 128 64 0")


def default_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """`count` distinguishable colours: hues spaced by the golden angle, in three tones."""
    import colorsys

    colours = []
    for number in range(count):
        hue = (number * 0.61803398875 + 0.03) % 1
        light, strong = ((0.55, 0.85), (0.40, 0.75), (0.72, 0.70))[number % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, light, strong)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colours)


def _rgb(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255


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
