"""The role of each column of a table: inferred if one choice is clear, else an error."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import format_flag, join_limited
from skipstone.data.input_files import list_file_inputs, list_suffixes
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES, is_multi_label
from skipstone.data.readers.columns import Columns
from skipstone.data.readers.label_cells import choose_task_of_cells, read_lists
from skipstone.data.readers.table_files import FileLookup, is_absolute_path

_PATH_NAMES = frozenset(
    {"path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"}
)
_ID_NAME = r"(^|_)(id|id_code|name|uuid|key)$"
_LABEL_NAMES = frozenset(
    {"label", "labels", "class", "classes", "category", "target", "tag", "tags", "choice"}
)
_SPLIT_NAMES = frozenset({"split", "subset", "set", "partition"})
_GROUP_NAMES = frozenset({"group", "group_id", "patient_id", "subject_id"})
#: Pairs of columns with the begin and end of a part of a file, in seconds.
_SPAN_NAMES = (("start", "end"), ("begin", "end"), ("onset", "offset"), ("start_time", "end_time"))
_BITS = frozenset({"0", "1", "true", "false", "0.0", "1.0"})
_SAMPLE = 200
_TEXT_NAMES = frozenset(
    {
        *("text", "texts", "sentence", "content", "body", "review", "comment", "question"),
        *("message", "tweet", "document", "description", "headline", "abstract", "utterance"),
    }
)
#: A text in place of a column's name has at least this many words.
_NAME_WORDS = 5
#: An unnamed column holds texts if its cells have on average at least this many words ...
_WORDS = 3
#: ... or, in scripts without spaces, this many letters.
_LETTERS = 12


@dataclass(frozen=True)
class ColumnRoles:
    """Args:
    path: the column of paths, or of texts.
    labels: one column of labels, or several 0/1 columns (then `has_indicator_columns` is set).
    separator: splits a cell of tags; None if a cell is one label, or a list of Parquet.
    search_subfolders: whether cells are names or numbers of files in subfolders rather than paths.
    """

    path: str
    labels: tuple[str, ...]
    has_indicator_columns: bool
    task: str
    separator: str | None = None
    split: str | None = None
    group: str | None = None
    search_subfolders: bool = False

    @property
    def is_multi_label(self) -> bool:
        """Whether a row has a list of labels."""
        return is_multi_label(self.task)


def choose_column_roles(
    columns: Columns, root: Path, options: ReadOptions, *, source: str | None = None
) -> ColumnRoles:
    """Choose every column's role. UsageError, naming the flag, if a choice is ambiguous.

    Args:
        source: the column of the texts, if the table does not hold paths.
    """
    path, search = (source, False) if source else choose_path_column(columns, root, options)
    split = _split_column(columns, options, {path})
    group = _group_column(columns, options, {path, split})
    spans = find_span_columns(columns) or ()
    rest = [name for name in columns.names if name not in (path, split, group, *spans)]
    labels, bits = _label_columns(columns, rest, options)
    conflicts = [name for name in (path, split, group) if name in labels]
    if conflicts:
        free = [name for name in rest if name not in conflicts]
        raise UsageError(
            f"{columns.path}: {join_limited(conflicts)} cannot be the label and have another role.",
            hint=f"Choose another column for one of them: {join_limited(free or rest, 12)}.",
        )
    for name in (*labels, split, group):
        if name is not None:
            columns.reject_lone_surrogates(name)
    if not bits:
        read_lists(columns, labels[0], options)
    if bits:
        task, separator = _task_of_bits(columns, labels, options), None
    else:
        task, separator = choose_task_of_cells(columns, labels[0], options)
    return ColumnRoles(path, labels, bits, task, separator, split, group, search)


def find_span_columns(columns: Columns) -> tuple[str, str] | None:
    """The two columns of numbers that say where a part of a file begins and ends; None without."""
    by_name = {name.casefold(): name for name in columns.names}
    for pair in _SPAN_NAMES:
        names = [by_name[word] for word in pair if word in by_name]
        if len(names) == 2 and all(
            isinstance(cell, str) and is_number(cell)
            for name in names
            for cell in columns.values[name]
        ):
            return names[0], names[1]
    return None


def read_spans(columns: Columns) -> list[tuple[float, float]] | None:
    """(begin, end) in seconds of each row; None for a table of whole files.

    Raises:
        DataError: a part does not end after it begins.
    """
    names = find_span_columns(columns)
    if names is None:
        return None
    spans = []
    for row, cells in enumerate(zip(*(columns.values[name] for name in names), strict=True)):
        begin, end = (float(cell.replace(",", ".")) for cell in cells)
        if not 0 <= begin < end:
            raise DataError(
                f"{columns.row_location(row)}: {names[0]} is {begin:g} and {names[1]} is {end:g}; a "
                "part of a recording begins at 0 or later and ends after it begins."
            )
        spans.append((begin, end))
    return spans


def resolve_path_folder(options: ReadOptions) -> Path | None:
    """The folder that paths are relative to, if the user names one. UsageError if it does not
    exist."""
    if options.path_folder is None:
        return None
    folder = Path(options.path_folder).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"--path-folder {folder} is not a folder.",
            hint="It must be the folder that the table's paths are relative to.",
        )
    return folder


def choose_path_column(columns: Columns, root: Path, options: ReadOptions) -> tuple[str, bool]:
    """(column, whether its files must be searched for in subfolders)."""
    folder = resolve_path_folder(options)
    files = FileLookup(root, folder)
    if options.path_column is not None:
        name = columns.require_column(options.path_column, "--path-column")
        return name, not _are_files(columns, files, name)
    existing = [name for name in columns.names if _are_files(columns, files, name)]
    named_files = [n for n in columns.names if n not in existing and _are_file_names(columns, n)]
    search = not existing
    if search:
        below = FileLookup(root, folder, search=True)
        candidates = [name for name in columns.names if name not in _columns_with_roles(options)]
        existing = [
            n for n in candidates if _mostly_distinct(columns, n) and _are_files(columns, below, n)
        ]
    named = [name for name in existing if name.casefold() in _PATH_NAMES]
    if not named and search:
        named = [name for name in existing if re.search(_ID_NAME, name.casefold())]
    if len(existing) == 1 or len(named) == 1:
        return (named if len(named) == 1 else existing)[0], search
    if existing:
        raise UsageError(
            f"{columns.path}: more than one column names files ({join_limited(existing)}).",
            hint=f"Choose the one with the files to read: {format_flag('--path-column', existing[0])}",
        )
    if named_files:
        name = named_files[0]
        row, cell = next((r, c) for r, c in enumerate(columns.values[name]) if c)
        hint = "Paths must be absolute, or relative to the folder of the table; from another "
        hint += "folder: "
        if is_absolute_path(str(cell)):
            hint = f"Files below {files.folder} are found by the end of their paths, also from "
            hint += "another machine; for another folder: "
        raise DataError(
            f"{columns.row_location(row)}: {cell} does not exist (looked at {files.folder / str(cell)}).",
            hint=f"{hint}--path-folder FOLDER",
        )
    if columns.unsupported_columns:
        name, kind = next(iter(columns.unsupported_columns.items()))
        raise DataError(
            f"{columns.path}: column {name} holds {kind[:40]}; files inside a table are not "
            "supported.",
            hint="Save them as files and add a column with their paths.",
        )
    raise DataError(
        f"{columns.path}: no column names existing files (columns: {join_limited(columns.names, 12)}).",
        hint="Paths must be absolute, or relative to the folder of the table: --path-column NAME, "
        "--path-folder FOLDER. If a column holds texts: --text-column NAME",
    )


def _columns_with_roles(options: ReadOptions) -> set[str | None]:
    """Columns to which the user assigned a role."""
    return {
        options.label_column,
        *options.label_columns,
        options.split_column,
        options.group_column,
    }


def _mostly_distinct(columns: Columns, name: str) -> bool:
    """Whether nearly all cells are distinct: file names, not classes with names of files."""
    cells = [cell for cell in sample_cells(columns, name) if cell]
    return 10 * len(set(cells)) >= 9 * len(cells)


def is_path_column(columns: Columns, root: Path, name: str) -> bool:
    """Whether a column's cells are paths: of existing files, or with the extension of an input."""
    return _are_files(columns, FileLookup(root), name) or _are_file_names(columns, name)


def _are_files(columns: Columns, files: FileLookup, name: str) -> bool:
    cells = [cell for cell in sample_cells(columns, name) if cell]
    files.infer_path_prefix(cells)
    return bool(cells) and 2 * sum(files.has_match(cell) for cell in cells) >= len(cells)


def _are_file_names(columns: Columns, name: str) -> bool:
    cells = [cell for cell in sample_cells(columns, name) if cell]
    suffixes = list_suffixes(list_file_inputs())
    matches = sum(cell.lower().endswith(suffixes) for cell in cells)
    return bool(cells) and 2 * matches >= len(cells)


def sample_cells(columns: Columns, name: str) -> list[str]:
    """Cells evenly spread over the table; without lists."""
    cells = columns.values[name]
    step = max(1, len(cells) // _SAMPLE)
    spread = cells[::step]
    return [cell for cell in spread if isinstance(cell, str)]


def _split_column(columns: Columns, options: ReadOptions, used: set[str | None]) -> str | None:
    if options.split_column is not None:
        return columns.require_column(options.split_column, "--split-column")
    matches = [
        name
        for name in columns.names
        if name not in used and name.casefold() in _SPLIT_NAMES and _is_split(columns, name)
    ]
    if len(matches) > 1:
        raise UsageError(
            f"{columns.path}: more than one column holds splits ({join_limited(matches)}).",
            hint=f"Choose one: {format_flag('--split-column', matches[0])}",
        )
    return matches[0] if matches else None


def _is_split(columns: Columns, name: str) -> bool:
    cells = {cell.casefold() for cell in columns.values[name] if isinstance(cell, str)}
    # One known word is enough: a misspelt one is then an error instead of being ignored.
    return bool(cells & SPLIT_NAMES.keys())


def _group_column(columns: Columns, options: ReadOptions, used: set[str | None]) -> str | None:
    if options.group_column is not None:
        return columns.require_column(options.group_column, "--group-column")
    matches = [
        name for name in columns.names if name not in used and name.casefold() in _GROUP_NAMES
    ]
    if len(matches) > 1:
        raise UsageError(
            f"{columns.path}: more than one column may hold groups ({join_limited(matches)}).",
            hint=f"Choose one: {format_flag('--group-column', matches[0])}",
        )
    return matches[0] if matches else None


def _label_columns(
    columns: Columns, rest: list[str], options: ReadOptions
) -> tuple[tuple[str, ...], bool]:
    """(columns, whether they are 0/1 columns, one per label)."""
    if options.label_columns:
        names = tuple(
            columns.require_column(name, "--label-columns") for name in options.label_columns
        )
        for name in names:
            _check_bits(columns, name)
        return names, True
    if options.label_column is not None:
        return (columns.require_column(options.label_column, "--label-column"),), False
    if options.separator is not None:
        matches = [n for n in rest if any(options.separator in c for c in sample_cells(columns, n))]
        if len(matches) == 1:
            return (matches[0],), False
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
        _reject_soft_labels(columns, rest)
        raise UsageError(
            f"{columns.path}: no column looks like a label (columns: {join_limited(columns.names, 12)}).",
            hint="Name it: --label-column NAME",
        )
    choices = [format_flag("--label-column", name) for name in [*words, *bits][:3]]
    if len(bits) > 1:
        choices = [format_flag("--label-column", words[0]), format_flag("--label-columns", *bits)]
    raise UsageError(
        f"{columns.path}: more than one column may be the label ({join_limited([*words, *bits])}).",
        hint=f"Choose one: {' or '.join(choices)}",
    )


def _reject_soft_labels(columns: Columns, names: list[str]) -> None:
    """UsageError if columns hold probabilities or shares of votes instead of labels."""
    soft = [name for name in names if _are_shares(columns, name)]
    if not soft:
        return
    cells = zip(*(columns.values[name] for name in soft), strict=True)
    sums = [sum(float(str(cell).replace(",", ".") or 0) for cell in row) for row in cells]
    is_share = len(soft) > 1 and all(abs(total - 1) < 0.02 for total in sums)
    hint = "Add a 0/1 column for each of them, 1 where its number is at least 0.5."
    if is_share:
        hint = "Add a column called label with the name of each row's largest number."
    raise UsageError(
        f"{columns.path}: {join_limited(soft)} {'holds' if len(soft) == 1 else 'hold'} numbers from 0 "
        f"to 1{', which sum to 1 in each row' if is_share else ''}: soft labels are not supported.",
        hint=f"{hint} If other columns hold the labels: --label-column NAME",
    )


def _are_shares(columns: Columns, name: str) -> bool:
    cells = [str(cell).replace(",", ".") for cell in columns.values[name] if cell]
    if not cells or not all(map(is_number, cells)):
        return False
    return all(0 <= float(cell) <= 1 for cell in cells) and any(map(_is_fraction, cells))


def _are_bits(columns: Columns, name: str) -> bool:
    cells = columns.values[name]
    return all(isinstance(cell, str) and cell.casefold() in _BITS for cell in cells)


def _check_bits(columns: Columns, name: str) -> None:
    for row, cell in enumerate(columns.values[name]):
        if not isinstance(cell, str) or cell.casefold() not in _BITS:
            raise DataError(
                f"{columns.row_location(row)}: column {name} holds {cell!r}; a column that represents "
                "one label must hold 0 or 1.",
                hint=f"If its cells are labels: {format_flag('--label-column', name)}",
            )


def _may_be_label(columns: Columns, name: str) -> bool:
    """Whether values recur: ids and free text differ in each row, measurements are fractions."""
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
        sum(is_set_bit(columns.values[name][row]) for name in names) for row in range(len(columns))
    )
    if set(sums) == {1}:
        raise UsageError(
            f"{columns.path}: every row has exactly one 1 in {join_limited(names)}, so these may be "
            "classes or tags.",
            hint="Choose: --task classify (one label per row) or --task tag (any number).",
        )
    return "tag"


def is_set_bit(cell: object) -> bool:
    """Whether a validated 0/1 cell is 1."""
    return isinstance(cell, str) and cell.casefold() in ("1", "true", "1.0")


def reject_missing_header(columns: Columns, options: ReadOptions) -> None:
    """DataError if the names of a CSV file look like the cells below them: a label that recurs, a
    number above numbers, or a text. A column that the user names proves a header."""
    by_user = (options.text_column, options.path_column, *_columns_with_roles(options))
    if not columns.delimiter or any(name in columns.values for name in by_user):
        return
    kinds = {name: kind for name in columns.names if (kind := _kind_of_cell(columns, name))}
    usual = [name for name in columns.names if name not in kinds and _is_usual_name(name)]
    if not kinds or usual:
        return
    example = next(iter(kinds))
    roles = [
        kinds.get(name) or ("text" if _holds_texts(columns, name) else f"column{number}")
        for number, name in enumerate(columns.names, 1)
    ]
    unique = [role if roles.count(role) == 1 else f"{role}{at}" for at, role in enumerate(roles, 1)]
    text = next((name for name in columns.names if _holds_texts(columns, name)), example)
    raise DataError(
        f"{columns.path} has no header: its first line contains {example[:60]!r}, as a row would.",
        hint=f"Add a first line with the names of the columns, such as: {', '.join(unique)}. If the "
        f"first line is the header, name a column of it: {format_flag('--text-column', text)}",
    )


def _kind_of_cell(columns: Columns, name: str) -> str:
    """ "label", "number" or "text" if the name of a column looks like one of its cells; else ""."""
    cells = columns.values[name]
    filled = [cell for cell in cells if isinstance(cell, str) and cell]
    if is_number(name):
        count = len(columns.names)  # of columns that pandas or R numbers from 0 or 1
        numbers = [[str(at) for at in range(first, first + count)] for first in (0, 1)]
        is_position = columns.names in (*numbers, numbers[0][:-1])
        bits = [other for other in columns.names if is_number(other) and _are_bits(columns, other)]
        if is_position or len(bits) > 1 or not all(map(is_number, filled)):
            return ""
        return "label" if filled.count(name) > 1 else "number"
    if filled.count(name) > 1:
        return "label"
    is_long = len(name.split()) >= _NAME_WORDS or _count_cjk(name) >= _LETTERS
    return "text" if is_long and _holds_texts(columns, name) else ""


def _is_usual_name(name: str) -> bool:
    plain = name.casefold()
    known = _PATH_NAMES | _TEXT_NAMES | _LABEL_NAMES | _SPLIT_NAMES | _GROUP_NAMES
    return plain in known or re.search(_ID_NAME, plain) is not None


def choose_text_column(columns: Columns, root: Path, options: ReadOptions) -> str | None:
    """The column of texts, or None if the table names files.

    Raises:
        UsageError: more than one column may hold the texts; names the flag.
    """
    if options.text_column is not None:
        if options.path_column is not None:
            raise UsageError(
                "--text-column and --path-column exclude each other: rows are texts or files.",
                hint="Give one of the two.",
            )
        return columns.require_column(options.text_column, "--text-column")
    assigned = {
        options.label_column,
        *options.label_columns,
        options.split_column,
        options.group_column,
    }
    unassigned = [name for name in columns.names if name not in assigned]
    if options.path_column is not None or any(
        is_path_column(columns, root, name) for name in unassigned
    ):
        return None
    named = [name for name in unassigned if name.casefold() in _TEXT_NAMES]
    matches = named or [name for name in unassigned if _holds_texts(columns, name)]
    if len(matches) > 1:
        raise UsageError(
            f"{columns.path}: more than one column may hold the texts ({join_limited(matches)}).",
            hint=f"Choose one: {format_flag('--text-column', matches[0])}",
        )
    return matches[0] if matches else None


def _holds_texts(columns: Columns, name: str) -> bool:
    """Whether cells are sentences: several words (or CJK letters), and mostly distinct."""
    cells = [cell for cell in sample_cells(columns, name) if cell]
    if not cells or 2 * len(set(cells)) < len(cells):
        return False
    words = sum(len(cell.split()) for cell in cells) / len(cells)
    letters = sum(map(_count_cjk, cells)) / len(cells)
    return words >= _WORDS or letters >= _LETTERS


def _count_cjk(text: str) -> int:
    """The number of letters of scripts without spaces."""
    return sum(ord(letter) > 0x2E7F for letter in text)
