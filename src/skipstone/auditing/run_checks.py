"""The audit: what is in the data and what is wrong with it. Reads every row once, changes nothing.

rows -> scan of each row (datasets/row_scan.py) -> near duplicates -> checks (auditing/checks.py)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skipstone.auditing.checks import CHECKS, AuditContext, class_names, count_classes_by_split
from skipstone.auditing.label_issues import LabelIssue
from skipstone.core.registry import INPUTS, READERS
from skipstone.core.specs import AuditNouns, resolve_target
from skipstone.data.findings import KINDS, Finding
from skipstone.data.manifest import Manifest
from skipstone.datasets.row_scan import group_identical, group_near_duplicates, scan_rows

#: Groups of near duplicates -> label issues, worst first.
FindLabelIssues = Callable[[Sequence[Sequence[int]]], Sequence[LabelIssue]]


@dataclass(frozen=True)
class AuditFindings:
    """Args:
    counts: rows, splits, classes by split, balance, sizes, formats, modes, bytes, ignored.
    findings: most severe first.
    duplicates: groups of row positions with equal bytes, as `assign_roles` takes them.
    near_duplicates: groups of near duplicates, including those with equal bytes.
    nouns: the input's words for rows.
    """

    counts: dict[str, Any]
    findings: tuple[Finding, ...]
    duplicates: tuple[tuple[int, ...], ...] = ()
    near_duplicates: tuple[tuple[int, ...], ...] = ()
    nouns: AuditNouns = field(default_factory=AuditNouns)

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
        }


def audit_rows(
    manifest: Manifest, *, threads: int = 4, find_label_issues: FindLabelIssues | None = None
) -> AuditFindings:
    """Counts and findings over every row.

    Args:
        find_label_issues: finds label issues.
    """
    reads = scan_rows(manifest, threads=threads)
    copies = group_identical(manifest, reads)
    near = group_near_duplicates(manifest.input, reads, copies)
    suspicions = () if find_label_issues is None else find_label_issues(near.groups)
    layout_findings, layout_counts = _audit_layout(manifest)
    seen = AuditContext(
        manifest,
        manifest.row_names(),
        reads,
        copies,
        near,
        suspicions,
        layout_findings,
        INPUTS[manifest.input].nouns,
    )
    input_findings, input_counts = _audit_input(seen)
    seen = replace(seen, other_findings=[*layout_findings, *input_findings])
    findings = [finding for check in CHECKS.values() for finding in check(seen)]
    severity = list(KINDS)
    findings.sort(key=lambda finding: severity.index(finding.kind))
    return AuditFindings(
        {**_counts(seen, findings, input_counts), **layout_counts},
        tuple(findings),
        tuple(tuple(group) for group in copies),
        near.groups,
        seen.nouns,
    )


def _audit_input(seen: AuditContext) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts of the input's own audit (`audit` of its spec)."""
    target = INPUTS[seen.manifest.input].audit
    if target is None:
        return [], {}
    result: tuple[list[Finding], dict[str, Any]] = resolve_target(target)(seen)
    return result


def _audit_layout(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts of the reader's own audit (`audit` of its spec)."""
    if manifest.reader not in READERS:
        return [], {}
    target = READERS[manifest.reader].audit
    if target is None:
        return [], {}
    result: tuple[list[Finding], dict[str, Any]] = resolve_target(target)(manifest)
    return result


def _counts(
    seen: AuditContext, findings: Sequence[Finding], more: dict[str, Any]
) -> dict[str, Any]:
    manifest, reads = seen.manifest, seen.scans
    by_split = count_classes_by_split(manifest)
    names = class_names(manifest)
    order = [split for split in ("train", "validation", "test") if split in by_split]
    splits = Counter(split or "train" for split in manifest.column_values("split"))
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
        "groups": len({name for name in manifest.column_values("group") if name is not None}),
        **more,
        "unreadable": sum(1 for read in reads if read.examined and read.examined.problem),
        "duplicates": sum(len(group) - 1 for group in seen.copies),
        "near_duplicates": len({row for finding in near for row in finding.rows}),
        "links_cut": seen.near_duplicates.removed_links,
        "findings": dict(Counter(finding.kind for finding in findings)),
        "ignored": dict(manifest.skipped_counts),
    }
