"""What a person asks a model about: files, folders of files, rows of tables, texts as they are.

A table gives one source a row, as in training, whether it has labels or not. Which way its rows are
sources the input says (its fact `rows`): "cells" hold them, or name "files".
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

#: (name, first bytes) -> why a file is nothing that a model answers, or None.
Unfit = Callable[[str, bytes], str | None]

STANDARD_INPUT = "-"
_NOTHING = "holds no text"


@dataclass(frozen=True)
class Asked:
    """Args:
    source: what is answered.
    below: its path below the folder that was given; its name, where it was given itself.
    row: of a table, counted from 0; None elsewhere.
    problem: why it cannot be answered; "" where it may be.
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
    """Every source, in order.

    Args:
        given: files, folders, tables, or "-" for the lines of standard input.
        texts: as they are.
        input: the name of the model's input, for messages.
        rows: its fact `rows`.
        unfit: its fact `unfit`. Files of folders that are unfit are passed over, as in training;
            those that were named are answered with the reason.

    Raises:
        UsageError: there is nothing, or a table whose rows cannot be told.
    """
    if texts and rows != "cells":
        raise UsageError(
            f"--text is for models that read texts; this one's input is {input}.",
            hint="Name files instead.",
        )
    found: list[Asked] = []
    for name in given:
        path = Path(name)
        if str(name) == STANDARD_INPUT:
            found += _lines(unfit, cells=rows == "cells")
        elif path.is_dir():
            found += _folder(path, unfit)
        elif rows is not None and sniff_table(path):
            read: Callable[[Path, ReadOptions], Iterator[Asked]] = _ROWS[rows]
            found += read(path, options)
        else:
            found.append(_file(name, unfit))
    found += [_inline(in_utf8(text), f"text {n}") for n, text in enumerate(texts, 1)]
    if not found:
        raise UsageError(
            "there is nothing to predict.",
            hint="Name files, folders or a table" + ("; or --text." if rows == "cells" else "."),
        )
    return found


def _file(name: str | Path, unfit: Unfit | None) -> Asked:
    path = Path(name)
    problem = ""
    if not path.exists():
        if (address := as_address(path)) is not None:
            problem = (
                f"{address} is an address; nothing is fetched. Get it first, and name the file"
            )
        elif any(char in str(path) for char in "*?["):
            raise UsageError(
                f"no file matches {path}: the shell passed the pattern on as it is.",
                hint=f"See what is there: ls {quoted(before_pattern(path))}",
            )
    elif unfit is not None and (reason := unfit(path.name, first_bytes(path))) == RAW:
        problem = reason
    # A missing file is one error row, too; the rest goes on.
    return Asked(FileRef(path), Path(path.name), problem=problem)


def _folder(folder: Path, unfit: Unfit | None) -> list[Asked]:
    passed: Counter[str] = Counter()
    inside = []
    for file in sorted(_walk(folder)):
        reason = None if unfit is None else unfit(file.name, first_bytes(file))
        if reason is None or not file.is_file():
            inside.append(file)
        else:
            passed[reason] += 1
    what = ", ".join(f"{count:,} {reason}" for reason, count in passed.most_common())
    if not inside:
        raise UsageError(
            f"{folder} holds {f'only {what}' if passed else 'no file'}; there is nothing to "
            "predict.",
            hint=f"See what is there: ls -A {quoted(folder)}",
        )
    if passed:
        note(f"Passed over in {folder}: {what}.")
    return [Asked(FileRef(file), file.relative_to(folder)) for file in inside]


def _walk(folder: Path) -> Iterator[Path]:
    for _, files in walk(folder, Counter(), unfit=passed_over_name):
        yield from (folder / name for name, _ in files)


def _lines(unfit: Unfit | None, *, cells: bool) -> Iterator[Asked]:
    """Standard input: a text a line, or a path."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        line = line.rstrip(b"\r\n")
        if cells:
            yield _inline(line, f"line {number}")
        elif line.strip():
            yield _file(os.fsdecode(line), unfit)


def _inline(data: bytes, name: str) -> Asked:
    return Asked(Inline(data, name), Path(name), problem="" if data.strip() else _NOTHING)


def _cells(path: Path, options: ReadOptions) -> Iterator[Asked]:
    """A table of texts; or of the files that hold them."""
    columns = read_columns(path, options, least=1)
    column = text_column(columns, path.parent, options)
    if column is None and len(columns.names) == 1:
        column = columns.names[0]
    if column is None and _names_files(columns, path, options):
        yield from _files(path, options)
        return
    if column is None:
        raise UsageError(
            f"{path}: no column stands out as the one that holds the texts "
            f"({listed(columns.names, 12)}).",
            hint=f"Say which: --text-column {columns.names[0]}",
        )
    cells = Cells(column, options.delimiter, options.encoding)
    for row, text in enumerate(columns.text(column)):
        source = FileRef(path, row, cells)
        yield Asked(source, Path(path.name), row, "" if text else _NOTHING)


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
            place = files.find(cell)
        except DataError as error:
            place, problem = None, str(error)
        source = FileRef(root / (place or cell or path.name))
        yield Asked(source, Path(place or cell or path.name), row, problem)


_ROWS = {"cells": _cells, "files": _files}
