"""Commands that hints give for data that is almost readable. Tests run each of them in a shell."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from skipstone.core.disk import open_regular
from skipstone.core.errors import SkipstoneError
from skipstone.core.formatting import quote_path
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import SPLIT_NAMES
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.csv_records import Dialect, detect_dialect, read_csv_records
from skipstone.data.readers.scan import is_regular_file, walk_folders

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
#: A file whose name is a label and a number; also for sed.
_LABEL_IN_NAME = re.compile(r"([A-Za-z][A-Za-z_ -]*[A-Za-z])[_ (.-]*[0-9]+\)?\.[A-Za-z]+")
#: Files of text formats that are data of other kinds.
_NOT_TEXTS = frozenset({".json", ".xml", ".yaml", ".yml", ".ini", ".toml"}) | TABLE_SUFFIXES
_FILES_TO_OPEN = 20
_HEAD = 512


def split_words(name: str) -> set[str]:
    """The words of a name in lower case, without single letters: trainA, "Training Data"."""
    return {word.casefold() for word in _WORD.findall(name) if len(word) > 1}


def choose_training_part(paths: Sequence[Path]) -> Path:
    """Of files or folders of several parts the one to train on: not a test part if there is
    another."""

    def rank(path: Path) -> int:
        words = split_words(path.name)
        if not words & SPLIT_NAMES.keys():
            words = split_words(path.parent.name)
        splits = {SPLIT_NAMES[word] for word in words & SPLIT_NAMES.keys()}
        return 0 if "train" in splits else 2 if splits else 1

    return min(paths, key=rank)


def make_table_of_names(folder: Path, names: Sequence[str]) -> str:
    """The command that makes a table of file names that begin with a label (cat_1.jpg, cat.1.jpg);
    "" if they do not.

    Args:
        names: of all files directly in the folder.
    """
    labels = [label[1] for name in names if (label := _LABEL_IN_NAME.fullmatch(name))]
    counts = Counter(labels).values()
    if len(counts) < 2 or min(counts) < 2 or len(labels) < len(names):
        return ""
    table = quote_path(folder.with_name(f"{folder.resolve().name}.csv"))
    return (
        f"If names begin with the label, as {names[0]}, make a table from them: (echo path,label; "
        f"ls {quote_path(folder)} | sed -nE 's/^{_LABEL_IN_NAME.pattern}$/&,\\1/p') > {table}; then: "
        f"skipstone train {table} --path-folder {quote_path(folder)}"
    )


def join_part_tables(root: Path, tables: Sequence[Path]) -> str:
    """The command that joins the tables of split folders to one with a split column; "" unless
    they have the same columns, and the first one names files next to the table."""
    try:
        dialects = {detect_dialect(table, ReadOptions(bad_bytes="replace")) for table in tables}
        (dialect,) = dialects
        headers = {tuple(_first_records(table, dialect)[0]) for table in tables}
        is_path = [
            (table.parent / _first_records(table, dialect)[1][0]).is_file() for table in tables
        ]
    except (SkipstoneError, OSError, ValueError, IndexError):
        return ""
    folders = {table.parent for table in tables}
    if len(headers) > 1 or not all(is_path) or len(folders) < len(tables) or len(tables) < 2:
        return ""
    joined = quote_path(root.with_name(f"{root.resolve().name}.csv"))
    mark = dialect.delimiter.replace("\t", "\\t")
    program = (
        f'{{sub(/\\r$/, "")}} FNR == 1 {{if (NR == 1) print $0 "{mark}split"; next}} '
        f'{{n = split(FILENAME, part, "/"); print part[n-1] "/" $0 "{mark}" part[n-1]}}'
    )
    return (
        f"Join the tables: awk {shlex.quote(program)} {' '.join(map(quote_path, tables))} > {joined}; "
        f"then: skipstone train {joined} --path-folder {quote_path(root)}"
    )


def _first_records(table: Path, dialect: Dialect) -> list[list[str]]:
    """The header and the first row."""
    records = read_csv_records(table, dialect)
    return [next(records)[1] for _ in range(2)]


def rename_texts(root: Path) -> tuple[str, str]:
    """(what the folder holds, the command that gives the files of a copy the ending .txt), if most
    files are texts with another ending or without one; else two empty strings."""
    suffixes: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for _, files in walk_folders(root, Counter()):
        for path, entry in files:
            if is_regular_file(entry):
                suffix = Path(entry.name).suffix
                suffix = "" if suffix[1:].isdecimal() else suffix
                suffixes[suffix] += 1
                examples.setdefault(suffix, []).append(path)
    if not suffixes:
        return "", ""
    (suffix, count), *_ = suffixes.most_common(1)
    sample = [root / path for path in examples[suffix][:_FILES_TO_OPEN]]
    is_other = suffix.casefold() in (*_NOT_TEXTS, ".txt")
    if is_other or count < 2 or 2 * count < suffixes.total() or not all(map(_is_text, sample)):
        return "", ""
    new = quote_path(root.with_name(f"{root.resolve().name}-txt"))
    names = f"-name {shlex.quote(f'*{suffix}')}" if suffix else "! -name '*.txt'"
    ending = "${file%" + suffix + "}.txt" if suffix else "$file.txt"
    move = shlex.quote(f'for file; do mv "$file" "{ending}"; done')
    return (
        f"{count:,} texts {'that end in ' + suffix if suffix else 'without an ending'}",
        f"cp -r {quote_path(root)} {new} && find {new} -type f {names} -exec sh -c "
        f"{move} _ {{}} +; then: skipstone train {new}",
    )


def _is_text(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    letters = head.decode("utf-8", "replace")[:-1]  # the last letter may be cut
    return bool(head) and "\0" not in letters and letters.count("\ufffd") * 10 <= len(letters)
