"""The audit's page: counts, and every kind of finding with its pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skipstone.auditing.run_checks import AuditFindings
from skipstone.core.formatting import natural_key, pluralize
from skipstone.data.findings import KINDS, Finding, FindingKind
from skipstone.datasets.splitting import get_labels
from skipstone.report.blocks import (
    Block,
    Column,
    FactList,
    Photo,
    PhotoGroups,
    Report,
    Section,
    TableBlock,
    Text,
)
from skipstone.report.text_format import capitalize_first, format_bytes

#: Limits: groups of one kind of finding, photos of a group, photos of the whole page.
_GROUPS, _PHOTOS, _MOST = 30, 8, 240
#: Samples of all classes on the contact sheet, and of one class, at most.
_SAMPLES, _SAMPLES_OF_CLASS = 160, 8
#: Photos of a kind that has a single finding.
_PHOTOS_OF_ONE = 50
#: Counts that the page shows elsewhere, or that belong to findings.
_SHOWN_ELSEWHERE = frozenset(
    {
        *("rows", "bytes", "splits", "classes", "balance", "groups", "unreadable", "duplicates"),
        *("near_duplicates", "links_cut", "findings", "ignored", "histograms"),
    }
)
#: A text in pieces, each with a weight.
WeightedText = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class AuditReportData:
    """The data of the page.

    Args:
        targets, names: one per row, from the manifest.
        notes: what was inferred while reading.
        picture: row -> a data URI, or "" for no image.
        words: (rows, whether to compare them with the first one) -> each row's text in pieces with
            weights; None if the rows are not texts.
        exclude: name of the exclude list, for the page's text.
    """

    name: str
    audit: AuditFindings
    targets: Sequence[object]
    names: Sequence[str]
    notes: Sequence[str]
    picture: Callable[[int], str]
    words: Callable[[Sequence[int], bool], list[WeightedText]] | None
    exclude: str
    command: str
    versions: Mapping[str, str]


def build_audit_report(story: AuditReportData) -> Report:
    """The page as blocks; `report.render` writes it."""
    audit = story.audit
    by_kind = {
        name: findings
        for name in KINDS
        if (findings := [finding for finding in audit.findings if finding.kind == name])
    }
    budget = _PhotoBudget(_MOST)
    sections = [Section("Findings", tuple(_overview(story, by_kind)))]
    for name, findings in by_kind.items():
        kind = KINDS[name]
        title = kind.format_title(audit.nouns)
        title = capitalize_first(title)
        sections.append(Section(title, tuple(_findings(story, kind, findings, budget))))
    sections.append(Section("Contents of the data", tuple(_counts(audit))))
    if sheet := _contact_sheet(story):
        sections.append(Section("Samples of each class", tuple(sheet)))
    rows = pluralize(int(audit.counts["rows"]), "row")
    return Report(
        f"Audit of {story.name}",
        f"{rows}; nothing in the data was changed",
        story.command,
        tuple(sections),
        story.versions,
    )


class _PhotoBudget:
    """The number of photos that may still be added to the page."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining

    def take_up_to(self, count: int) -> int:
        granted = min(count, self.remaining)
        self.remaining -= granted
        return granted


def _overview(story: AuditReportData, by_kind: Mapping[str, Sequence[Finding]]) -> list[Block]:
    if not by_kind:
        checked = pluralize(int(story.audit.counts["rows"]), "row")
        return [Text("", f"No problems were found in {checked}. See what the data holds below.")]
    rows = []
    for name, findings in by_kind.items():
        files = len({row for finding in findings for row in finding.rows})
        kind, nouns = KINDS[name], story.audit.nouns
        rows.append((kind.format_title(nouns), len(findings), files, kind.format_advice(nouns)))
    columns = (
        Column("problem"),
        Column("findings", "number"),
        Column(f"{story.audit.nouns.unit}s", "number"),
        Column("what to do"),
    )
    note = (
        f"{story.exclude} lists the rows that training should leave out. Rows that need a "
        "decision of yours are in it as comments. Edit it, then train with --exclude."
    )
    return [TableBlock("", columns, tuple(rows), note)]


def _findings(
    story: AuditReportData, kind: FindingKind, findings: Sequence[Finding], budget: _PhotoBudget
) -> list[Block]:
    blocks: list[Block] = []
    if kind.advice:
        blocks.append(Text("", kind.format_advice(story.audit.nouns)))
    with_files = [finding for finding in findings if finding.rows]
    if len(with_files) < len(findings):
        messages = "\n\n".join(finding.message for finding in findings if not finding.rows)
        blocks.append(Text("", messages))
    if not with_files:
        return blocks
    groups: list[tuple[Photo, ...]] = []
    for finding in with_files[:_GROUPS]:
        # a single finding of many files (damage, label issues) is a list, not a group
        limit = _PHOTOS_OF_ONE if len(with_files) == 1 else _PHOTOS
        count = budget.take_up_to(min(len(finding.rows), limit))
        if count:
            groups.append(_photos(story, finding, count, compared=kind.is_group))
    hidden = sum(len(finding.rows) for finding in with_files) - sum(map(len, groups))
    note = f"And {pluralize(hidden, story.audit.nouns.unit)} more, in audit.json." if hidden else ""
    return [*blocks, PhotoGroups("", tuple(groups), note)]


def _photos(
    story: AuditReportData, finding: Finding, count: int, *, compared: bool
) -> tuple[Photo, ...]:
    """The first `count` rows of a finding."""
    rows = finding.rows[:count]
    words: list[WeightedText] = [()] * len(rows)
    if story.words is not None:
        words = story.words(rows, compared)
    photos = []
    for place, row in enumerate(rows):
        labels = [label for label in get_labels(story.targets[row]) if isinstance(label, str)]
        note = finding.notes[place] if finding.notes else ""
        picture = story.picture(row)
        name = finding.paths[place]
        photos.append(Photo(name, ", ".join(labels), note, picture, tuple(words[place])))
    return tuple(photos)


def _contact_sheet(story: AuditReportData) -> list[Block]:
    """A few samples of each class, from all over the data; without classes, of all rows."""
    flagged = {row for finding in story.audit.findings for row in finding.rows}
    rows: dict[str, list[int]] = defaultdict(list)
    classes = {name for split in story.audit.counts["classes"].values() for name in split}
    for row, target in enumerate(story.targets):
        labels = [label for label in get_labels(target) if isinstance(label, str)]
        names = [label for label in labels if label in classes] if classes else [""]
        for name in names:
            if row not in flagged:
                rows[name].append(row)
    class_order = sorted(rows, key=natural_key)[:_SAMPLES]
    count = min(_SAMPLES_OF_CLASS, _SAMPLES // max(len(class_order), 1)) if classes else 24
    blocks: list[Block] = []
    for name in class_order:
        step = max(1, len(rows[name]) // count)
        photos = _draw_samples(story, rows[name][::step][:count])
        if photos:
            blocks.append(PhotoGroups(name, (photos,)))
    return blocks


def _draw_samples(story: AuditReportData, rows: Sequence[int]) -> tuple[Photo, ...]:
    """The rows that can be shown."""
    if story.words is not None:
        texts = [[(piece, 0.0) for piece, _ in text] for text in story.words(rows, False)]
        return tuple(
            Photo(story.names[row], "", words=tuple(text))
            for row, text in zip(rows, texts, strict=True)
        )
    pictures = [(row, story.picture(row)) for row in rows]
    return tuple(
        Photo(story.names[row], "", picture=picture) for row, picture in pictures if picture
    )


def _counts(audit: AuditFindings) -> list[Block]:
    counts = audit.counts
    facts = [
        ("rows", counts["rows"]),
        ("size", format_bytes(counts["bytes"])),
        *((name.replace("_", " "), _fact(value)) for name, value in _of_input(counts)),
        ("ignored", _shares(counts["ignored"])),
    ]
    blocks: list[Block] = [FactList("", tuple((key, value) for key, value in facts if value != ""))]
    splits = list(counts["classes"])
    names = list(counts["classes"][splits[0]]) if splits else []
    if names:
        columns = (Column("class"), *(Column(split, "bar") for split in splits))
        rows = [(name, *(counts["classes"][split][name] for split in splits)) for name in names]
        blocks.append(TableBlock("Classes", columns, tuple(rows)))
    for name, classes in counts.get("histograms", {}).items():
        columns = (Column(name), Column("rows", "bar"))
        blocks.append(TableBlock(f"Rows by {name}", columns, tuple(classes.items())))
    if counts["links_cut"]:
        blocks.append(
            Text(
                "Split groups",
                "Links between near duplicates joined groups of over 1 % of all rows. To split "
                f"them, the {pluralize(int(counts['links_cut']), 'weakest link')} were ignored.",
            )
        )
    return blocks


def _of_input(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Counts from the input's own audit."""
    return [(name, value) for name, value in counts.items() if name not in _SHOWN_ELSEWHERE]


def _fact(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if {"min", "median", "max"} <= set(value):
        return f"{value['min']:g} to {value['max']:g}, median {value['median']:g}"
    return _shares(value)


def _shares(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
