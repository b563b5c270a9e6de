"""The audit's checks. Each is a function from what was seen to findings; `CHECKS` is the audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skipstone.data.manifest import Manifest
from skipstone.prepare.findings import Finding, Nouns
from skipstone.prepare.look import Read
from skipstone.prepare.split import labels_of
from skipstone.prepare.suspicious import Suspicion
from skipstone.prepare.together import Groups
from skipstone.words import counted, listed, natural_sorted

#: A class with fewer rows than this is called tiny.
TINY = 10
#: The largest class may be this many times the smallest before it is called an imbalance.
IMBALANCE = 5.0
#: The kind of a problem, as `inputs.examine` begins it -> (kind of finding, in words).
_PROBLEMS = {
    "empty": ("empty_file", "without a single byte"),
    "no text": ("empty_text", "without a letter"),
    "bad bytes": ("bad_bytes", "not to be read as letters"),
    "truncated": ("truncated", "cut off"),
    "too large": ("too_large", "larger than is safe to decode"),
    "not a picture": ("not_a_picture", "no picture by the bytes in it"),
    "not read": ("not_read", "of a kind that is not read"),
}


@dataclass(frozen=True)
class Seen:
    """Everything that the checks go by.

    Args:
        names: how each row is named to a person.
        reads: of each row.
        copies: groups of rows with equal bytes.
        alike: groups of rows that show the same, copies among them.
        nouns: how they are spoken of.
        suspicions: labels that a model doubts, worst first.
        of_layout: what the reader of this layout found.
    """

    manifest: Manifest
    names: Sequence[str]
    reads: Sequence[Read]
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
    """One finding a kind of damage: "truncated: ..." and "damaged: ..." say it before the colon."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, read in enumerate(seen.reads):
        if read.examined is not None and read.examined.problem:
            kind, _, what = read.examined.problem.partition(":")
            found[kind].append((row, what.strip()))
    for kind, files in sorted(found.items()):
        name, text = _PROBLEMS.get(kind, ("unreadable", "not to be decoded"))
        first, why = files[0]
        yield seen.finding(
            name,
            [row for row, _ in files],
            f"{counted(len(files), seen.nouns.unit)} {'is' if len(files) == 1 else 'are'} {text}, "
            f"such as {seen.names[first]}{f' ({why})' if why else ''}.",
            [why for _, why in files],
        )


def damaged_files(seen: Seen) -> Iterable[Finding]:
    """Files that decode although part of them was lost."""
    found = [
        (row, read.examined.damage)
        for row, read in enumerate(seen.reads)
        if read.examined is not None and read.examined.damage
    ]
    if found:
        row, why = found[0]
        yield seen.finding(
            "damaged",
            [row for row, _ in found],
            f"{counted(len(found), seen.nouns.unit)} {'is' if len(found) == 1 else 'are'} damaged "
            f"inside, such as {seen.names[row]} ({why}).",
            [why for _, why in found],
        )


def same_bytes(seen: Seen) -> Iterable[Finding]:
    """Exact duplicates: under two labels, in two splits, or merely twice."""
    return _repeated(
        seen,
        [
            (group, f"{counted(len(group), seen.nouns.unit)} {seen.nouns.holds}")
            for group in seen.copies
        ],
        "duplicate",
    )


def alike(seen: Seen) -> Iterable[Finding]:
    """Near duplicates, by the same three kinds. Groups of equal bytes alone are no news here."""
    by_row: dict[int, list[str]] = defaultdict(list)
    linked: dict[int, float] = {}
    for link in seen.alike.links:
        for row in (link.first, link.second):
            linked[row] = min(link.score, linked.get(row, 1.0))
        if link.mirrored:
            by_row[link.second].append("mirrored")
    groups = []
    for group in seen.alike.groups:
        scores = [linked[row] for row in group if row in linked]
        if scores:
            shows = seen.nouns.shows.format(share=100 * min(scores))
            groups.append((group, f"{counted(len(group), seen.nouns.unit)} {shows}"))
    return _repeated(seen, groups, "near_duplicate", by_row)


def _repeated(
    seen: Seen,
    groups: Sequence[tuple[Sequence[int], str]],
    kind: str,
    said: dict[int, list[str]] | None = None,
) -> Iterable[Finding]:
    targets, splits = seen.manifest.column("target"), seen.manifest.column("split")
    for group, what in groups:
        labels = {frozenset(map(str, labels_of(targets[row]))) for row in group}
        inside = {splits[row] or "train" for row in group}
        same = f"{what} ({listed([seen.names[row] for row in group], 3)})"
        notes = [" ".join(said.get(row, ())) for row in group] if said else []
        notes = notes if any(notes) else []
        if len(labels) > 1:
            names = natural_sorted("+".join(natural_sorted(label)) for label in labels)
            message = f"{same} under different labels: {listed(names)}."
            yield seen.finding(f"{kind}_with_other_label", group, message, notes)
        if len(inside) > 1:
            message = f"{same} in different splits: {listed(sorted(inside))}."
            yield seen.finding(f"{kind}_across_splits", group, message, notes)
        if len(labels) == 1 and len(inside) == 1:
            yield seen.finding(kind, group, f"{same}.", notes)


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
        f"{counted(count, 'label')} {'is' if count == 1 else 'are'} doubted by a model that was "
        f"fitted without {'it' if count == 1 else 'them'}, such as {seen.names[worst.row]} "
        f"({worst.words}).",
        [suspicion.words for suspicion in seen.suspicions],
    )


def classes(seen: Seen) -> Iterable[Finding]:
    """Classes without training rows, tiny ones, and great differences between them."""
    trained = classes_by_split(seen.manifest).get("train", Counter())
    names = class_names(seen.manifest)
    missing = [name for name in names if trained and not trained[name]]
    if missing:
        they = "it" if len(missing) == 1 else "they"
        message = f"No training row has {listed(missing)}: {they} cannot be learnt."
        yield Finding("class_without_training_rows", (), message)
    tiny = [name for name in names if 0 < trained[name] < TINY]
    if tiny:
        each = listed(f"{name} ({trained[name]})" for name in tiny)
        yield Finding("tiny_class", (), f"Fewer than {TINY} training rows: {each}.")
    counts = [trained[name] for name in names if trained[name]]
    if len(counts) > 1 and max(counts) / min(counts) > IMBALANCE:
        most = max(names, key=lambda name: trained[name])
        least = min((name for name in names if trained[name]), key=lambda name: trained[name])
        yield Finding(
            "imbalance",
            (),
            f"{most} has {trained[most]:,} training rows, {least} has {trained[least]:,}: "
            f"{max(counts) / min(counts):.1f} times as many. Look at balanced accuracy.",
        )


def of_others(seen: Seen) -> Iterable[Finding]:
    """What only the reader of this layout knows (masks without pictures), or this input."""
    return seen.of_layout


#: In the order in which findings are told.
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
    """The classes that rows belong to; none where a row's target is no label."""
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
