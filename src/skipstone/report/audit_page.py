"""An audit as a page: what was counted, and every kind of finding with its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skipstone.prepare.audit import Audit
from skipstone.prepare.findings import KINDS, Finding, Kind
from skipstone.prepare.split import labels_of
from skipstone.report.album import Album, Photo
from skipstone.report.blocks import Block, Column, Facts, Report, Section, Table, Text
from skipstone.words import counted

#: Groups of one kind that are shown, photos of a group, and photos of the page together.
_GROUPS, _PHOTOS, _MOST = 30, 8, 240
_NAMES = 50
#: Counts that are told elsewhere on the page, or are those of findings.
_TOLD = frozenset(
    {
        *("rows", "bytes", "splits", "classes", "balance", "groups", "unreadable", "duplicates"),
        *("near_duplicates", "links_cut", "findings", "ignored", "histograms"),
    }
)
#: A text in pieces, with weights.
Words = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class AuditStory:
    """What the page is made from.

    Args:
        targets: of each row, as the manifest has them.
        notes: what was inferred in reading.
        picture: row -> a data URI, or "" where there is nothing to show.
        words: rows, and whether they are compared with the first -> each as a text in pieces, with
            weights; None where they are no texts.
        exclude: how to name the exclude list.
    """

    name: str
    found: Audit
    targets: Sequence[object]
    notes: Sequence[str]
    picture: Callable[[int], str]
    words: Callable[[Sequence[int], bool], list[Words]] | None
    exclude: str
    command: str
    versions: Mapping[str, str]


def audit_report(story: AuditStory) -> Report:
    """The page as blocks; `report.render` writes it."""
    found = story.found
    by_kind = {
        name: findings
        for name in KINDS
        if (findings := [finding for finding in found.findings if finding.kind == name])
    }
    room = _Room(_MOST)
    sections = [Section("What was found", tuple(_overview(story, by_kind)))]
    for name, findings in by_kind.items():
        kind = KINDS[name]
        title = found.nouns.title(kind)
        title = title[0].upper() + title[1:]
        sections.append(Section(title, tuple(_told(story, kind, findings, room))))
    sections.append(Section("What is there", tuple(_counts(found))))
    rows = counted(int(found.counts["rows"]), "row")
    return Report(
        f"Audit of {story.name}",
        f"{rows}; nothing in the data was changed",
        story.command,
        tuple(sections),
        story.versions,
    )


class _Room:
    """How many photos the page still takes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, wanted: int) -> int:
        given = min(wanted, self.left)
        self.left -= given
        return given


def _overview(story: AuditStory, by_kind: Mapping[str, Sequence[Finding]]) -> list[Block]:
    if not by_kind:
        return [Text("", "Nothing wrong was found.")]
    rows = []
    for name, findings in by_kind.items():
        files = len({row for finding in findings for row in finding.rows})
        kind, nouns = KINDS[name], story.found.nouns
        rows.append((nouns.title(kind), len(findings), files, nouns.advice(kind)))
    columns = (
        Column("what"),
        Column("times", "number"),
        Column(f"{story.found.nouns.unit}s", "number"),
        Column("what to do"),
    )
    said = (
        f"{story.exclude} lists what should be left out, and as comments what is a matter of "
        "judgement. Edit it, and train with --exclude."
    )
    return [Table("", columns, tuple(rows), said)]


def _told(story: AuditStory, kind: Kind, findings: Sequence[Finding], room: _Room) -> list[Block]:
    blocks: list[Block] = []
    if kind.advice:
        blocks.append(Text("", story.found.nouns.advice(kind)))
    with_files = [finding for finding in findings if finding.rows]
    if len(with_files) < len(findings):
        said = "\n\n".join(finding.message for finding in findings if not finding.rows)
        blocks.append(Text("", said))
    if not with_files:
        return blocks
    groups: list[tuple[Photo, ...]] = []
    for finding in with_files[:_GROUPS]:
        # One finding of many files (damage, doubted labels) is a list, not a group.
        alone = len(with_files) == 1
        shown = room.take(min(len(finding.rows), _NAMES if alone else _PHOTOS))
        if shown:
            groups.append(_photos(story, finding, shown, compared=kind.together))
    total = sum(len(finding.rows) for finding in with_files)
    left = total - sum(map(len, groups))
    note = f"And {counted(left, story.found.nouns.unit)} more, in audit.json." if left else ""
    return [*blocks, Album("", tuple(groups), note)]


def _photos(
    story: AuditStory, finding: Finding, shown: int, *, compared: bool
) -> tuple[Photo, ...]:
    """The first so many rows of a finding."""
    rows = finding.rows[:shown]
    words: list[Words] = [()] * len(rows)
    if story.words is not None:
        words = story.words(rows, compared)
    photos = []
    for place, row in enumerate(rows):
        labels = [label for label in labels_of(story.targets[row]) if isinstance(label, str)]
        note = finding.notes[place] if finding.notes else ""
        picture = story.picture(row)
        name = finding.paths[place]
        photos.append(Photo(name, ", ".join(labels), note, picture, tuple(words[place])))
    return tuple(photos)


def _counts(found: Audit) -> list[Block]:
    counts = found.counts
    facts = [
        ("rows", counts["rows"]),
        ("bytes", counts["bytes"]),
        *((name.replace("_", " "), _fact(value)) for name, value in _of_input(counts)),
        ("passed over", _shares(counts["ignored"])),
    ]
    blocks: list[Block] = [Facts("", tuple((key, value) for key, value in facts if value != ""))]
    splits = list(counts["classes"])
    names = list(counts["classes"][splits[0]]) if splits else []
    if names:
        columns = (Column("class"), *(Column(split, "bar") for split in splits))
        rows = [(name, *(counts["classes"][split][name] for split in splits)) for name in names]
        blocks.append(Table("Classes", columns, tuple(rows)))
    for name, classes in counts.get("histograms", {}).items():
        columns = (Column(name), Column("rows", "bar"))
        blocks.append(Table(f"How many {name}", columns, tuple(classes.items())))
    if found.counts["links_cut"]:
        said = (
            f"{counted(int(counts['links_cut']), 'link')} between near duplicates chained groups "
            "together that held over 1 % of the rows; the weakest count for nothing."
        )
        blocks.append(Text("Chains", said))
    return blocks


def _of_input(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the input's own audit counted."""
    return [(name, value) for name, value in counts.items() if name not in _TOLD]


def _fact(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if {"min", "median", "max"} <= set(value):
        return f"{value['min']:g} to {value['max']:g}, median {value['median']:g}"
    return _shares(value)


def _shares(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
