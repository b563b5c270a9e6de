"""Segmentation masks: image files that give the class of each pixel.

A `MaskTable` maps a file's indices or colours to classes: each row is one index or colour and its
class, or None for ignored pixels. It is read from a file (`class_tables.py`), or inferred from the
masks (`mask_classes.py`). In memory a mask is uint8 (H, W): class codes, or IGNORE_INDEX.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from skipstone.core.errors import DataError, UsageError
from skipstone.core.registry import INPUTS
from skipstone.core.specs import InputSpec
from skipstone.data.input_files import make_skip_check

#: The code of ignored pixels: they are neither trained on nor scored.
IGNORE_INDEX = 255
#: Codes are 8-bit numbers below IGNORE.
MAX_CLASSES = IGNORE_INDEX
#: Without a table, masks with more colours than this are rejected.
MAX_INFERRED_COLOURS = 64


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
    def has_colours(self) -> bool:
        """Whether a class or an ignored value is given by its colour."""
        return any(row.colour is not None for row in self.rows)

    @property
    def has_indices(self) -> bool:
        """Whether a class is given by its index."""
        return any(row.name is not None and row.value is not None for row in self.rows)

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
        palette: 0xRRGGBB of each index, of a palette mask and of an image of one bit.
    """

    kind: str
    pixels: np.ndarray
    palette: tuple[int, ...] = ()

    def distinct_values(self) -> np.ndarray:
        """The distinct indices or colours, sorted."""
        if self.kind != "colour" and self.pixels.size and int(self.pixels.max()) < 1 << 16:
            return np.flatnonzero(np.bincount(self.pixels.ravel()))
        return np.unique(self.pixels)

    def colour_of(self, value: int) -> int:
        """0xRRGGBB of an index or colour; an index of a grey image is its grey. -1 if it has none."""
        if self.palette or self.kind == "palette":
            return self.palette[value] if value < len(self.palette) else -1
        if self.kind == "index":
            return grey_colour(value) if 0 <= value < 256 else -1
        return value

    def to_index_mask(self) -> MaskPixels | None:
        """Grey colours as indices (an index mask saved as RGB); None if a colour is not grey."""
        if self.kind != "colour":
            return self
        red = self.pixels >> 16
        return MaskPixels("index", red) if np.array_equal(grey_colour(red), self.pixels) else None


class UnknownMaskValue(ValueError):
    """A mask holds an index or colour that no class has.

    Args:
        written: the index or colour, as `--ignore` takes it.
    """

    def __init__(self, message: str, written: str) -> None:
        super().__init__(message)
        self.written = written


def not_mask_reason(name: str, head: bytes) -> str | None:
    """Why a file of a mask folder is not a mask; None for pictures, GIF, PGM and PPM, and for AVIF,
    which `decode_mask` refuses with the reason. `skip_reason` of `mask_input`."""
    if head.startswith(b"GIF8") or head[4:8] == b"ftyp":
        return None
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return None
    return make_skip_check(INPUTS["image"])(name, head)


def mask_input() -> InputSpec:
    """The files of a mask folder."""
    target = f"{not_mask_reason.__module__}:{not_mask_reason.__name__}"
    return replace(INPUTS["image"], skip_reason=target)


def decode_mask(data: bytes) -> MaskPixels:
    """Decode a mask file. ValueError, with a message for the user, if it is not a mask."""
    from PIL import Image, UnidentifiedImageError

    if data.startswith(b"\x93NUMPY"):
        return _decode_array(data)

    if lossy := _detect_lossy_format(data):
        raise ValueError(f"{lossy} {_NOT_EXACT}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "TIFF" and "jpeg" in str(image.info.get("compression")):
                raise ValueError(f"TIFF with JPEG compression {_NOT_EXACT}")
            if image.format != "TIFF" and _has_second_frame(image):
                raise ValueError("an animation is not a mask; save its frame as PNG")
            image.load()
            mode = image.mode
            if mode in ("RGB", "RGBA", "RGBX"):
                pixels = np.asarray(image.convert("RGB")).astype(np.int32)
                return MaskPixels(
                    "colour", pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
                )
            if mode == "P":
                parts = np.array(image.getpalette("RGB"), np.int32).reshape(-1, 3)
                colours = parts[:, 0] << 16 | parts[:, 1] << 8 | parts[:, 2]
                return MaskPixels(
                    "palette", np.asarray(image).astype(np.int32), tuple(colours.tolist())
                )
            if mode == "1":
                return MaskPixels("index", np.asarray(image).astype(np.int32), (0, 0xFFFFFF))
            if mode in ("L", "I") or mode.startswith("I;16"):
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


_NOT_EXACT = "does not preserve exact mask values; save masks as PNG"


def _detect_lossy_format(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[4:8] == b"ftyp":
        return "AVIF" if b"avif" in data[8:32] else "HEIC"
    at = 12
    while data[:4] == b"RIFF" and data[8:12] == b"WEBP" and at + 8 <= len(data):
        if data[at : at + 4] == b"VP8 ":  # the lossy chunk; the lossless one is VP8L
            return "lossy WebP"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def _decode_array(data: bytes) -> MaskPixels:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"damaged or truncated ({error})") from error
    if array.ndim != 2 or array.dtype.kind not in "bui" or (array.size and array.min() < 0):
        raise ValueError(
            f"an array {array.dtype} of shape {array.shape} is not a mask; a mask has one index from "
            "0 per pixel, in two dimensions"
        )
    if array.size and array.max() >= 1 << 31:
        raise ValueError(f"{array.max()} is too large for the index of a class")
    return MaskPixels("index", array.astype(np.int32))


def _has_second_frame(image: Any) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    finally:
        image.seek(0)
    return True


def to_class_codes(mask: MaskPixels, table: MaskTable) -> np.ndarray:
    """Class codes uint8 (H, W) of a mask file. If the table has colours, they decide.

    Raises:
        UnknownMaskValue: a value is not in the table; the message counts its pixels.
        ValueError: the table gives an index and its colour in the palette to different classes.
    """
    if not table.has_colours:
        mask = mask.to_index_mask() or mask
    distinct, inverse = _distinct(mask)
    values = [int(value) for value in distinct]
    codes = _find_codes(mask, table, values)
    unknown = [value for value in values if value not in codes]
    if unknown:
        raise _unknown_value_error(mask, table, unknown)
    codes_of_values = np.array([codes[value] for value in values], np.uint8)
    return np.asarray(codes_of_values[inverse].reshape(mask.pixels.shape))


def _find_codes(mask: MaskPixels, table: MaskTable, values: Sequence[int]) -> dict[int, int]:
    """{value: code} of those values of the mask that the table has."""
    by_index, by_colour = table.codes_by_value("value"), table.codes_by_value("colour")
    colours = {value: mask.colour_of(value) for value in values}
    if mask.kind == "colour":
        return by_colour
    if not by_colour or (mask.kind == "index" and table.has_indices):
        return by_index
    if mask.kind == "index":
        return {v: by_colour[c] for v, c in colours.items() if c in by_colour} | by_index
    colourless = {row.value for row in table.rows if row.colour is None}
    codes: dict[int, int] = {}
    for value, colour in colours.items():
        code = by_colour.get(colour)
        if value in colourless and code not in (None, by_index[value]):
            names = [
                "ignored" if number == IGNORE_INDEX else table.names[number]
                for number in (by_index[value], by_colour[colour])
            ]
            raise ValueError(
                f"index {value} is {names[0]}, but its colour {format_colour(colour)} is {names[1]}"
            )
        # Where the palette is the grey of the index, the index is not a colour's.
        if code is None and (value in colourless or colour == grey_colour(value)):
            code = by_index.get(value)
        if code is not None:
            codes[value] = code
    return codes


def _unknown_value_error(
    mask: MaskPixels, table: MaskTable, unknown: Sequence[int]
) -> UnknownMaskValue:
    first = unknown[0]
    count = int((mask.pixels == first).sum())
    more = f" and {len(unknown) - 1} more values" if len(unknown) > 1 else ""
    written, also = str(first), ""
    if mask.kind == "colour":
        written = format_colour(first)
    elif mask.kind == "palette" and table.has_colours and mask.colour_of(first) >= 0:
        written, also = format_colour(mask.colour_of(first)), f" (index {first})"
    elif mask.kind == "index" and not table.has_indices:
        also = " as an index, and the table of classes gives only colours"
    return UnknownMaskValue(
        f"{count:,} pixels hold {written}{also}{more}, which no class has", written
    )


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
    except UnknownMaskValue as error:
        raise DataError(
            f"{name}: {error}.",
            hint="`skipstone audit` lists every such mask. Add the value to the table of "
            f"classes, or ignore its pixels: --ignore {shlex.quote(error.written)}",
        ) from error
    except ValueError as error:
        raise DataError(f"{name}: {error}.") from error


def grey_colour(grey: Any) -> Any:
    """0xRRGGBB of a grey from 0 to 255, or of an array of them."""
    return grey * 0x010101


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
