"""Find the photo that an annotation names, whatever folder or machine the name comes from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from skipstone.core.errors import UsageError
from skipstone.data.readers.base import SPLIT_NAMES


class PhotoIndex:
    """The photos of a data set, by name.

    Args:
        photos: paths relative to the root, with "/".
    """

    def __init__(self, photos: Iterable[str]) -> None:
        self.photos = list(photos)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for photo in self.photos:
            self._by_name[PurePosixPath(photo).name].append(photo)
            self._by_stem[PurePosixPath(photo).stem].append(photo)

    def find_photo(self, name: str, file: str) -> str | None:
        """The photo that `name` means in the annotation file `file`; None if there is none.

        The whole path counts if it exists, else the file's name. Of several photos of that name it is
        the one with most of the path's folders, then with most of the annotation file's folders and
        words of its name.

        Raises:
            UsageError: two fit equally well.
        """
        path = PurePosixPath(name.strip().replace("\\", "/"))
        return self._choose(self._by_name.get(path.name, []), path, file)

    def find_twin(self, file: str, name: str = "") -> str | None:
        """The photo that `file` describes by its own name; or else `name`, which it contains."""
        inside = PurePosixPath(name.strip().replace("\\", "/"))
        candidates = self._by_stem.get(PurePosixPath(file).stem) or self._by_stem.get(inside.stem)
        if candidates and len(candidates) > 1:
            named = [photo for photo in candidates if PurePosixPath(photo).name == inside.name]
            candidates = named if len(named) == 1 else candidates
        return self._choose(candidates or [], PurePosixPath(file), file)

    def _choose(self, candidates: Sequence[str], path: PurePosixPath, file: str) -> str | None:
        words = re.split(r"[^A-Za-z0-9]+", PurePosixPath(file).stem)  # instances_train2017.json
        for folders in (path.parent.parts, (*PurePosixPath(file).parent.parts, *words)):
            shared = [
                len(set(folders) & set(PurePosixPath(photo).parent.parts)) for photo in candidates
            ]
            most = max(shared, default=0)
            candidates = [p for p, count in zip(candidates, shared, strict=True) if count == most]
        if len(candidates) > 1:
            raise UsageError(
                f"{file} may describe {candidates[0]} or {candidates[1]}: both have its name.",
                hint="Keep one of the two, or put the annotations next to their photos.",
            )
        return candidates[0] if candidates else None


def find_split(path: str) -> str:
    """The split that one of a path's folders names; "" without."""
    for part in PurePosixPath(path).parent.parts:
        if part.casefold() in SPLIT_NAMES:
            return SPLIT_NAMES[part.casefold()]
    return ""
