"""What is in the data and what is wrong with it. Reads everything once, changes nothing."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from skipstone.data.fingerprint import digest_of, duplicate_groups, in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.readers.base import counted, listed, natural_sorted
from skipstone.data.sources import FileRef, read_source
from skipstone.errors import DataError
from skipstone.inputs.examine import Examined
from skipstone.prepare.split import labels_of
from skipstone.registry import INPUTS, Entry

#: A class with fewer rows than this is called tiny.
TINY = 10
#: The largest class may be this many times the smallest before it is called an imbalance.
IMBALANCE = 5.0
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif", ".hif"},
}


@dataclass(frozen=True)
class Finding:
    """Args:
    kind: what it is, one of a small set of words ("duplicate", "truncated", "tiny_class").
    paths: the files concerned, relative to the root; empty where it concerns a class.
    message: one sentence.
    """

    kind: str
    paths: tuple[str, ...]
    message: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "paths": list(self.paths), "message": self.message}


@dataclass(frozen=True)
class Audit:
    """Args:
    counts: rows, splits, classes by split, balance, sizes, formats, modes, bytes, ignored.
    findings: gravest first.
    duplicates: groups of row positions with equal bytes, as `assign_roles` takes them.
    """

    counts: dict[str, Any]
    findings: tuple[Finding, ...]
    duplicates: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class _Read:
    """What one pass over a row's bytes gave."""

    digest: str | None
    size: int
    examined: Examined | None


def audit(manifest: Manifest, *, threads: int = 4) -> Audit:
    """Counts and findings over every row.

    Each source is read once: hashed, and examined by what the manifest's input brings (the fact
    `examine` of its registry entry); without that, only bytes and labels are looked at.
    """
    examine = _examiner(manifest.input)
    reads = in_threads(
        lambda source: _read(source, examine),
        manifest.sources(),
        "looking at every file",
        unit="files",
        threads=threads,
    )
    groups = duplicate_groups(manifest, [read.digest for read in reads])
    names = _names(manifest)
    findings = [
        *_broken(names, reads),
        *_duplicates(manifest, names, groups),
        *_class_findings(manifest),
        *_suffix_findings(names, reads),
    ]
    counts = _counts(manifest, reads, groups, findings)
    return Audit(counts, tuple(findings), tuple(tuple(group) for group in groups))


def _examiner(name: str) -> Callable[[bytes | np.ndarray], Examined] | None:
    target = INPUTS[name].facts.get("examine")
    if target is None:
        return None
    function: Callable[[bytes | np.ndarray], Examined] = Entry(name, target).load()
    return function


def _read(source: FileRef, examine: Callable[[bytes | np.ndarray], Examined] | None) -> _Read:
    try:
        data = read_source(source)
    except DataError as error:
        return _Read(None, 0, Examined(f"unreadable: {error.message}"))
    size = data.nbytes if isinstance(data, np.ndarray) else len(data)
    return _Read(digest_of(data), size, None if examine is None else examine(data))


def _names(manifest: Manifest) -> list[str]:
    return [
        path if member is None else f"{path}#{member}"
        for path, member in zip(manifest.column("path"), manifest.column("member"), strict=True)
    ]


def _broken(names: list[str], reads: Sequence[_Read]) -> list[Finding]:
    """One finding a kind of damage: "truncated: ..." and "damaged: ..." say it before the colon."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, read in zip(names, reads, strict=True):
        if read.examined is not None and read.examined.problem:
            kind, _, what = read.examined.problem.partition(":")
            found[kind].append((name, what.strip()))
    words = {
        "empty": ("empty_file", "without a single byte"),
        "truncated": ("truncated", "cut off"),
        "too large": ("too_large", "larger than is safe to decode"),
        "not a picture": ("not_a_picture", "no picture by the bytes in it"),
        "not read": ("not_read", "of a kind that is not read"),
    }
    findings = []
    for kind, files in sorted(found.items()):
        name, text = words.get(kind, ("unreadable", "not to be decoded"))
        first, why = files[0]
        findings.append(
            Finding(
                name,
                tuple(path for path, _ in files),
                f"{counted(len(files), 'file')} {'is' if len(files) == 1 else 'are'} {text}, such "
                f"as {first}{f' ({why})' if why else ''}.",
            )
        )
    return findings


def _duplicates(
    manifest: Manifest, names: list[str], groups: Sequence[Sequence[int]]
) -> list[Finding]:
    targets, splits = manifest.column("target"), manifest.column("split")
    findings = []
    for group in groups:
        paths = tuple(names[row] for row in group)
        labels = {frozenset(map(str, labels_of(targets[row]))) for row in group}
        inside = {splits[row] or "train" for row in group}
        same = f"{counted(len(group), 'file')} hold the same bytes ({listed(paths, 3)})"
        if len(labels) > 1:
            said = natural_sorted("+".join(natural_sorted(label)) for label in labels)
            message = f"{same} under different labels: {listed(said)}."
            findings.append(Finding("duplicate_with_other_label", paths, message))
        if len(inside) > 1:
            message = f"{same} in different splits: {listed(sorted(inside))}."
            findings.append(Finding("duplicate_across_splits", paths, message))
        if len(labels) == 1 and len(inside) == 1:
            findings.append(Finding("duplicate", paths, f"{same}."))
    order = ["duplicate_with_other_label", "duplicate_across_splits", "duplicate"]
    return sorted(findings, key=lambda finding: order.index(finding.kind))


def _class_findings(manifest: Manifest) -> list[Finding]:
    by_split = _classes_by_split(manifest)
    trained = by_split.get("train", Counter())
    names = [str(name) for name in manifest.schema.get("classes", ())]
    findings = []
    missing = [name for name in names if trained and not trained[name]]
    if missing:
        message = f"No training row has {listed(missing)}: it cannot be learnt."
        findings.append(Finding("class_without_training_rows", (), message))
    tiny = [name for name in names if 0 < trained[name] < TINY]
    if tiny:
        each = listed(f"{name} ({trained[name]})" for name in tiny)
        findings.append(Finding("tiny_class", (), f"Fewer than {TINY} training rows: {each}."))
    counts = [trained[name] for name in names if trained[name]]
    if len(counts) > 1 and max(counts) / min(counts) > IMBALANCE:
        most = max(names, key=lambda name: trained[name])
        least = min((name for name in names if trained[name]), key=lambda name: trained[name])
        findings.append(
            Finding(
                "imbalance",
                (),
                f"{most} has {trained[most]:,} training rows, {least} has {trained[least]:,}: "
                f"{max(counts) / min(counts):.1f} times as many. Look at balanced accuracy.",
            )
        )
    return findings


def _suffix_findings(names: list[str], reads: Sequence[_Read]) -> list[Finding]:
    wrong = []
    for name, read in zip(names, reads, strict=True):
        if read.examined is None or read.examined.problem:
            continue
        suffixes = _SUFFIXES.get(read.examined.format)
        suffix = PurePath(name).suffix.lower()
        if suffixes is not None and suffix not in suffixes:
            wrong.append((name, read.examined.format))
    if not wrong:
        return []
    name, form = wrong[0]
    message = (
        f"{counted(len(wrong), 'file')} {'is' if len(wrong) == 1 else 'are'} not what the "
        f"extension says, such as {name} ({form}): read by the bytes, so no harm here."
    )
    return [Finding("extension", tuple(name for name, _ in wrong), message)]


def _classes_by_split(manifest: Manifest) -> dict[str, Counter[str]]:
    """Rows without a split count as training rows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    targets, splits = manifest.column("target"), manifest.column("split")
    for target, split in zip(targets, splits, strict=True):
        counts[split or "train"].update(
            label for label in labels_of(target) if isinstance(label, str)
        )
    return counts


def _counts(
    manifest: Manifest,
    reads: Sequence[_Read],
    groups: Sequence[Sequence[int]],
    findings: Sequence[Finding],
) -> dict[str, Any]:
    seen = [read.examined for read in reads if read.examined and not read.examined.problem]
    by_split = _classes_by_split(manifest)
    names = [str(name) for name in manifest.schema.get("classes", ())]
    order = [split for split in ("train", "validation", "test") if split in by_split]
    splits = Counter(split or "train" for split in manifest.column("split"))
    trained = [by_split["train"][name] for name in names] if "train" in by_split else []
    return {
        "rows": len(manifest),
        "bytes": sum(read.size for read in reads),
        "splits": {
            split: splits[split] for split in ("train", "validation", "test") if splits[split]
        },
        "classes": {split: {name: by_split[split][name] for name in names} for split in order},
        "balance": (
            {"most": max(trained), "least": min(trained)} if trained else {"most": 0, "least": 0}
        ),
        "groups": len({name for name in manifest.column("group") if name is not None}),
        "height": _spread([found.size[0] for found in seen if len(found.size) == 2]),
        "width": _spread([found.size[1] for found in seen if len(found.size) == 2]),
        "formats": dict(Counter(found.format for found in seen).most_common()),
        "modes": dict(Counter(found.mode for found in seen).most_common()),
        "turned_by_exif": sum(found.turned for found in seen),
        "unreadable": sum(1 for read in reads if read.examined and read.examined.problem),
        "duplicates": sum(len(group) - 1 for group in groups),
        "findings": dict(Counter(finding.kind for finding in findings)),
        "ignored": dict(manifest.ignored),
    }


def _spread(values: list[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
