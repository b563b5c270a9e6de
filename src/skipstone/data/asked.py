"""The items to predict: files, folders of files, rows of tables, and texts from the command line.

A table gives one source per row, as in training, with or without labels. The input's fact `rows`
says what a row is: its "cells" hold the source, or name its "files".
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skipstone.data.file_types import RAW, passed_over_name
from skipstone.data.options import ReadOptions
from skipstone.data.readers.columns import Columns, read_columns, sniff_table
from skipstone.data.readers.scan import first_bytes, walk
from skipstone.data.readers.table_columns import (
    names_files,
    path_column,
    path_folder,
    sample_cells,
)
from skipstone.data.readers.table_files import Files
from skipstone.data.readers.text_columns import text_column
from skipstone.data.refusals import as_address, before_pattern
from skipstone.data.sources import Cells, FileRef, Inline, Source, in_utf8
from skipstone.errors import DataError, UsageError
from skipstone.events import note
from skipstone.words import listed, quoted

#: (name, first bytes) -> why the model cannot predict this file, or None.
Unfit = Callable[[str, bytes], str | None]

STANDARD_INPUT = "-"
_EMPTY_TEXT = "holds no text"


@dataclass(frozen=True)
class Asked:
    """Args:
    source: where the bytes are.
    below: path relative to the folder that the user named; the file's name if they named a file.
    row: row of a table, from 0; None for other sources.
    problem: why no prediction is possible; "" if none is known.
    """

    source: Source
    below: Path
    row: int | None = None
    problem: str = ""


def asked(
    given: Sequence[str | Path],
    texts: Sequence[str],
    *,
    input: str,
    rows: str | None,
    options: ReadOptions,
    unfit: Unfit | None = None,
) -> list[Asked]:
    """Every item to predict, in order.

    Args:
        given: files, folders, tables, or "-" for the lines of standard input.
        texts: texts themselves, not files.
        input: the name of the model's input, for messages.
        rows: the input's fact `rows`.
        unfit: the input's fact `unfit`. Unfit files inside a folder are skipped, as in training;
            an unfit file that the user named becomes an item with the reason as its problem.

    Raises:
        UsageError: nothing to predict, or a table whose source column is ambiguous.
    """
    if texts and rows != "cells":
        raise UsageError(
            f"--text needs a model that reads texts; this model's input is {input}.",
            hint="Name files instead.",
        )
    items: list[Asked] = []
    for name in given:
        path = Path(name)
        if str(name) == STANDARD_INPUT:
            items += _lines(unfit, cells=rows == "cells")
        elif path.is_dir():
            items += _folder(path, unfit)
        elif rows is not None and sniff_table(path):
            read: Callable[[Path, ReadOptions], Iterator[Asked]] = _ROWS[rows]
            items += read(path, options)
        else:
            items.append(_file(name, unfit))
    items += [_inline(in_utf8(text), f"text {n}") for n, text in enumerate(texts, 1)]
    if not items:
        raise UsageError(
            "nothing to predict.",
            hint="Name files, folders or a table" + ("; or --text." if rows == "cells" else "."),
        )
    return items


def _file(name: str | Path, unfit: Unfit | None) -> Asked:
    path = Path(name)
    problem = ""
    if not path.exists():
        if (address := as_address(path)) is not None:
            problem = (
                f"{address} is a URL; skipstone does not download. Download it, then name the file"
            )
        elif any(char in str(path) for char in "*?["):
            raise UsageError(
                f"no file matches the pattern {path}.",
                hint=f"List the files: ls {quoted(before_pattern(path))}",
            )
    elif unfit is not None and (reason := unfit(path.name, first_bytes(path))) == RAW:
        problem = reason
    # A missing file becomes an error row; prediction continues with the others.
    return Asked(FileRef(path), Path(path.name), problem=problem)


def _folder(folder: Path, unfit: Unfit | None) -> list[Asked]:
    skipped: Counter[str] = Counter()
    files = []
    for file in sorted(_walk(folder)):
        reason = None if unfit is None else unfit(file.name, first_bytes(file))
        if reason is None or not file.is_file():
            files.append(file)
        else:
            skipped[reason] += 1
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.most_common())
    if not files:
        raise UsageError(
            f"{folder} holds {f'only {reasons}' if skipped else 'no files'}; nothing to predict.",
            hint=f"List the files: ls -A {quoted(folder)}",
        )
    if skipped:
        note(f"Skipped in {folder}: {reasons}.")
    return [Asked(FileRef(file), file.relative_to(folder)) for file in files]


def _walk(folder: Path) -> Iterator[Path]:
    for _, files in walk(folder, Counter(), unfit=passed_over_name):
        yield from (folder / name for name, _ in files)


def _lines(unfit: Unfit | None, *, cells: bool) -> Iterator[Asked]:
    """Standard input: one text per line (`cells`), or one path per line."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        line = line.rstrip(b"\r\n")
        if cells:
            yield _inline(line, f"line {number}")
        elif line.strip():
            yield _file(os.fsdecode(line), unfit)


def _inline(data: bytes, name: str) -> Asked:
    return Asked(Inline(data, name), Path(name), problem="" if data.strip() else _EMPTY_TEXT)


def _cells(path: Path, options: ReadOptions) -> Iterator[Asked]:
    """A table of texts, or of the paths of text files."""
    columns = read_columns(path, options, least=1)
    column = text_column(columns, path.parent, options)
    if column is None and len(columns.names) == 1:
        column = columns.names[0]
    if column is None and _names_files(columns, path, options):
        yield from _files(path, options)
        return
    if column is None:
        raise UsageError(
            f"{path}: cannot infer which column holds the texts ({listed(columns.names, 12)}).",
            hint=f"Name it: --text-column {columns.names[0]}",
        )
    cells = Cells(column, options.delimiter, options.encoding)
    for row, text in enumerate(columns.text(column)):
        source = FileRef(path, row, cells)
        yield Asked(source, Path(path.name), row, "" if text else _EMPTY_TEXT)


def _names_files(columns: Columns, path: Path, options: ReadOptions) -> bool:
    if options.path_column is not None:
        return True
    return any(names_files(columns, path.parent, name) for name in columns.names)


def _files(path: Path, options: ReadOptions) -> Iterator[Asked]:
    """A table that names files."""
    columns = read_columns(path, options, least=1)
    root = path.parent
    column, search = path_column(columns, root, options)
    files = Files(root, path_folder(options), search=search)
    files.settle(sample_cells(columns, column))
    for row, cell in enumerate(columns.text(column)):
        problem = "" if cell else "names no file"
        try:
            found_path = files.find(cell)
        except DataError as error:
            found_path, problem = None, str(error)
        source = FileRef(root / (found_path or cell or path.name))
        yield Asked(source, Path(found_path or cell or path.name), row, problem)


_ROWS = {"cells": _cells, "files": _files}
