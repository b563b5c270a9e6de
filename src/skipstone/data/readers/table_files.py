r"""Resolve a cell of a table to a file.

    img/7.jpg      a path relative to the table's folder, or absolute; also img\7.jpg, and in
                   different letter case
    7.jpg          if no column holds such paths: the only file of that name in a subfolder
    7              ... with any extension, and with or without leading zeros (007.jpg)
    C:\Users\ann\photos\cat\7.jpg, /data/upload/1/7.jpg, https://host/7.jpg
                   if most cells share such a prefix: the local cat/7.jpg, or 7.jpg

Each folder is listed once: a system call per file would take minutes for ten million rows.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skipstone.core.errors import DataError
from skipstone.data.input_files import list_main_inputs, list_suffixes
from skipstone.data.readers.scan import is_regular_file, walk_folders

IN_SUBFOLDERS = "in subfolders"
OTHER_CASE = "in different letter case"
WITHOUT_EXTENSION = "without their extension"
WITHOUT_ZEROS = "without their leading zeros"
FOREIGN_PATH = "by the end of paths of another machine"

#: The start of an absolute path: a drive, a share, a URL. In Label Studio's /data/local-files/ URLs
#: the folders follow "?d=".
_ROOTED = re.compile(r"[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]+://|[\\/]")
_SEPARATORS = re.compile(r"[\\/]+|\?d=")


def is_absolute_path(cell: str) -> bool:
    """Whether a cell is absolute on some machine: begins with /, a drive or a URL scheme."""
    return _ROOTED.match(cell) is not None


@dataclass(frozen=True, slots=True)
class FileMatch:
    """Args:
    path: relative to the table's folder with "/", or absolute if outside it.
    how: how the file was found; "" if the cell is its exact path.
    """

    path: str
    correction: str = ""


class FileLookup:
    """Looks up the files that cells refer to.

    Args:
        root: the table's folder; resulting paths are relative to it.
        folder: the folder that cells are relative to; default: the table's.
        search: whether to search for names and stems in the subfolders of `folder`.
    """

    def __init__(self, root: Path, folder: Path | None = None, *, search: bool = False) -> None:
        self.root = root
        self.folder = root if folder is None else folder
        self.search = search
        self.foreign_prefix: tuple[str, ...] = ()  # prefix of paths of another machine
        self.corrections: Counter[str] = Counter()
        self.correction_example = ""
        self._suffixes = list_suffixes(list_main_inputs())
        self._inside: dict[str, dict[str, list[str]]] = {}
        self._names: dict[str, list[str]] | None = None
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._numbers: dict[str, list[str]] = defaultdict(list)

    def infer_path_prefix(self, cells: Iterable[str]) -> None:
        """Infer from a sample of cells the common prefix of another machine's paths. At least half
        of the cells must resolve without that prefix, so that a missing file is not mistaken for
        another file of the same name."""
        filled = [cell for cell in cells if cell]
        counts = Counter(prefix for cell in filled if (prefix := self._beginning(cell)))
        for prefix, count in counts.most_common(1):
            if 2 * count >= len(filled):
                self.foreign_prefix = prefix

    def _beginning(self, cell: str) -> tuple[str, ...]:
        """The prefix to remove from a path to find its file; () if the path is relative or exists,
        or if no prefix helps."""
        if not is_absolute_path(cell) or self._at(cell) is not None:
            return ()
        parts = _SEPARATORS.split(cell)
        for count in range(1, len(parts)):
            rest = "/".join(parts[count:])
            if self._at(rest) is not None or (self.search and self._one_below(rest)):
                return tuple(parts[:count])
        return ()

    def _one_below(self, cell: str) -> bool:
        try:
            return self._below(cell) is not None
        except DataError:
            return False

    def _moved_here(self, cell: str) -> FileMatch | None:
        parts = tuple(_SEPARATORS.split(cell))
        if not self.foreign_prefix or parts[: len(self.foreign_prefix)] != self.foreign_prefix:
            return None
        rest = "/".join(parts[len(self.foreign_prefix) :])
        match = self._at(rest) or (self._below(rest) if self.search else None)
        return None if match is None else FileMatch(match.path, FOREIGN_PATH)

    def find_file(self, cell: str) -> str | None:
        """The path of the file that a cell refers to, or None. Counts inexact matches.

        Raises:
            DataError: several files match.
        """
        match = self._match(cell)
        if match is None:
            return None
        if match.correction:
            self.corrections[match.correction] += 1
            self.correction_example = self.correction_example or f"{cell} is {match.path}"
        return match.path

    def has_match(self, cell: str) -> bool:
        """Whether one or more files match."""
        try:
            return self._match(cell) is not None
        except DataError:
            return True

    def _match(self, cell: str) -> FileMatch | None:
        match = self._at(cell) or self._moved_here(cell)
        return self._below(cell) if match is None and self.search else match

    def _at(self, cell: str) -> FileMatch | None:
        for spelling in dict.fromkeys((cell, cell.replace("\\", "/"))):
            if not spelling or "\0" in spelling:
                continue
            folder, name = os.path.split(spelling)
            similar = self._listed(folder).get(_key(name), [])
            if name in similar:
                return FileMatch(self._relative(spelling))
            if len(similar) == 1:
                return FileMatch(self._relative(os.path.join(folder, similar[0])), OTHER_CASE)  # noqa: PTH118
        return None

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """{normalized name: names} of the files in a folder."""
        if folder not in self._inside:
            names: dict[str, list[str]] = defaultdict(list)
            try:
                with os.scandir(self.folder / folder) as entries:
                    for entry in entries:
                        if entry.is_file():
                            names[_key(entry.name)].append(entry.name)
            except (OSError, ValueError):
                pass
            self._inside[folder] = dict(names)
        return self._inside[folder]

    def _relative(self, spelling: str) -> str:
        path = Path(os.path.normpath(self.folder.absolute() / spelling))
        root = Path(os.path.normpath(self.root.absolute()))
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    def _below(self, cell: str) -> FileMatch | None:
        cell_path = PurePosixPath(cell.replace("\\", "/"))
        if not cell or "\0" in cell or cell_path.is_absolute() or ".." in cell_path.parts:
            return None
        names = self._indexed()
        base, parents = _key(cell_path.name), [_key(part) for part in cell_path.parts[:-1]]
        attempts = [
            (names.get(base, []), IN_SUBFOLDERS),
            (self._stems.get(base, []), WITHOUT_EXTENSION),
        ]
        if base.isascii() and base.isdecimal():
            attempts.append((self._numbers.get(base.lstrip("0"), []), WITHOUT_ZEROS))
        for candidates, how in attempts:
            matches = [path for path in candidates if _lies_in(path, parents)]
            if len(matches) > 1:
                raise DataError(
                    f"{cell} may be {matches[0]} or {matches[1]}.",
                    hint="Name the folder that paths are relative to: --path-folder FOLDER",
                )
            if matches:
                return FileMatch(self._relative(matches[0]), how)
        return None

    def _indexed(self) -> dict[str, list[str]]:
        """{normalized name: paths relative to the folder} of every file below. Also indexes
        files of inputs (without sidecars) by stem and by numeric stem."""
        if self._names is not None:
            return self._names
        self._names = defaultdict(list)
        with contextlib.suppress(DataError):  # an unreadable folder holds no matches
            for _, files in walk_folders(self.folder, Counter()):
                for path, entry in files:
                    if is_regular_file(entry):
                        self._index(path, entry.name)
        return self._names

    def _index(self, path: str, name: str) -> None:
        assert self._names is not None
        self._names[_key(name)].append(path)
        if name.lower().endswith(self._suffixes):
            stem, _ = os.path.splitext(name)  # noqa: PTH122
            self._stems[_key(stem)].append(path)
            if stem.isascii() and stem.isdecimal():
                self._numbers[stem.lstrip("0")].append(path)


def _lies_in(path: str, parents: list[str]) -> bool:
    """Whether the path's folders end with `parents`."""
    folders = [_key(part) for part in path.split("/")[:-1]]
    return not parents or folders[-len(parents) :] == parents


def _key(name: str) -> str:
    """A normalized name: macOS stores letters decomposed, Windows ignores case."""
    return unicodedata.normalize("NFC", name).casefold()
