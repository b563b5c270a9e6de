"""audit: what is in the data and what is wrong with it; the data is not changed."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstone import storage
from skipstone.data.exclude import read_exclude
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.sources import read_source
from skipstone.errors import DataError, UsageError
from skipstone.events import warn
from skipstone.prepare.audit import Audit, Doubt
from skipstone.prepare.audit import audit as audit_manifest
from skipstone.prepare.exclude_list import exclude_text
from skipstone.prepare.suspicious import Suspicion, doubted, doubted_tags
from skipstone.registry import INPUTS, Entry, resolve_target
from skipstone.report.audit_page import AuditStory, Words, audit_report
from skipstone.report.pictures import picture_uri
from skipstone.settings import Settings
from skipstone.verbs.lineage import versions
from skipstone.verbs.places import output_folder
from skipstone.verbs.told import told
from skipstone.words import command_line, shortest

FILES = {"json": "audit.json", "page": "audit.html", "exclude": "exclude.txt"}
_SIDE = 144  # of a picture on the page
#: In `audit.json`: of the exclude list as it was written, so that a person's edits are seen.
_WRITTEN = "exclude_sha256"


@dataclass(frozen=True)
class AuditResult:
    """Args:
    data: as the user named it.
    files: what was written, by what it is: "json", "page", "exclude"; empty without `out`.
    """

    audit: Audit
    notes: tuple[str, ...]
    data: Path
    files: dict[str, Path] = field(default_factory=dict)
    exit_code: int = 0

    def __repr__(self) -> str:
        notes = {f"note {number}": note for number, note in enumerate(self.notes)}
        found: dict[str, list[str]] = defaultdict(list)
        for finding in self.audit.findings:
            found[finding.kind].append(finding.message)
        kinds = {
            kind: messages[0] + (f" And {len(messages) - 1:,} more." if messages[1:] else "")
            for kind, messages in found.items()
        }
        facts = {"data": self.data, **notes, "rows": f"{self.audit.counts['rows']:,}"}
        return told(self, {**facts, **(kinds or {"findings": "none"}), **self.files})

    def to_json(self) -> dict[str, Any]:
        return {
            **self.audit.to_json(),
            "notes": list(self.notes),
            "files": {name: str(path) for name, path in self.files.items()},
        }


def audit(
    data: Path,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    command: Sequence[str] = (),
) -> AuditResult:
    """What is in the data and what is wrong with it. The data is not changed.

    Args:
        out: a folder for `audit.json`, a page with the pictures and an exclude list, on which what
            is excluded already stays.
        model: a run or bundle whose features judge the labels.
        command: what a person would type to get the same, for the page.

    Raises:
        UsageError: the data or the model cannot be used, or the exclude list in `out` was edited.
    """
    if model is not None:
        from skipstone.verbs.answer import refuse_swapped  # brings torch, which most need not

        refuse_swapped(Path(model), data)
    folder = None if out is None else output_folder(out, default="audit", data=data)
    if folder is not None:
        _keep_edited(folder)
    # A table with bad bytes is read all the same: what is wrong with it is the question.
    given = Settings(settings)
    options = given.options(ReadOptions, bad_bytes="replace")
    given.check_taken("audit")
    manifest = read_manifest(data, options)
    before = () if options.exclude is None else tuple(read_exclude(options.exclude))
    doubt = None if model is None else _judge(manifest, Path(model), seed)
    found = audit_manifest(manifest, doubt=doubt)
    files: dict[str, Path] = {}
    if folder is not None:
        listed = folder / FILES["exclude"]
        name = shortest(listed.absolute())
        text = exclude_text(found, manifest, data=data, file=name, before=before)
        files = _write(folder, found, manifest, text, command)
    return AuditResult(found, manifest.notes, data, files)


def _judge(manifest: Manifest, model: Path, seed: int) -> Doubt:
    """A judge of labels that stands on the model's features."""
    targets = manifest.column("target")
    single = all(isinstance(target, str) for target in targets)
    if not single and not all(isinstance(target, list) for target in targets):
        raise UsageError(
            f"the labels of {manifest.root} are no names, so no model can be asked about them.",
            hint="Leave --model out.",
        )

    def doubt(groups: Sequence[Sequence[int]]) -> list[Suspicion]:
        from skipstone.runtime.features import judging_features

        features, rows = judging_features(model, manifest.sources())
        if not rows:
            warn("No file could be read, so no label was judged.")
            return []
        place = {row: n for n, row in enumerate(rows)}
        near = [[place[row] for row in group if row in place] for group in groups]
        kept = [targets[row] for row in rows]
        judge: Callable[..., list[Suspicion]] = doubted if single else doubted_tags
        found = judge(features, kept, near, seed=seed)
        return [suspicion.at(rows[suspicion.row]) for suspicion in found]

    return doubt


def _keep_edited(folder: Path) -> None:
    """UsageError where the exclude list in `folder` is not as an audit wrote it: a person has
    edited it."""
    listed, record = folder / FILES["exclude"], folder / FILES["json"]
    if not listed.exists():
        return
    written = storage.read_json(record) if record.is_file() else None
    if isinstance(written, dict) and written.get(_WRITTEN) == storage.file_sha256(listed):
        return
    raise UsageError(
        f"{listed} is there already and is not as an audit wrote it; it is not overwritten.",
        hint=f"Name another folder: --out {shlex.quote(f'{folder}-2')}. Or, if nobody needs it: "
        f"rm {shlex.quote(str(listed))}",
    )


def _write(
    folder: Path, found: Audit, manifest: Manifest, excluded: str, command: Sequence[str]
) -> dict[str, Path]:
    """Args:
    excluded: the text of the exclude list.
    """
    from skipstone.report.render import render  # its charts bring torch

    storage.make_folder(folder)
    files = {name: folder / file for name, file in FILES.items()}
    storage.write_text(files["exclude"], excluded)
    written = storage.file_sha256(files["exclude"])
    storage.write_json(files["json"], {**found.to_json(), _WRITTEN: written})
    story = AuditStory(
        name=manifest.root.resolve().name,
        found=found,
        targets=manifest.column("target"),
        notes=manifest.notes,
        picture=_pictures(manifest),
        words=_words(manifest),
        exclude=FILES["exclude"],
        command=command_line(command),
        versions=versions(),
    )
    storage.write_text(files["page"], render(audit_report(story)))
    return files


def _words(manifest: Manifest) -> Callable[[Sequence[int], bool], list[Words]] | None:
    """Rows -> their texts in pieces, where the input has texts (its fact `beside`)."""
    target = INPUTS[manifest.input].facts.get("beside")
    if target is None:
        return None
    beside = resolve_target(target)

    def words(rows: Sequence[int], compared: bool) -> list[Words]:
        found: list[Words] = beside([_bytes(manifest, row) for row in rows], compared=compared)
        return found

    return words


def _bytes(manifest: Manifest, row: int) -> bytes:
    try:
        data = read_source(manifest.source(row))
    except DataError:
        return b""
    return data if isinstance(data, bytes) else b""


def _pictures(manifest: Manifest) -> Callable[[int], str]:
    """Row -> a picture of it as a data URI, or "" where there is none."""
    target = INPUTS[manifest.input].facts.get("preview")
    if target is None:
        return lambda row: ""
    preview = Entry(manifest.input, target).load()

    def picture(row: int) -> str:
        try:
            record = preview(read_source(manifest.source(row)), _SIDE)
        except DataError:
            return ""
        return "" if record is None else picture_uri(record) or ""

    return picture
