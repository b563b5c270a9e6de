"""Labels that are probably mistakes: reported when data is read, and not changed."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.manifest import Manifest

#: What programs write for a missing value. "NA" and "none" are omitted: they can be real labels.
_MISSING = frozenset({"nan", "null", "<na>", "n/a", "#n/a", "nat", "(null)"})
_MAX_LISTED = 3


def describe_doubtful_labels(manifest: Manifest) -> list[str]:
    """One sentence each about labels that differ only in letter case, spaces or hyphens, and about
    words that stand for a missing label."""
    names = [name for name in manifest.schema.get("classes", ()) if isinstance(name, str)]
    groups = _group_similar(names)
    missing_words = [name for name in names if name.casefold() in _MISSING]
    if not groups and not missing_words:
        return []
    rows = Counter(_labels(manifest))
    notes = []
    if groups:
        descriptions = [
            " and ".join(f"{name!r} ({rows[name]:,})" for name in group) for group in groups
        ]
        notes.append(
            "Labels that differ only in letter case, spaces or hyphens are separate classes: "
            f"{join_limited(descriptions, _MAX_LISTED)}. Rename one if they mean the same."
        )
    for name in missing_words:
        notes.append(
            f"{name!r} is the label of {pluralize(rows[name], 'row')} and is treated as a class. If "
            "it means a missing label, leave the cell empty: such rows are skipped."
        )
    return notes


def _group_similar(names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_normalize(name)].append(name)
    return [group for core, group in groups.items() if core and len(group) > 1]


def _normalize(name: str) -> str:
    """Casefolded, without separators except between digits: "T-Shirt" is "tshirt", 1-2 is not 12.
    A number loses the ".0" that pandas adds to a column with missing values."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    if integer := re.fullmatch(r"(-?[0-9]+)\.0+", plain):
        return integer[1]
    spaced = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain)
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced)


def _labels(manifest: Manifest) -> Iterator[str]:
    for target in manifest.column_values("target"):
        if isinstance(target, str):
            yield target
        elif isinstance(target, list):
            yield from (name for name in target if isinstance(name, str))
