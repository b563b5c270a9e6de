"""Labels that were hardly meant as they stand: said when data is read, and left as they are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from skipstone.data.manifest import Manifest
from skipstone.words import counted, listed

#: What programs write for a missing value. "NA" and "none" are words of people, too.
_MISSING = frozenset({"nan", "null", "<na>", "n/a", "#n/a", "nat", "(null)"})
_SHOWN = 3


def doubtful_labels(manifest: Manifest) -> list[str]:
    """A sentence each: labels that differ in letter case, spaces or hyphens alone; words that stand
    for a missing label."""
    names = [name for name in manifest.schema.get("classes", ()) if isinstance(name, str)]
    groups = _alike(names)
    missing = [name for name in names if name.casefold() in _MISSING]
    if not groups and not missing:
        return []
    rows = Counter(_labels(manifest))
    notes = []
    if groups:
        shown = [" and ".join(f"{name!r} ({rows[name]:,})" for name in group) for group in groups]
        notes.append(
            "Labels that differ in letter case, spaces or hyphens alone are labels of their own: "
            f"{listed(shown, _SHOWN)}. Rename one where they mean the same."
        )
    for name in missing:
        notes.append(
            f"{name!r} is the label of {counted(rows[name], 'row')}, like any other word. Where a "
            "label is missing, leave its cell empty: such rows are passed over."
        )
    return notes


def _alike(names: Sequence[str]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[_core(name)].append(name)
    return [group for core, group in found.items() if core and len(group) > 1]


def _core(name: str) -> str:
    """Without letter case and what stands between words, but between numbers: "T-Shirt" is
    "tshirt", 1-2 is not 12. A number is without the ".0" that gaps beside it bring (pandas)."""
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    if whole := re.fullmatch(r"(-?[0-9]+)\.0+", plain):
        return whole[1]
    spaced = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain)
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced)


def _labels(manifest: Manifest) -> Iterator[str]:
    for target in manifest.column("target"):
        if isinstance(target, str):
            yield target
        elif isinstance(target, list):
            yield from (name for name in target if isinstance(name, str))
