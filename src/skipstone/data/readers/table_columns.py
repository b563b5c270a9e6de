"""Which column of a table is what: inferred where one answer stands out, refused where not."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from skipstone.data.file_types import PICTURE_SUFFIXES
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES, has_many_labels
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.table_files import Files, is_rooted
from skipstone.errors import DataError, UsageError
from skipstone.words import listed

_PATH_NAMES = frozenset(
    {"path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"}
)
_ID_NAME = r"(^|_)(id|id_code|name|uuid|key)$"
_LABEL_NAMES = frozenset(
    {"label", "labels", "class", "classes", "category", "target", "tag", "tags", "choice"}
)
_PLURAL_NAMES = frozenset({"labels", "classes", "categories", "targets", "tags"})
_SPLIT_NAMES = frozenset({"split", "subset", "set", "partition"})
_GROUP_NAMES = frozenset({"group", "group_id", "patient_id", "subject_id"})
_BITS = frozenset({"0", "1", "true", "false", "0.0", "1.0"})
_SAMPLE = 200


@dataclass(frozen=True)
class Roles:
    """Args:
    labels: one column of labels, or several 0/1 columns (then `bits` is set).
    separator: splits a cell of tags; None where a cell is one label or Parquet's list.
    search: whether cells are names or numbers of files in folders below, rather than paths.
    """

    path: str
    labels: tuple[str, ...]
    bits: bool
    task: str
    separator: str | None = None
    split: str | None = None
    group: str | None = None
    search: bool = False

    @property
    def many(self) -> bool:
        """Whether a row has a list of labels."""
        return has_many_labels(self.task)


def choose_columns(
    columns: Columns, root: Path, options: ReadOptions, *, source: str | None = None
) -> Roles:
    """Decide on every column. UsageError with the flag that decides where it is open.

    Args:
        source: the column of the sources, where that is known not to be one of paths.
    """
    path, search = (source, False) if source else path_column(columns, root, options)
    split = _split_column(columns, options, {path})
    group = _group_column(columns, options, {path, split})
    rest = [name for name in columns.names if name not in (path, split, group)]
    labels, bits = _label_columns(columns, rest, options)
    taken = [name for name in (path, split, group) if name in labels]
    if taken:
        free = [name for name in rest if name not in taken]
        raise UsageError(
            f"{columns.path}: {listed(taken)} cannot be the label and something else.",
            hint=f"Name another column for one of the two; there are: {listed(free or rest, 12)}.",
        )
    for name in (*labels, split, group):
        if name is not None:
            columns.check_letters(name)
    if bits:
        task, separator = _task_of_bits(columns, labels, options), None
    else:
        task, separator = _task_of_cells(columns, labels[0], options)
    return Roles(path, labels, bits, task, separator, split, group, search)


def path_folder(options: ReadOptions) -> Path | None:
    """The folder that paths count from, where the user says it. UsageError where it is none."""
    if options.path_folder is None:
        return None
    folder = Path(options.path_folder).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"--path-folder {folder} is no folder.",
            hint="It is the folder that the table's paths count from.",
        )
    return folder


def path_column(columns: Columns, root: Path, options: ReadOptions) -> tuple[str, bool]:
    """(column, whether its cells have to be searched for)."""
    folder = path_folder(options)
    files = Files(root, folder)
    if options.path_column is not None:
        name = columns.check(options.path_column, "--path-column")
        return name, not _are_files(columns, files, name)
    existing = [name for name in columns.names if _are_files(columns, files, name)]
    pictured = [n for n in columns.names if n not in existing and _are_picture_names(columns, n)]
    search = not existing
    if search:
        below = Files(root, folder, search=True)
        free = [name for name in columns.names if name not in _said(options)]
        existing = [n for n in free if _differ(columns, n) and _are_files(columns, below, n)]
    known = [name for name in existing if name.casefold() in _PATH_NAMES]
    if not known and search:
        known = [name for name in existing if re.search(_ID_NAME, name.casefold())]
    if len(existing) == 1 or len(known) == 1:
        return (known if len(known) == 1 else existing)[0], search
    if existing:
        raise UsageError(
            f"{columns.path}: more than one column names files ({listed(existing)}).",
            hint=f"Say which holds the pictures: --path-column {existing[0]}",
        )
    if pictured:
        name = pictured[0]
        row, cell = next((r, c) for r, c in enumerate(columns.values[name]) if c)
        hint = "Paths count from the folder of the table, or are absolute; from another folder: "
        if is_rooted(str(cell)):
            hint = (
                f"Where the pictures lie below {files.folder}, they are found by the end of their "
            )
            hint += "paths, also from another machine; where they lie elsewhere: "
        raise DataError(
            f"{columns.where(row)}: {cell} does not exist (looked at {files.folder / str(cell)}).",
            hint=f"{hint}--path-folder FOLDER",
        )
    if columns.unread:
        name, kind = next(iter(columns.unread.items()))
        raise DataError(
            f"{columns.path}: column {name} holds {kind[:40]}; pictures inside a table are not "
            "read.",
            hint="Write them out as files and give a column with their paths.",
        )
    raise DataError(
        f"{columns.path}: no column names files that exist (columns: {listed(columns.names, 12)}).",
        hint="Paths count from the folder of the table, or are absolute: --path-column NAME, "
        "--path-folder FOLDER. If a column holds texts: --text-column NAME",
    )


def _said(options: ReadOptions) -> set[str | None]:
    """Columns that the user has given another role."""
    return {
        options.label_column,
        *options.label_columns,
        options.split_column,
        options.group_column,
    }


def _differ(columns: Columns, name: str) -> bool:
    """Whether hardly any two cells are alike: names of files, not classes that are so called."""
    cells = [cell for cell in sample_cells(columns, name) if cell]
    return 10 * len(set(cells)) >= 9 * len(cells)


def names_files(columns: Columns, root: Path, name: str) -> bool:
    """Whether a column's cells are paths, of files that exist or of pictures that may not."""
    return _are_files(columns, Files(root), name) or _are_picture_names(columns, name)


def _are_files(columns: Columns, files: Files, name: str) -> bool:
    cells = [cell for cell in sample_cells(columns, name) if cell]
    files.settle(cells)
    return bool(cells) and 2 * sum(files.means_one(cell) for cell in cells) >= len(cells)


def _are_picture_names(columns: Columns, name: str) -> bool:
    cells = [cell for cell in sample_cells(columns, name) if cell]
    named = sum(Path(cell).suffix.lower() in PICTURE_SUFFIXES for cell in cells)
    return bool(cells) and 2 * named >= len(cells)


def sample_cells(columns: Columns, name: str) -> list[str]:
    """Cells spread over the table; none for a column of lists."""
    cells = columns.values[name]
    step = max(1, len(cells) // _SAMPLE)
    spread = cells[::step]
    return [cell for cell in spread if isinstance(cell, str)]


def _split_column(columns: Columns, options: ReadOptions, used: set[str | None]) -> str | None:
    if options.split_column is not None:
        return columns.check(options.split_column, "--split-column")
    fits = [
        name
        for name in columns.names
        if name not in used and name.casefold() in _SPLIT_NAMES and _is_split(columns, name)
    ]
    if len(fits) > 1:
        raise UsageError(
            f"{columns.path}: {listed(fits)} all hold splits.",
            hint=f"Say which counts: --split-column {fits[0]}",
        )
    return fits[0] if fits else None


def _is_split(columns: Columns, name: str) -> bool:
    cells = {cell.casefold() for cell in columns.values[name] if isinstance(cell, str)}
    # One known word is enough: a misspelt one beside it is then refused, not passed over.
    return bool(cells & SPLIT_NAMES.keys())


def _group_column(columns: Columns, options: ReadOptions, used: set[str | None]) -> str | None:
    if options.group_column is not None:
        return columns.check(options.group_column, "--group-column")
    fits = [name for name in columns.names if name not in used and name.casefold() in _GROUP_NAMES]
    if len(fits) > 1:
        raise UsageError(
            f"{columns.path}: {listed(fits)} may all be groups that must stay together.",
            hint=f"Say which counts: --group-column {fits[0]}",
        )
    return fits[0] if fits else None


def _label_columns(
    columns: Columns, rest: list[str], options: ReadOptions
) -> tuple[tuple[str, ...], bool]:
    """(columns, whether they are 0/1 columns of one label each)."""
    if options.label_columns:
        names = tuple(columns.check(name, "--label-columns") for name in options.label_columns)
        for name in names:
            _check_bits(columns, name)
        return names, True
    if options.label_column is not None:
        return (columns.check(options.label_column, "--label-column"),), False
    if options.separator is not None:
        fits = [n for n in rest if any(options.separator in c for c in sample_cells(columns, n))]
        if len(fits) == 1:
            return (fits[0],), False
    named = [name for name in rest if name.casefold() in _LABEL_NAMES]
    if len(named) == 1:
        return (named[0],), False
    bits = [name for name in rest if _are_bits(columns, name)]
    words = [name for name in named or rest if name not in bits and _may_be_label(columns, name)]
    if len(words) == 1 and len(bits) <= 1 and (named or not bits):
        return (words[0],), False
    if not words and len(bits) == 1:
        return (bits[0],), False
    if not words and bits:
        return tuple(bits), True
    if not words:
        raise UsageError(
            f"{columns.path}: no column looks like a label (columns: {listed(columns.names, 12)}).",
            hint="Say which holds it: --label-column NAME",
        )
    choices = [f"--label-column {name}" for name in [*words, *bits][:3]]
    if len(bits) > 1:
        choices = [f"--label-column {words[0]}", f"--label-columns {','.join(bits)}"]
    raise UsageError(
        f"{columns.path}: more than one column may be the label ({listed([*words, *bits])}).",
        hint=f"Say which: {' or '.join(choices)}",
    )


def _are_bits(columns: Columns, name: str) -> bool:
    cells = columns.values[name]
    return all(isinstance(cell, str) and cell.casefold() in _BITS for cell in cells)


def _check_bits(columns: Columns, name: str) -> None:
    for row, cell in enumerate(columns.values[name]):
        if not isinstance(cell, str) or cell.casefold() not in _BITS:
            raise DataError(
                f"{columns.where(row)}: column {name} holds {cell!r}; a column that stands for "
                "one label holds 0 or 1.",
                hint=f"If its cells are labels: --label-column {name}",
            )


def _may_be_label(columns: Columns, name: str) -> bool:
    """Values that recur: an id or a free text differs in each row, a measurement is a fraction."""
    cells = columns.values[name]
    if any(isinstance(cell, list) for cell in cells):
        return True
    filled = [str(cell) for cell in cells if cell]
    if len(set(filled)) < 2 or any(_is_fraction(cell) for cell in filled):
        return False
    return len(set(filled)) <= max(2, len(filled) // 2)


def _is_fraction(cell: str) -> bool:
    return is_number(cell) and not float(cell.replace(",", ".")).is_integer()


def is_number(cell: str) -> bool:
    """Whether it is a finite number, also with a decimal comma: 0,5."""
    try:
        return math.isfinite(float(cell.replace(",", ".")))
    except ValueError:
        return False


def _task_of_bits(columns: Columns, names: tuple[str, ...], options: ReadOptions) -> str:
    if options.task is not None:
        return options.task
    sums = Counter(
        sum(is_one(columns.values[name][row]) for name in names) for row in range(len(columns))
    )
    if set(sums) == {1}:
        raise UsageError(
            f"{columns.path}: every row has exactly one 1 in {listed(names)}, so these may be "
            "classes or tags.",
            hint="Say which: --task classify (one label each) or --task tag (any number).",
        )
    return "tag"


def is_one(cell: object) -> bool:
    """Whether a checked 0/1 cell says yes."""
    return isinstance(cell, str) and cell.casefold() in ("1", "true", "1.0")


def _task_of_cells(columns: Columns, name: str, options: ReadOptions) -> tuple[str, str | None]:
    cells = columns.values[name]
    one = options.task is not None and not has_many_labels(options.task)
    if any(isinstance(cell, list) for cell in cells):
        if one:
            raise UsageError(
                f"{columns.path}: column {name} holds lists of labels, which is --task tag.",
                hint=f"Say --task tag, or name a column of one label each instead of {name}: "
                "--label-column NAME",
            )
        return options.task or "tag", None
    if options.separator is not None:
        if one:
            raise UsageError(
                "--separator splits a cell into several labels, which --task classify cannot have.",
                hint="Use --task tag, or leave --separator out.",
            )
        return options.task or "tag", options.separator
    if options.task is not None and one:
        return options.task, None
    found = [mark for mark in "|;," if _separates([str(cell) for cell in cells], mark)]
    plural = name.casefold() in _PLURAL_NAMES
    if not found and plural and _separates([str(cell) for cell in cells], " "):
        found = [" "]
    if len(found) > 1 or (found == [","] and not plural and options.task is None):
        raise UsageError(
            f"{columns.path}: cells of {name} hold {' and '.join(map(repr, found))}, which may "
            "separate labels.",
            hint=f"Say so: --separator '{found[0]}', or --task classify if a cell is one label.",
        )
    if found:
        return options.task or "tag", found[0]
    return options.task or "classify", None


def _separates(cells: list[str], mark: str) -> bool:
    """Whether `mark` separates labels in these cells: at least half of the parts that it gives
    occur in other cells too. "|" and ";" have no other use in a label."""
    parts = {cell: {part.strip() for part in cell.split(mark)} - {""} for cell in set(cells)}
    split = {part for names in parts.values() if len(names) > 1 for part in names}
    if not split or mark in "|;":
        return bool(split)
    uses = Counter(part for names in parts.values() for part in names)
    return 2 * sum(uses[part] > 1 for part in split) >= len(split)
