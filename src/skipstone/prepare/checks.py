"""The audit's checks: functions from the scanned rows to findings, listed in `CHECKS`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skipstone.data.manifest import Manifest
from skipstone.prepare.findings import Finding, Nouns
from skipstone.prepare.row_scan import RowScan
from skipstone.prepare.split import labels_of
from skipstone.prepare.suspicious import Suspicion
from skipstone.prepare.together import Groups
from skipstone.words import counted, listed, natural_sorted

#: A class with fewer rows than this is tiny.
TINY = 10
#: An imbalance: the largest class has more than this many times the rows of the smallest.
IMBALANCE = 5.0
#: First words of a problem of `inputs.examine` -> (kind of finding, description).
_PROBLEMS = {
    "empty": ("empty_file", "empty"),
    "no text": ("empty_text", "without a letter"),
    "bad bytes": ("bad_bytes", "not valid in their encoding"),
    "truncated": ("truncated", "cut off"),
    "too large": ("too_large", "larger than is safe to decode"),
    "not a picture": ("not_a_picture", "not a picture by its bytes"),
    "not read": ("not_read", "of an unsupported kind"),
}


@dataclass(frozen=True)
class Seen:
    """What the checks work on.

    Args:
        names: each row's name for people.
        reads: the scan of each row.
        copies: groups of rows with equal bytes.
        alike: groups of near duplicates, including copies.
        nouns: the input's words for rows.
        suspicions: label issues, worst first.
        of_layout: findings of the reader's and the input's own audits.
    """

    manifest: Manifest
    names: Sequence[str]
    reads: Sequence[RowScan]
    copies: Sequence[Sequence[int]]
    alike: Groups
    suspicions: Sequence[Suspicion] = field(default_factory=tuple)
    of_layout: Sequence[Finding] = field(default_factory=tuple)
    nouns: Nouns = field(default_factory=Nouns)

    def finding(
        self, kind: str, rows: Sequence[int], message: str, notes: Sequence[str] = ()
    ) -> Finding:
        paths = tuple(self.names[row] for row in rows)
        return Finding(kind, paths, message, tuple(rows), tuple(notes))


Check = Callable[[Seen], Iterable[Finding]]


def broken_files(seen: Seen) -> Iterable[Finding]:
    """One finding per kind of problem, which stands before the colon ("truncated: ...")."""
    by_kind: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, read in enumerate(seen.reads):
        if read.examined is not None and read.examined.problem:
            kind, _, reason = read.examined.problem.partition(":")
            by_kind[kind].append((row, reason.strip()))
    for kind, files in sorted(by_kind.items()):
        name, text = _PROBLEMS.get(kind, ("unreadable", "unreadable"))
        first, why = files[0]
        yield seen.finding(
            name,
            [row for row, _ in files],
            f"{counted(len(files), seen.nouns.unit)} {'is' if len(files) == 1 else 'are'} {text}, "
            f"such as {seen.names[first]}{f' ({why})' if why else ''}.",
            [why for _, why in files],
        )


def damaged_files(seen: Seen) -> Iterable[Finding]:
    """Files that decode although part of them is lost."""
    damaged = [
        (row, read.examined.damage)
        for row, read in enumerate(seen.reads)
        if read.examined is not None and read.examined.damage
    ]
    if damaged:
        row, why = damaged[0]
        verb = "is" if len(damaged) == 1 else "are"
        yield seen.finding(
            "damaged",
            [row for row, _ in damaged],
            f"{counted(len(damaged), seen.nouns.unit)} {verb} damaged inside, such as "
            f"{seen.names[row]} ({why}).",
            [why for _, why in damaged],
        )


def same_bytes(seen: Seen) -> Iterable[Finding]:
    """Exact duplicates: under two labels, in two splits, or in one place."""
    return _repeated(
        seen,
        [
            (group, f"{counted(len(group), seen.nouns.unit)} {seen.nouns.holds}")
            for group in seen.copies
        ],
        "duplicate",
    )


def alike(seen: Seen) -> Iterable[Finding]:
    """Near duplicates, by the same three kinds, except groups of equal bytes only."""
    notes: dict[int, list[str]] = defaultdict(list)
    scores_by_row: dict[int, float] = {}
    for link in seen.alike.links:
        for row in (link.first, link.second):
            scores_by_row[row] = min(link.score, scores_by_row.get(row, 1.0))
        if link.mirrored:
            notes[link.second].append("mirrored")
    groups = []
    for group in seen.alike.groups:
        scores = [scores_by_row[row] for row in group if row in scores_by_row]
        if scores:
            shows = seen.nouns.shows.format(share=100 * min(scores))
            groups.append((group, f"{counted(len(group), seen.nouns.unit)} {shows}"))
    return _repeated(seen, groups, "near_duplicate", notes)


def _repeated(
    seen: Seen,
    groups: Sequence[tuple[Sequence[int], str]],
    kind: str,
    row_notes: dict[int, list[str]] | None = None,
) -> Iterable[Finding]:
    targets, splits = seen.manifest.column("target"), seen.manifest.column("split")
    for group, description in groups:
        labels = {frozenset(map(str, labels_of(targets[row]))) for row in group}
        group_splits = {splits[row] or "train" for row in group}
        subject = f"{description} ({listed([seen.names[row] for row in group], 3)})"
        notes = [" ".join(row_notes.get(row, ())) for row in group] if row_notes else []
        notes = notes if any(notes) else []
        if len(labels) > 1:
            names = natural_sorted("+".join(natural_sorted(label)) for label in labels)
            message = f"{subject} under different labels: {listed(names)}."
            yield seen.finding(f"{kind}_with_other_label", group, message, notes)
        if len(group_splits) > 1:
            message = f"{subject} in different splits: {listed(sorted(group_splits))}."
            yield seen.finding(f"{kind}_across_splits", group, message, notes)
        if len(labels) == 1 and len(group_splits) == 1:
            yield seen.finding(kind, group, f"{subject}.", notes)


def doubted_labels(seen: Seen) -> Iterable[Finding]:
    """Labels that out-of-fold predictions contradict; one finding, worst first."""
    if not seen.suspicions:
        return
    worst = seen.suspicions[0]
    rows = [suspicion.row for suspicion in seen.suspicions]
    count = len(rows)
    yield seen.finding(
        "suspicious_label",
        rows,
        f"{counted(count, 'label')} {'is' if count == 1 else 'are'} probably wrong, by a model "
        f"that was fitted without {'it' if count == 1 else 'them'}, such as "
        f"{seen.names[worst.row]} ({worst.words}).",
        [suspicion.words for suspicion in seen.suspicions],
    )


def classes(seen: Seen) -> Iterable[Finding]:
    """Classes without training rows, tiny classes, and imbalance."""
    rows = classes_by_split(seen.manifest).get("train", Counter())
    names = class_names(seen.manifest)
    missing = [name for name in names if rows and not rows[name]]
    if missing:
        pronoun = "it" if len(missing) == 1 else "they"
        message = f"No training row has {listed(missing)}: {pronoun} cannot be learnt."
        yield Finding("class_without_training_rows", (), message)
    tiny = [name for name in names if 0 < rows[name] < TINY]
    if tiny:
        each = listed(f"{name} ({rows[name]})" for name in tiny)
        yield Finding("tiny_class", (), f"Fewer than {TINY} training rows: {each}.")
    counts = {name: rows[name] for name in names if rows[name]}
    largest, smallest = max(counts.values(), default=0), min(counts.values(), default=0)
    if len(counts) > 1 and largest / smallest > IMBALANCE:
        most = max(counts, key=lambda name: counts[name])
        least = min(counts, key=lambda name: counts[name])
        yield Finding(
            "imbalance",
            (),
            f"{most} has {largest:,} training rows, {least} has {smallest:,}: "
            f"{largest / smallest:.1f} times as many. Look at balanced accuracy.",
        )


def of_others(seen: Seen) -> Iterable[Finding]:
    """Findings of the reader (masks without pictures) and of the input."""
    return seen.of_layout


#: In the order of the findings.
CHECKS: dict[str, Check] = {
    "broken files": broken_files,
    "damaged files": damaged_files,
    "equal bytes": same_bytes,
    "near duplicates": alike,
    "doubted labels": doubted_labels,
    "classes": classes,
    "input and layout": of_others,
}


def class_names(manifest: Manifest) -> list[str]:
    """The classes of the rows; empty if targets are not labels."""
    if not any(isinstance(label, str) for label in _first_labels(manifest)):
        return []
    return [str(name) for name in manifest.schema.get("classes", ())]


def _first_labels(manifest: Manifest) -> Iterable[object]:
    for target in manifest.column("target"):
        yield from labels_of(target)


def classes_by_split(manifest: Manifest) -> dict[str, Counter[str]]:
    """Rows without a split count as training rows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    targets, splits = manifest.column("target"), manifest.column("split")
    for target, split in zip(targets, splits, strict=True):
        counts[split or "train"].update(
            label for label in labels_of(target) if isinstance(label, str)
        )
    return counts
