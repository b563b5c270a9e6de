"""The audit's checks: functions from the scanned rows to findings, listed in `CHECKS`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skipstone.auditing.label_issues import LabelIssue
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.core.specs import AuditNouns
from skipstone.data.findings import Finding
from skipstone.data.manifest import Manifest
from skipstone.datasets.grouping import Groups
from skipstone.datasets.row_scan import RowScan
from skipstone.datasets.splitting import get_labels

#: A class with fewer rows than this is tiny.
MIN_CLASS_ROWS = 10
#: An imbalance: the largest class has more than this many times the rows of the smallest.
MAX_IMBALANCE = 5.0
#: First words of a problem of `inputs.examine` -> (kind of finding, description).
_PROBLEMS = {
    "empty": ("empty_file", "empty"),
    "no text": ("empty_text", "without a letter"),
    "bad bytes": ("bad_bytes", "not valid in their encoding"),
    "truncated": ("truncated", "cut off"),
    "too large": ("too_large", "larger than is safe to decode"),
    "not a picture": ("not_a_picture", "not a picture by its bytes"),
    "not a recording": ("not_a_recording", "not a recording by its bytes"),
    "not read": ("not_read", "of an unsupported kind"),
}


@dataclass(frozen=True)
class AuditContext:
    """What the checks work on.

    Args:
        names: each row's name for people.
        scans: the scan of each row.
        copies: groups of rows with equal bytes.
        near_duplicates: groups of near duplicates, including copies.
        nouns: the input's words for rows.
        label_issues: label issues, worst first.
        other_findings: findings of the reader's and the input's own audits.
    """

    manifest: Manifest
    names: Sequence[str]
    scans: Sequence[RowScan]
    copies: Sequence[Sequence[int]]
    near_duplicates: Groups
    label_issues: Sequence[LabelIssue] = field(default_factory=tuple)
    other_findings: Sequence[Finding] = field(default_factory=tuple)
    nouns: AuditNouns = field(default_factory=AuditNouns)

    def make_finding(
        self, kind: str, rows: Sequence[int], message: str, notes: Sequence[str] = ()
    ) -> Finding:
        paths = tuple(self.names[row] for row in rows)
        return Finding(kind, paths, message, tuple(rows), tuple(notes))


Check = Callable[[AuditContext], Iterable[Finding]]


def check_broken_files(seen: AuditContext) -> Iterable[Finding]:
    """One finding per kind of problem, which stands before the colon ("truncated: ...")."""
    by_kind: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, read in enumerate(seen.scans):
        if read.examined is not None and read.examined.problem:
            kind, _, reason = read.examined.problem.partition(":")
            by_kind[kind].append((row, reason.strip()))
    for kind, files in sorted(by_kind.items()):
        name, text = _PROBLEMS.get(kind, ("unreadable", "unreadable"))
        first, why = files[0]
        yield seen.make_finding(
            name,
            [row for row, _ in files],
            f"{pluralize(len(files), seen.nouns.unit)} {'is' if len(files) == 1 else 'are'} {text}, "
            f"such as {seen.names[first]}{f' ({why})' if why else ''}.",
            [why for _, why in files],
        )


def check_damaged_files(seen: AuditContext) -> Iterable[Finding]:
    """Files that decode although part of them is lost."""
    damaged = [
        (row, read.examined.damage)
        for row, read in enumerate(seen.scans)
        if read.examined is not None and read.examined.damage
    ]
    if damaged:
        row, why = damaged[0]
        verb = "is" if len(damaged) == 1 else "are"
        yield seen.make_finding(
            "damaged",
            [row for row, _ in damaged],
            f"{pluralize(len(damaged), seen.nouns.unit)} {verb} damaged inside, such as "
            f"{seen.names[row]} ({why}).",
            [why for _, why in damaged],
        )


def check_duplicates(seen: AuditContext) -> Iterable[Finding]:
    """Exact duplicates: under two labels, in two splits, or in one place."""
    return _repeated(
        seen,
        [
            (group, f"{pluralize(len(group), seen.nouns.unit)} {seen.nouns.duplicate_verb}")
            for group in seen.copies
        ],
        "duplicate",
    )


def check_near_duplicates(seen: AuditContext) -> Iterable[Finding]:
    """Near duplicates, by the same three kinds, except groups of equal bytes only."""
    notes: dict[int, list[str]] = defaultdict(list)
    scores_by_row: dict[int, float] = {}
    for link in seen.near_duplicates.links:
        for row in (link.first, link.second):
            scores_by_row[row] = min(link.score, scores_by_row.get(row, 1.0))
        if link.mirrored:
            notes[link.second].append("mirrored")
    groups = []
    for group in seen.near_duplicates.groups:
        scores = [scores_by_row[row] for row in group if row in scores_by_row]
        if scores:
            shows = seen.nouns.near_duplicate_verb.format(share=100 * min(scores))
            groups.append((group, f"{pluralize(len(group), seen.nouns.unit)} {shows}"))
    return _repeated(seen, groups, "near_duplicate", notes)


def _repeated(
    seen: AuditContext,
    groups: Sequence[tuple[Sequence[int], str]],
    kind: str,
    row_notes: dict[int, list[str]] | None = None,
) -> Iterable[Finding]:
    targets, splits = seen.manifest.column_values("target"), seen.manifest.column_values("split")
    for group, description in groups:
        labels = {frozenset(map(str, get_labels(targets[row]))) for row in group}
        group_splits = {splits[row] or "train" for row in group}
        subject = f"{description} ({join_limited([seen.names[row] for row in group], 3)})"
        notes = [" ".join(row_notes.get(row, ())) for row in group] if row_notes else []
        notes = notes if any(notes) else []
        if len(labels) > 1:
            names = natural_sorted("+".join(natural_sorted(label)) for label in labels)
            message = f"{subject} under different labels: {join_limited(names)}."
            yield seen.make_finding(f"{kind}_with_other_label", group, message, notes)
        if len(group_splits) > 1:
            message = f"{subject} in different splits: {join_limited(sorted(group_splits))}."
            yield seen.make_finding(f"{kind}_across_splits", group, message, notes)
        if len(labels) == 1 and len(group_splits) == 1:
            yield seen.make_finding(kind, group, f"{subject}.", notes)


def check_label_issues(seen: AuditContext) -> Iterable[Finding]:
    """Labels that out-of-fold predictions contradict; one finding, worst first."""
    if not seen.label_issues:
        return
    worst = seen.label_issues[0]
    rows = [suspicion.row for suspicion in seen.label_issues]
    count = len(rows)
    yield seen.make_finding(
        "suspicious_label",
        rows,
        f"{pluralize(count, 'label')} {'is' if count == 1 else 'are'} probably wrong, by a model "
        f"that was fitted without {'it' if count == 1 else 'them'}, such as "
        f"{seen.names[worst.row]} ({worst.description}).",
        [suspicion.description for suspicion in seen.label_issues],
    )


def check_classes(seen: AuditContext) -> Iterable[Finding]:
    """Classes without training rows, tiny classes, and imbalance."""
    rows = count_classes_by_split(seen.manifest).get("train", Counter())
    names = class_names(seen.manifest)
    missing = [name for name in names if rows and not rows[name]]
    if missing:
        pronoun = "it" if len(missing) == 1 else "they"
        message = f"No training row has {join_limited(missing)}: {pronoun} cannot be learnt."
        yield Finding("class_without_training_rows", (), message)
    tiny = [name for name in names if 0 < rows[name] < MIN_CLASS_ROWS]
    if tiny:
        each = join_limited(f"{name} ({rows[name]})" for name in tiny)
        yield Finding("tiny_class", (), f"Fewer than {MIN_CLASS_ROWS} training rows: {each}.")
    counts = {name: rows[name] for name in names if rows[name]}
    largest, smallest = max(counts.values(), default=0), min(counts.values(), default=0)
    if len(counts) > 1 and largest / smallest > MAX_IMBALANCE:
        most = max(counts, key=lambda name: counts[name])
        least = min(counts, key=lambda name: counts[name])
        yield Finding(
            "imbalance",
            (),
            f"{most} has {largest:,} training rows, {least} has {smallest:,}: "
            f"{largest / smallest:.1f} times as many. Look at balanced accuracy.",
        )


def get_other_findings(seen: AuditContext) -> Iterable[Finding]:
    """Findings of the reader (masks without pictures) and of the input."""
    return seen.other_findings


#: In the order of the findings.
CHECKS: dict[str, Check] = {
    "broken files": check_broken_files,
    "damaged files": check_damaged_files,
    "equal bytes": check_duplicates,
    "near duplicates": check_near_duplicates,
    "doubted labels": check_label_issues,
    "classes": check_classes,
    "input and layout": get_other_findings,
}


def class_names(manifest: Manifest) -> list[str]:
    """The classes of the rows; empty if targets are not labels."""
    if not any(isinstance(label, str) for label in _first_labels(manifest)):
        return []
    return [str(name) for name in manifest.schema.get("classes", ())]


def _first_labels(manifest: Manifest) -> Iterable[object]:
    for target in manifest.column_values("target"):
        yield from get_labels(target)


def count_classes_by_split(manifest: Manifest) -> dict[str, Counter[str]]:
    """Rows without a split count as training rows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    targets, splits = manifest.column_values("target"), manifest.column_values("split")
    for target, split in zip(targets, splits, strict=True):
        counts[split or "train"].update(
            label for label in get_labels(target) if isinstance(label, str)
        )
    return counts
