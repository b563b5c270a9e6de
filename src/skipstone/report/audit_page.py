"""An audit as a page: what was counted, and every kind of finding with its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from skipstone.prepare.audit import Audit
from skipstone.prepare.findings import KINDS, Finding, Kind
from skipstone.prepare.split import labels_of
from skipstone.report.album import Album, Photo
from skipstone.report.blocks import Block, Column, Facts, Report, Section, Table, Text
from skipstone.report.words import counted

#: Groups of one kind that are shown, photos of a group, and photos of the page together.
_GROUPS, _PHOTOS, _MOST = 30, 8, 240
_NAMES = 50


@dataclass(frozen=True)
class AuditStory:
    """What the page is made from.

    Args:
        targets: of each row, as the manifest has them.
        notes: what was inferred in reading.
        picture: row -> a data URI, or "" where there is nothing to show.
        exclude: how to name the exclude list.
    """

    name: str
    found: Audit
    targets: Sequence[object]
    notes: Sequence[str]
    picture: Callable[[int], str]
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
        title = kind.title[0].upper() + kind.title[1:]
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
        rows.append((KINDS[name].title, len(findings), files, KINDS[name].advice))
    columns = (
        Column("what"),
        Column("times", "right", "number"),
        Column("files", "right", "number"),
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
        blocks.append(Text("", kind.advice))
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
            groups.append(tuple(_photo(story, finding, place) for place in range(shown)))
    total = sum(len(finding.rows) for finding in with_files)
    left = total - sum(map(len, groups))
    note = f"And {counted(left, 'file')} more, in audit.json." if left else ""
    return [*blocks, Album("", tuple(groups), note)]


def _photo(story: AuditStory, finding: Finding, place: int) -> Photo:
    row = finding.rows[place]
    labels = [label for label in labels_of(story.targets[row]) if isinstance(label, str)]
    note = finding.notes[place] if finding.notes else ""
    return Photo(finding.paths[place], ", ".join(labels), note, story.picture(row))


def _counts(found: Audit) -> list[Block]:
    counts = found.counts
    sizes = [
        (f"{side}, pixels", f"{spread['min']:g} to {spread['max']:g}, median {spread['median']:g}")
        for side in ("width", "height")
        if (spread := counts.get(side))
    ]
    facts: list[tuple[str, object]] = [
        ("rows", counts["rows"]),
        ("bytes", counts["bytes"]),
        *sizes,
        ("formats", _shares(counts["formats"])),
        ("modes", _shares(counts["modes"])),
        ("turned by EXIF", counts["turned_by_exif"]),
        ("passed over", _shares(counts["ignored"])),
    ]
    blocks: list[Block] = [Facts("", tuple((key, value) for key, value in facts if value != ""))]
    splits = list(counts["classes"])
    names = list(counts["classes"][splits[0]]) if splits else []
    if names:
        columns = (Column("class"), *(Column(split, "right", "bar") for split in splits))
        rows = [(name, *(counts["classes"][split][name] for split in splits)) for name in names]
        blocks.append(Table("Classes", columns, tuple(rows)))
    if found.counts["links_cut"]:
        said = (
            f"{counted(int(counts['links_cut']), 'link')} between near duplicates chained groups "
            "together that held over 1 % of the rows; the weakest count for nothing."
        )
        blocks.append(Text("Chains", said))
    return blocks


def _shares(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
