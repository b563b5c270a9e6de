"""What is in the data and what is wrong with it. Reads everything once, changes nothing.

rows -> one look at each (prepare/look.py) -> what shows the same -> checks (prepare/checks.py)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skipstone.data.manifest import Manifest
from skipstone.prepare.checks import CHECKS, Seen, class_names, classes_by_split
from skipstone.prepare.findings import KINDS, Finding, Nouns
from skipstone.prepare.look import alike, look_at, same_bytes
from skipstone.prepare.suspicious import Suspicion
from skipstone.registry import INPUTS, READERS, resolve_target

#: Labels that are doubted, worst first, given groups of rows that show the same.
Doubt = Callable[[Sequence[Sequence[int]]], Sequence[Suspicion]]


@dataclass(frozen=True)
class Audit:
    """Args:
    counts: rows, splits, classes by split, balance, sizes, formats, modes, bytes, ignored.
    findings: gravest first.
    duplicates: groups of row positions with equal bytes, as `assign_roles` takes them.
    alike: groups that show the same, those with equal bytes among them.
    nouns: how rows are spoken of.
    """

    counts: dict[str, Any]
    findings: tuple[Finding, ...]
    duplicates: tuple[tuple[int, ...], ...] = ()
    alike: tuple[tuple[int, ...], ...] = ()
    nouns: Nouns = field(default_factory=Nouns)

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
        }


def audit(manifest: Manifest, *, threads: int = 4, doubt: Doubt | None = None) -> Audit:
    """Counts and findings over every row.

    Args:
        doubt: judges the labels; it is given the groups of rows that show the same.
    """
    reads = look_at(manifest, threads=threads)
    copies = same_bytes(manifest, reads)
    same = alike(manifest.input, reads, copies)
    suspicions = () if doubt is None else doubt(same.groups)
    of_layout, of_reader = _of_layout(manifest)
    seen = Seen(
        manifest,
        manifest.names(),
        reads,
        copies,
        same,
        suspicions,
        of_layout,
        Nouns.of(manifest.input),
    )
    of_input, counts = _of_input(seen)
    seen = replace(seen, of_layout=[*of_layout, *of_input])
    found = [finding for check in CHECKS.values() for finding in check(seen)]
    order = list(KINDS)
    found.sort(key=lambda finding: order.index(finding.kind))
    return Audit(
        {**_counts(seen, found, counts), **of_reader},
        tuple(found),
        tuple(tuple(group) for group in copies),
        same.groups,
        seen.nouns,
    )


def _of_input(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """What the input's own audit (the fact `audit` of its entry) finds and counts."""
    target = INPUTS[seen.manifest.input].facts.get("audit")
    if target is None:
        return [], {}
    found: tuple[list[Finding], dict[str, Any]] = resolve_target(target)(seen)
    return found


def _of_layout(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """What the reader's own audit (the fact `audit` of its entry) finds and counts."""
    if manifest.reader not in READERS:
        return [], {}
    target = READERS[manifest.reader].facts.get("audit")
    if target is None:
        return [], {}
    findings, counts = resolve_target(target)(manifest)
    return [
        Finding(item.kind, item.paths, item.message, item.rows, item.notes) for item in findings
    ], counts


def _counts(seen: Seen, findings: Sequence[Finding], more: dict[str, Any]) -> dict[str, Any]:
    manifest, reads = seen.manifest, seen.reads
    by_split = classes_by_split(manifest)
    names = class_names(manifest)
    order = [split for split in ("train", "validation", "test") if split in by_split]
    splits = Counter(split or "train" for split in manifest.column("split"))
    trained = [by_split["train"][name] for name in names] if "train" in by_split else []
    near = [finding for finding in findings if finding.kind.startswith("near_duplicate")]
    return {
        "rows": len(manifest),
        "bytes": sum(read.size for read in reads),
        "splits": {
            split: splits[split] for split in ("train", "validation", "test") if splits[split]
        },
        "classes": (
            {split: {name: by_split[split][name] for name in names} for split in order}
            if names
            else {}
        ),
        "balance": {"most": max(trained), "least": min(trained)} if trained else {},
        "groups": len({name for name in manifest.column("group") if name is not None}),
        **more,
        "unreadable": sum(1 for read in reads if read.examined and read.examined.problem),
        "duplicates": sum(len(group) - 1 for group in seen.copies),
        "near_duplicates": len({row for finding in near for row in finding.rows}),
        "links_cut": seen.alike.cut,
        "findings": dict(Counter(finding.kind for finding in findings)),
        "ignored": dict(manifest.ignored),
    }
