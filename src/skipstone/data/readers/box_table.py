"""Tables with a box per row: CSV, TSV, JSON Lines or Parquet.

path,label,xmin,ymin,xmax,ymax            corners, in pixels
path,label,left,top,width,height          a corner and the size
path,label,x_center,y_center,w,h          the centre and the size; numbers up to 1 are shares

A row without numbers stands for a photo without objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.box_rows import (
    WITHOUT_PHOTO,
    AnnotatedPhoto,
    AnnotatedPhotos,
    BoxLabel,
    make_box_manifest,
)
from skipstone.data.readers.columns import Columns, detect_table, read_columns, read_names
from skipstone.data.readers.table_columns import choose_path_column, resolve_path_folder
from skipstone.data.readers.table_files import FileLookup

#: Columns of a box by format, as tools name them; letters and digits only.
_COLUMNS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "corners": (
        ("xmin", "ymin", "xmax", "ymax"),
        ("x1", "y1", "x2", "y2"),
        ("left", "top", "right", "bottom"),
        ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ),
    "size": (
        ("left", "top", "width", "height"),
        ("xmin", "ymin", "width", "height"),
        ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ),
    "centre": (
        ("cx", "cy", "w", "h"),
        ("xcenter", "ycenter", "width", "height"),
        ("xcentre", "ycentre", "width", "height"),
        ("xcenter", "ycenter", "w", "h"),
        ("centerx", "centery", "width", "height"),
    ),
}
#: Columns that may be either: their format has to be stated.
_UNCLEAR = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_LABELS = ("label", "class", "classname", "category", "name", "labelname")


class BoxTableReader:
    """A table with a path, a label and four numbers per row."""

    def detect_layout(self, path: Path) -> str | None:
        kind = detect_table(path)
        if kind is None or find_box_columns(read_names(path)) is None:
            return None
        return f"{kind} with a box per row"

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        if not detect_table(path):
            raise UsageError(
                f"{path} is not a table.", hint="Give a .csv, .tsv, .jsonl or .parquet file."
            )
        columns = read_columns(path, options)
        box_columns = find_box_columns(columns.names)
        if box_columns is None:
            raise UsageError(
                f"{path} has no columns of boxes (columns: {join_limited(columns.names, 12)}).",
                hint="Name them xmin, ymin, xmax, ymax; or left, top, width, height; or cx, cy, w, h.",
            )
        form, names = box_columns
        form = options.box_format or form
        if not form:
            raise UsageError(
                f"{path}: {', '.join(names)} may be a corner or the centre, and the size.",
                hint="Decide with --box-format size (a corner and the size) or --box-format centre.",
            )
        path_name, search = choose_path_column(columns, path.parent, options)
        files = FileLookup(path.parent, resolve_path_folder(options), search=search)
        photos, missing = _read_photos(columns, files, path_name, names, form, options)
        result = AnnotatedPhotos(
            f"a table with a box per row ({', '.join(names)}: {_WORDS[form]}"
            f"{', in shares' if photos and photos[0].are_shares else ', in pixels'})",
            photos,
            unpaired={WITHOUT_PHOTO: missing},
        )
        if not photos:
            raise UsageError(f"{path}: none of {pluralize(len(missing), 'photo')} exists.")
        return make_box_manifest(path.parent, "box-table", result, options)


_WORDS = {
    "corners": "two corners",
    "size": "a corner and the size",
    "centre": "the centre and the size",
}


def find_box_columns(names: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """(format, columns) of a table's boxes; format "" where the names leave it open. None without
    boxes."""
    by_key = {"".join(filter(str.isalnum, name.casefold())): name for name in names}
    for form, candidates in _COLUMNS.items():
        for keys in candidates:
            if all(key in by_key for key in keys):
                return form, tuple(by_key[key] for key in keys)
    for keys in _UNCLEAR:
        if all(key in by_key for key in keys):
            return "", tuple(by_key[key] for key in keys)
    return None


def _read_photos(
    columns: Columns,
    files: FileLookup,
    path_column: str,
    names: Sequence[str],
    form: str,
    options: ReadOptions,
) -> tuple[list[AnnotatedPhoto], list[str]]:
    """The photos in the order of their first row, and paths that do not exist."""
    label_column = _find_label_column(columns, options)
    cells, labels = columns.text_cells(path_column), columns.text_cells(label_column)
    numbers = [columns.text_cells(name) for name in names]
    split_column = options.split_column or next(
        (name for name in columns.names if name.casefold() == "split"), None
    )
    splits = None if split_column is None else columns.text_cells(split_column)
    files.infer_path_prefix(list(dict.fromkeys(cells))[:1000])
    photos_by_path: dict[str, AnnotatedPhoto] = {}
    missing: dict[str, None] = {}
    greatest = 0.0
    for row, cell in enumerate(cells):
        path = files.find_file(cell)
        if path is None:
            missing[cell] = None
            continue
        split = _read_split(columns, row, splits)
        photo = photos_by_path.setdefault(path, AnnotatedPhoto(path, [], split))
        if photo.split != split:
            raise DataError(f"{columns.row_location(row)}: {cell} is in two splits.")
        box = _read_row(columns, row, [column[row] for column in numbers], form)
        if box is not None:
            if not labels[row]:
                raise DataError(f"{columns.row_location(row)}: the box has no {label_column}.")
            greatest = max(greatest, *map(abs, box))
            photo.boxes.append(BoxLabel(labels[row], box))
    for photo in photos_by_path.values():
        photo.are_shares = greatest <= 1.5  # rounding and borders
    return list(photos_by_path.values()), list(missing)


def _find_label_column(columns: Columns, options: ReadOptions) -> str:
    if options.label_column is not None:
        return columns.require_column(options.label_column, "--label-column")
    named = [name for name in columns.names if name.casefold().replace("_", "") in _LABELS]
    if len(named) == 1:
        return named[0]
    raise UsageError(
        f"{columns.path}: {join_limited(named) if named else 'no column'} "
        f"{'may both hold' if named else 'is named like'} the labels.",
        hint=f"Name the column: --label-column NAME. It has {join_limited(columns.names, 12)}.",
    )


def _read_split(columns: Columns, row: int, splits: list[str] | None) -> str:
    word = "" if splits is None else splits[row].casefold()
    if word and word not in SPLIT_NAMES:
        raise DataError(
            f"{columns.row_location(row)}: unknown split {splits[row] if splits else ''!r}.",
            hint="Splits are train, validation and test.",
        )
    return SPLIT_NAMES.get(word, "")


def _read_row(
    columns: Columns, row: int, cells: Sequence[str], form: str
) -> tuple[float, float, float, float] | None:
    """(x1, y1, x2, y2), or None for a row without numbers."""
    if not any(cells):
        return None
    try:
        a, b, c, d = (float(cell.replace(",", ".")) for cell in cells)
    except ValueError:
        raise DataError(
            f"{columns.row_location(row)}: {', '.join(cells)} is not a box of four numbers."
        ) from None
    if form == "corners":
        return a, b, c, d
    if form == "size":
        return a, b, a + c, b + d
    return a - c / 2, b - d / 2, a + c / 2, b + d / 2
