r"""Which file a cell of a table means.

    img/7.jpg      a path from the table's folder, or absolute; also img\7.jpg, and in other case
    7.jpg          where no column holds such paths: the one file of that name in a folder below
    7              ... whatever its extension, and with or without leading zeros (007.jpg)
    C:\Users\ann\photos\cat\7.jpg, /data/upload/1/7.jpg, https://host/7.jpg
                   where most of a column begins so: cat/7.jpg, or 7.jpg, here

Folders are listed once: asking for each file would cost minutes in ten million rows.
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

from skipstone.data.file_types import PICTURE_SUFFIXES
from skipstone.data.readers.scan import is_file, walk
from skipstone.errors import DataError

BELOW = "in folders below"
CASE = "in other letter case"
EXTENSION = "without their extension"
ZEROS = "without their leading zeros"
MOVED = "by the end of paths that lead elsewhere"

#: A path from the root of some machine: a drive, a share, an address; folders of /data/local-files/
#: (Label Studio) stand behind "?d=".
_ROOTED = re.compile(r"[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]+://|[\\/]")
_BETWEEN = re.compile(r"[\\/]+|\?d=")


def is_rooted(cell: str) -> bool:
    """Whether a cell begins at the root of some machine: absolute, with a drive, an address."""
    return _ROOTED.match(cell) is not None


@dataclass(frozen=True, slots=True)
class Found:
    """Args:
    path: relative to the table's folder with "/", or absolute where it lies elsewhere.
    how: what was made up for; "" where the cell is the path.
    """

    path: str
    how: str = ""


class Files:
    """The files that cells may mean.

    Args:
        root: the table's folder, which found paths are relative to.
        folder: which cells count from; the table's own by default.
        search: whether names and stems of files below `folder` count, too.
    """

    def __init__(self, root: Path, folder: Path | None = None, *, search: bool = False) -> None:
        self.root = root
        self.folder = root if folder is None else folder
        self.search = search
        self.moved: tuple[str, ...] = ()  # what paths of another machine begin with
        self.made_up: Counter[str] = Counter()
        self.example = ""
        self._inside: dict[str, dict[str, list[str]]] = {}
        self._names: dict[str, list[str]] | None = None
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._numbers: dict[str, list[str]] = defaultdict(list)

    def settle(self, cells: Iterable[str]) -> None:
        """Find out from some cells of a column whether its paths are of another machine, where they
        begin alike with what is not here. Half of them have to be found behind the same beginning,
        so that a file that is missing is not taken for one of its name elsewhere."""
        every = [cell for cell in cells if cell]
        begins = Counter(found for cell in every if (found := self._beginning(cell)))
        for found, count in begins.most_common(1):
            if 2 * count >= len(every):
                self.moved = found

    def _beginning(self, cell: str) -> tuple[str, ...]:
        """What has to go from the front of a path for it to be here; () where nothing helps, or
        nothing is needed."""
        if not is_rooted(cell) or self._at(cell) is not None:
            return ()
        parts = _BETWEEN.split(cell)
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

    def _moved_here(self, cell: str) -> Found | None:
        parts = tuple(_BETWEEN.split(cell))
        if not self.moved or parts[: len(self.moved)] != self.moved:
            return None
        rest = "/".join(parts[len(self.moved) :])
        found = self._at(rest) or (self._below(rest) if self.search else None)
        return None if found is None else Found(found.path, MOVED)

    def find(self, cell: str) -> str | None:
        """The path of the file that a cell means, or None. Counts what it had to make up for.

        Raises:
            DataError: it may mean several.
        """
        found = self._found(cell)
        if found is None:
            return None
        if found.how:
            self.made_up[found.how] += 1
            self.example = self.example or f"{cell} is {found.path}"
        return found.path

    def means_one(self, cell: str) -> bool:
        """Whether there is a file for it, or several."""
        try:
            return self._found(cell) is not None
        except DataError:
            return True

    def _found(self, cell: str) -> Found | None:
        found = self._at(cell) or self._moved_here(cell)
        return self._below(cell) if found is None and self.search else found

    def _at(self, cell: str) -> Found | None:
        for spelled in dict.fromkeys((cell, cell.replace("\\", "/"))):
            if not spelled or "\0" in spelled:
                continue
            folder, name = os.path.split(spelled)
            alike = self._listed(folder).get(_key(name), [])
            if name in alike:
                return Found(self._relative(spelled))
            if len(alike) == 1:
                return Found(self._relative(os.path.join(folder, alike[0])), CASE)  # noqa: PTH118
        return None

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """{key: names} of the files in a folder."""
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

    def _relative(self, spelled: str) -> str:
        path = Path(os.path.normpath(self.folder.absolute() / spelled))
        root = Path(os.path.normpath(self.root.absolute()))
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()

    def _below(self, cell: str) -> Found | None:
        wanted = PurePosixPath(cell.replace("\\", "/"))
        if not cell or "\0" in cell or wanted.is_absolute() or ".." in wanted.parts:
            return None
        names = self._indexed()
        base, parents = _key(wanted.name), [_key(part) for part in wanted.parts[:-1]]
        ways = [(names.get(base, []), BELOW), (self._stems.get(base, []), EXTENSION)]
        if base.isascii() and base.isdecimal():
            ways.append((self._numbers.get(base.lstrip("0"), []), ZEROS))
        for candidates, how in ways:
            fits = [path for path in candidates if _lies_in(path, parents)]
            if len(fits) > 1:
                raise DataError(
                    f"{cell} may be {fits[0]} or {fits[1]}.",
                    hint="Say which folder paths count from: --path-folder FOLDER",
                )
            if fits:
                return Found(self._relative(fits[0]), how)
        return None

    def _indexed(self) -> dict[str, list[str]]:
        """{key: paths relative to the folder} of every file below, by name; pictures also by stem
        and by the number that their stem is."""
        if self._names is not None:
            return self._names
        self._names = defaultdict(list)
        with contextlib.suppress(DataError):  # a folder that may not be listed: no file is found
            for _, files in walk(self.folder, Counter()):
                for path, entry in files:
                    if is_file(entry):
                        self._index(path, entry.name)
        return self._names

    def _index(self, path: str, name: str) -> None:
        assert self._names is not None
        self._names[_key(name)].append(path)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in PICTURE_SUFFIXES:
            self._stems[_key(stem)].append(path)
            if stem.isascii() and stem.isdecimal():
                self._numbers[stem.lstrip("0")].append(path)


def _lies_in(path: str, parents: list[str]) -> bool:
    """Whether the last folders of a path are these."""
    folders = [_key(part) for part in path.split("/")[:-1]]
    return not parents or folders[-len(parents) :] == parents


def _key(name: str) -> str:
    """Names that a person takes for one: macOS stores letters decomposed, Windows ignores case."""
    return unicodedata.normalize("NFC", name).casefold()
