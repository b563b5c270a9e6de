"""Classes of masks without a table: named after the indices or colours that the masks hold.

The indices of palette masks are classes only if every file gives an index the same colour. Image
editors and PNG optimizers sort palettes by use, and GIF stores only the colours of one file: then
the colours decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skipstone.core.disk import open_regular, read_regular
from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, pluralize, quote_path
from skipstone.data.class_tables import ignore_classes
from skipstone.data.fingerprint import map_in_threads
from skipstone.data.mask_files import (
    IGNORE_INDEX,
    MAX_INFERRED_COLOURS,
    MaskPixels,
    MaskRow,
    MaskTable,
    decode_mask,
    format_colour,
    grey_colour,
)

#: Masks with 0, 255, this many indices between, and one of these nearly white, have soft edges.
_MIN_SOFT_VALUES, _NEARLY_WHITE = 16, 240


@dataclass(frozen=True)
class MaskValues:
    """What the masks contain.

    Args:
        values, colours: all indices and colours, sorted.
        folder: the folder of the first mask.
        difference: how two palettes differ, if therefore the colours decide; the colours are then
            in `values` as greys if all are grey, else in `colours`.
        palette: {index: colour}, if all palettes agree and a colour has one index.
    """

    values: tuple[int, ...]
    colours: tuple[int, ...]
    folder: Path = Path()
    difference: str = ""
    palette: Mapping[int, int] = field(default_factory=dict)

    def has_soft_edges(self) -> bool:
        """Whether the indices look like antialiased edges between 0 and 255: greys up to nearly
        white, unlike classes, which are numbered from 0."""
        between = [value for value in self.values if 0 < value < IGNORE_INDEX]
        has_both_ends = {0, IGNORE_INDEX} <= set(self.values)
        return has_both_ends and len(between) >= _MIN_SOFT_VALUES and max(between) >= _NEARLY_WHITE


def collect_mask_values(root: Path, paths: Sequence[str]) -> MaskValues:
    """The values of every mask. Unreadable masks are left to the audit and the loader.

    Raises:
        UsageError: no mask can be read, or palettes differ in a way that leaves classes unclear.
    """
    decoded = _decode_distinct(root, paths)
    folder = (root / paths[0]).parent
    masks = {
        path: mask
        for path, mask in zip(paths, decoded, strict=True)
        if isinstance(mask, MaskPixels)
    }
    if not masks:
        reason = str(decoded[0])
        soft = f"If the masks have two classes, {binarize_command(folder)}."
        raise UsageError(
            f"{root}: no mask ({len(paths):,}) can be read; the first: {paths[0]}: {reason}.",
            hint=soft if "exact mask values" in reason else "Save the masks as PNG.",
        )
    grey = {path: mask.to_index_mask() for path, mask in masks.items() if mask.kind == "colour"}
    if all(mask is not None for mask in grey.values()):  # indices stored in three channels
        masks |= {path: mask for path, mask in grey.items() if mask is not None}
    difference = find_palette_difference(masks)
    colours = {c for mask in masks.values() if mask.kind == "colour" for c in mask.pixels.tolist()}
    indexed = [mask for mask in masks.values() if mask.kind != "colour"]
    values = {value for mask in indexed for value in mask.pixels.tolist()}
    if difference:
        colours |= {mask.colour_of(value) for mask in indexed for value in mask.pixels.tolist()}
        is_grey = all(map(_is_grey, colours))
        values = {colour & 255 for colour in colours} if is_grey else set()
        colours = set() if is_grey else colours
    palette = {
        value: mask.colour_of(value)
        for mask in indexed
        if mask.kind == "palette" and not difference
        for value in mask.pixels.tolist()
    }
    is_shown = len({*palette.values()}) == len(palette) and not all(map(_is_grey, palette.values()))
    return MaskValues(
        *(tuple(sorted(values)), tuple(sorted(colours)), folder, difference),
        palette if is_shown else {},
    )


def _is_grey(colour: int) -> bool:
    return bool(colour == grey_colour(colour & 255))


def _decode_distinct(root: Path, paths: Sequence[str]) -> list[MaskPixels | str]:
    """Per mask its distinct values, in `pixels`, or why it cannot be read."""

    def read_values(path: str) -> MaskPixels | str:
        try:
            mask = decode_mask(read_regular(root / path))
        except (OSError, ValueError) as error:
            return str(error)
        return MaskPixels(mask.kind, mask.distinct_values(), mask.palette)

    return list(
        map_in_threads(read_values, paths, "looking into every mask", unit="masks", threads=4)
    )


# --- palettes -----------------------------------------------------------------------------------


def check_palettes(root: Path, paths: Sequence[str], table: MaskTable) -> None:
    """UsageError if the table names indices, and the palettes of the masks differ."""
    if table.has_colours or not any(_has_palette(root / path) for path in paths):
        return
    decoded = _decode_distinct(root, paths)
    masks = {
        path: mask
        for path, mask in zip(paths, decoded, strict=True)
        if isinstance(mask, MaskPixels)
    }
    if difference := find_palette_difference(masks):
        raise UsageError(
            f"{root}: the palettes of the masks differ: {difference}. So an index of "
            f"{table.source or 'the table'} is not one class.",
            hint="Give each class its colour instead of its index, in classes.csv: name,r,g,b. If "
            "the indices are right and the colours have no meaning, save the masks as grey images.",
        )


def _has_palette(path: Path) -> bool:
    """Whether the mask is an image with a palette or of one bit, by its header."""
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file) as image:
            return image.mode in ("P", "1")
    except Exception:  # the audit and the loader report it
        return False


def find_palette_difference(masks: Mapping[str, MaskPixels]) -> str:
    """How two palettes give an index different colours, or a colour different indices; "" if none
    do, or if the colours have no meaning.

    Args:
        masks: {path: a mask whose `pixels` are its distinct values}.

    Raises:
        UsageError: palettes differ, and their colours do not decide either.
    """
    used = {
        path: {int(value): mask.colour_of(int(value)) for value in mask.pixels}
        for path, mask in masks.items()
        if mask.kind != "colour"
    }
    palettes = {path: used[path] for path in used if masks[path].palette}
    greys = {path: used[path] for path in used if not masks[path].palette}
    if not palettes:
        return ""
    colours = {colour for by_index in palettes.values() for colour in by_index.values()}
    colours |= {0, grey_colour(255)}
    grey_indices = {index for by_index in greys.values() for index in by_index}
    greys_are_colours = {grey_colour(index) for index in grey_indices} <= colours
    if not _have_one_palette([masks[path].palette for path in palettes]):
        index_difference, colour_difference = _find_differences(palettes)
        difference = index_difference or colour_difference
        are_clear = all(
            len(by_index) == len({*by_index.values()} - {-1}) for by_index in palettes.values()
        )
        if index_difference and not (are_clear and greys_are_colours):
            raise _unclear_palettes_error(index_difference)
        if difference and are_clear and greys_are_colours:
            return difference
    difference = next(filter(None, _find_differences(palettes | greys)), "")
    if not greys or not difference:
        return ""
    indices = {index for by_index in palettes.values() for index in by_index}
    if greys_are_colours == (grey_indices <= indices):
        if all(map(_is_grey, colours)):
            raise _unclear_palettes_error(difference)
        return ""
    return difference if greys_are_colours else ""


def _have_one_palette(palettes: Sequence[tuple[int, ...]]) -> bool:
    """Whether all are equal, or the beginning of the longest."""
    longest = max(palettes, key=len)
    return all(longest[: len(palette)] == palette for palette in {*palettes})


def _find_differences(colours: Mapping[str, Mapping[int, int]]) -> tuple[str, str]:
    """The first index with two colours, and the first colour with two indices, of two files.

    Args:
        colours: {path: {index: colour}}.
    """
    by_index: dict[int, tuple[int, str]] = {}
    by_colour: dict[int, tuple[int, str]] = {}
    messages = ["", ""]
    for path, used in colours.items():
        for index, colour in used.items():
            if colour < 0:
                continue
            first_colour, first_path = by_index.setdefault(index, (colour, path))
            if first_colour != colour and not messages[0]:
                messages[0] = (
                    f"index {index} is {format_colour(first_colour)} in {first_path} and "
                    f"{format_colour(colour)} in {path}"
                )
            first_index, first_path = by_colour.setdefault(colour, (index, path))
            if first_index != index and first_path != path and not messages[1]:
                messages[1] = (
                    f"{format_colour(colour)} is index {first_index} in {first_path} and index "
                    f"{index} in {path}"
                )
    return messages[0], messages[1]


def _unclear_palettes_error(difference: str) -> UsageError:
    return UsageError(
        f"the palettes of the masks differ, and their colours do not tell the classes apart: "
        f"{difference}.",
        hint="Save all masks in one way: as grey images of the indices, or as RGB colours.",
    )


def infer_class_table(found: MaskValues, root: Path) -> tuple[MaskTable, list[str]]:
    """As `_infer_classes`; where palettes differ, by their colours, with a note."""
    table, notes = _infer_classes(found, root)
    if not found.difference:
        return table, notes
    rows = [
        row if row.value is None else MaskRow(None, grey_colour(row.value), row.name)
        for row in table.rows
    ]
    note = f"The palettes of the masks differ ({found.difference}), so colours decide, not indices."
    return MaskTable(tuple(rows)), [note, *notes]


def _infer_classes(found: MaskValues, root: Path) -> tuple[MaskTable, list[str]]:
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
    rows = [MaskRow(value, found.palette.get(value), str(value)) for value in class_values]
    notes = [
        f"No classes.csv: {pluralize(len(class_values), 'class', 'classes')} named after the indices "
        f"in the masks ({join_limited(map(str, class_values), 6)}); to name them: --class-names."
    ]
    if IGNORE_INDEX in found.values:
        rows.append(MaskRow(IGNORE_INDEX, found.palette.get(IGNORE_INDEX), None))
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
            hint="Give one name per class, in this order. For a class that occurs in no mask, list "
            f"all classes in {root / 'classes.csv'} (index,name) instead of --class-names.",
        )
    for index, name in zip(class_rows, names, strict=True):
        rows[index] = MaskRow(rows[index].value, rows[index].colour, name)
    pairs = [f"{value} is {name}" for value, name in zip(written, names, strict=True)]
    return MaskTable(tuple(rows), "--class-names"), [f"In the masks {join_limited(pairs, 12)}."]


def _format_value(row: MaskRow) -> str:
    """The index or colour, as users write it."""
    return str(row.value) if row.value is not None else format_colour(row.colour or 0)
