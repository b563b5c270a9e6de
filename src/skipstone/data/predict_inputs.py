"""The items to predict: files, folders of files, rows of tables, and texts from the command line.

A table gives one source per row, as in training, with or without labels. `row_content` of the input's spec
says what a row is: its "cells" hold the source, or name its "files".
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.core.errors import DataError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.formatting import format_flag, join_limited, quote_path
from skipstone.core.specs import InputSpec, resolve_target
from skipstone.data.input_files import (
    SkipCheck,
    hidden_name_reason,
    load_conversions,
    make_skip_check,
    read_head,
)
from skipstone.data.options import ColumnRef, ReadOptions
from skipstone.data.path_diagnostics import folder_before_pattern, parse_url
from skipstone.data.readers.columns import Columns, describe_long_lines, detect_table, read_columns
from skipstone.data.readers.scan import walk_folders
from skipstone.data.readers.table_columns import (
    choose_path_column,
    choose_text_column,
    is_path_column,
    reject_missing_header,
    resolve_path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import FileLookup
from skipstone.data.sources import FileRef, Inline, Source, encode_utf8

STANDARD_INPUT = "-"
_EMPTY_TEXT = "holds no text"


@dataclass(frozen=True)
class PredictItem:
    """Args:
    source: where the bytes are.
    relative_path: path relative to the folder that the user named; the file's name if they named a file.
    row: row of a table, from 0; None for other sources.
    problem: why no prediction is possible; "" if none is known.
    window: (begin, end) in seconds of a part of a recording; None for a whole source.
    """

    source: Source
    relative_path: Path
    row: int | None = None
    problem: str = ""
    window: tuple[float, float] | None = None


def list_predict_items(
    paths: Sequence[str | Path],
    texts: Sequence[str],
    *,
    input: InputSpec,
    options: ReadOptions,
) -> list[PredictItem]:
    """Every item to predict, in order.

    Args:
        paths: files, folders, tables, or "-" for the lines of standard input.
        texts: texts themselves, not files.
        input: the spec of the model's input. Files inside a folder that it cannot read are
            skipped, as in training; of the files that the user named, those that should be
            converted become items with that problem.

    Raises:
        UsageError: nothing to predict, or a table whose source column is ambiguous.
    """
    rows = input.row_content
    if texts and rows != "cells":
        raise UsageError(
            f"--text needs a model that reads texts; this model's input is {input.name}.",
            hint="Name files instead.",
        )
    items: list[PredictItem] = []
    for name in paths:
        path = Path(name)
        if str(name) == STANDARD_INPUT:
            items += _lines(input, cells=rows == "cells")
        elif path.is_dir():
            items += _folder(path, input)
        elif rows is not None and detect_table(path):
            read: Callable[[Path, ReadOptions], Iterator[PredictItem]] = _ROWS[rows]
            items += read(path, options)
        else:
            items.append(_file(name, input))
    items += [_inline(encode_utf8(text), f"text {n}") for n, text in enumerate(texts, 1)]
    if not items:
        raise UsageError(
            "nothing to predict.",
            hint="Name files, folders or a table" + ("; or --text." if rows == "cells" else "."),
        )
    return items


def _skip_check(input: InputSpec) -> SkipCheck:
    """Why the model cannot predict a file of a folder, or None."""
    if input.predict_skip_reason is not None:
        check: SkipCheck = resolve_target(input.predict_skip_reason)
        return check
    return make_skip_check(input) if input.suffixes else lambda name, head: None


def _file(name: str | Path, input: InputSpec) -> PredictItem:
    path = Path(name)
    problem = ""
    if not path.exists():
        if (address := parse_url(path)) is not None:
            problem = (
                f"{address} is a URL; skipstone does not download. Download it, then name the file"
            )
        elif input.row_content == "cells" and (" " in str(path) or not path.suffix):
            text = shlex.quote(str(name))
            raise UsageError(
                f"the file {text} does not exist.",
                hint=f"To predict for the text itself: --text {text}",
            )
        elif any(char in str(path) for char in "*?["):
            raise UsageError(
                f"no file matches the pattern {path}.",
                hint=f"List the files: ls {quote_path(folder_before_pattern(path))}",
            )
    else:
        reason = _skip_check(input)(path.name, read_head(path))
        problem = reason if reason is not None and reason in load_conversions([input]) else ""
    # A missing file becomes an error row; prediction continues with the others.
    return PredictItem(FileRef(path), Path(path.name), problem=problem)


def _folder(folder: Path, input: InputSpec) -> list[PredictItem]:
    skipped: Counter[str] = Counter()
    files, check = [], _skip_check(input)
    for file in sorted(_walk(folder)):
        reason = check(file.name, read_head(file))
        if reason is None or not file.is_file():
            files.append(file)
        else:
            skipped[reason] += 1
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    if not files:
        raise UsageError(
            f"{folder} holds {f'only {reasons}' if skipped else 'no files'}; nothing to predict.",
            hint=f"List the files: ls -A {quote_path(folder)}",
        )
    if skipped:
        emit_note(f"Skipped in {folder}: {reasons}.")
    return [PredictItem(FileRef(file), file.relative_to(folder)) for file in files]


def _walk(folder: Path) -> Iterator[Path]:
    for _, files in walk_folders(folder, Counter(), skip_reason=hidden_name_reason):
        yield from (folder / name for name, _ in files)


def _lines(input: InputSpec, *, cells: bool) -> Iterator[PredictItem]:
    """Standard input: one text per line (`cells`), or one path per line."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        line = line.rstrip(b"\r\n")
        if cells:
            yield _inline(line, f"line {number}")
        elif line.strip():
            yield _file(os.fsdecode(line), input)


def _inline(data: bytes, name: str) -> PredictItem:
    return PredictItem(Inline(data, name), Path(name), problem="" if data.strip() else _EMPTY_TEXT)


def _cells(path: Path, options: ReadOptions) -> Iterator[PredictItem]:
    """A table of texts, or of the paths of text files."""
    columns = read_columns(path, options, min_columns=1)
    reject_missing_header(columns, options)
    column = choose_text_column(columns, path.parent, options)
    if column is None and len(columns.names) == 1:
        column = columns.names[0]
    if column is None and _names_files(columns, path, options):
        yield from _files(path, options)
        return
    if column is None:
        raise UsageError(
            f"{path}: cannot infer which column holds the texts ({join_limited(columns.names, 12)}).",
            hint=f"Name it: {format_flag('--text-column', columns.names[0])}",
        )
    if columns.long_lines:
        emit_note(f"{path}: {describe_long_lines(columns)}")
    cells = ColumnRef(column, options.delimiter, options.encoding, options.quoting)
    for row, text in enumerate(columns.text_cells(column)):
        source = FileRef(path, row, cells)
        yield PredictItem(source, Path(path.name), row, "" if text else _EMPTY_TEXT)


def _names_files(columns: Columns, path: Path, options: ReadOptions) -> bool:
    if options.path_column is not None:
        return True
    return any(is_path_column(columns, path.parent, name) for name in columns.names)


def _files(path: Path, options: ReadOptions) -> Iterator[PredictItem]:
    """A table that names files."""
    columns = read_columns(path, options, min_columns=1)
    root = path.parent
    column, search = choose_path_column(columns, root, options)
    files = FileLookup(root, resolve_path_folder(options), search=search)
    files.infer_path_prefix(sample_cells(columns, column))
    for row, cell in enumerate(columns.text_cells(column)):
        problem = "" if cell else "names no file"
        try:
            found_path = files.find_file(cell)
        except DataError as error:
            found_path, problem = None, str(error)
        source = FileRef(root / (found_path or cell or path.name))
        yield PredictItem(source, Path(found_path or cell or path.name), row, problem)


_ROWS = {"cells": _cells, "files": _files}
