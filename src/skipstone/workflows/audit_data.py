"""audit: count what is in the data and find problems; the data is not changed."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipstone.auditing.exclude_list import format_exclude_list
from skipstone.auditing.label_issues import LabelIssue, find_label_issues, find_tag_issues
from skipstone.auditing.run_checks import AuditFindings, FindLabelIssues
from skipstone.auditing.run_checks import audit_rows as audit_manifest
from skipstone.bundle.output_paths import choose_output_folder
from skipstone.core import storage
from skipstone.core.errors import DataError, UsageError
from skipstone.core.events import emit_warning
from skipstone.core.formatting import join_command_line, relative_path
from skipstone.core.registry import INPUTS
from skipstone.core.results import TableResult
from skipstone.core.settings import Settings
from skipstone.core.specs import resolve_target
from skipstone.core.versions import package_versions
from skipstone.data.exclude import read_exclude_list
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.sources import read_source
from skipstone.report.audit_page import AuditReportData, WeightedText, build_audit_report
from skipstone.report.data_uris import encode_data_uri
from skipstone.workflows.run_result import format_result

AUDIT_FILES = {"json": "audit.json", "page": "audit.html", "exclude": "exclude.txt"}
_SIDE = 144  # of a picture on the page
#: Key in `audit.json`: hash of the exclude list as it was written; it detects a person's edits.
_EXCLUDE_HASH = "exclude_sha256"


@dataclass(frozen=True)
class AuditResult(TableResult):
    """The result of `audit`.

    Args:
        data: the path that the user passed.
        files: written files by kind: "json", "page", "exclude"; empty without `out`.
        settings: options by which the data was read; training needs them, too.
    """

    audit: AuditFindings
    notes: tuple[str, ...]
    data: Path
    files: dict[str, Path] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0

    def __repr__(self) -> str:
        notes = {f"note {number}": note for number, note in enumerate(self.notes)}
        messages_by_kind: dict[str, list[str]] = defaultdict(list)
        for finding in self.audit.findings:
            messages_by_kind[finding.kind].append(finding.message)
        kinds = {
            kind: messages[0] + (f" And {len(messages) - 1:,} more." if messages[1:] else "")
            for kind, messages in messages_by_kind.items()
        }
        facts = {"data": self.data, **notes, "rows": f"{self.audit.counts['rows']:,}"}
        return format_result(self, {**facts, **(kinds or {"findings": "none"}), **self.files})

    def table_rows(self) -> list[dict[str, Any]]:
        """The findings."""
        return [
            {"kind": finding.kind, "message": finding.message, "files": len(finding.paths)}
            for finding in self.audit.findings
        ]

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
    """Count what is in the data and find problems. The data is not changed.

    Args:
        out: a folder for `audit.json`, a page with pictures and an exclude list; rows that are
            excluded already stay on that list.
        model: a run or bundle whose features are used to find label errors.
        command: the command line that repeats the audit, for the page.

    Raises:
        UsageError: the data or the model cannot be used, or the exclude list in `out` was edited.
    """
    if model is not None:
        from skipstone.workflows.answer import (
            reject_swapped_arguments,  # imports torch, so only if needed
        )

        reject_swapped_arguments(Path(model), data)
    folder = None if out is None else choose_output_folder(out, default="audit", data=data)
    if folder is not None:
        _refuse_edited_list(folder)
    # a table with invalid UTF-8 is read, too, so that it can be reported
    all_settings = Settings(settings)
    options = all_settings.make_options(ReadOptions, bad_bytes="replace")
    all_settings.reject_unknown_for_command("audit")
    manifest = read_manifest(data, options)
    before = () if options.exclude is None else tuple(read_exclude_list(options.exclude))
    checker = None if model is None else _label_checker(manifest, Path(model), seed)
    result = audit_manifest(manifest, find_label_issues=checker)
    files: dict[str, Path] = {}
    if folder is not None:
        name = relative_path((folder / AUDIT_FILES["exclude"]).absolute())
        text = format_exclude_list(result, manifest, data=data, file=name, already_excluded=before)
        files = _write(folder, result, manifest, text, command)
    return AuditResult(result, manifest.notes, data, files, dict(settings or {}))


def _label_checker(manifest: Manifest, model: Path, seed: int) -> FindLabelIssues:
    """A function that finds label issues with the model's features."""
    targets = manifest.column_values("target")
    single = all(isinstance(target, str) for target in targets)
    if not single and not all(isinstance(target, list) for target in targets):
        raise UsageError(
            f"--model checks class names and tags; the labels of {manifest.root} are neither.",
            hint="Leave --model out.",
        )

    def check_labels(groups: Sequence[Sequence[int]]) -> list[LabelIssue]:
        from skipstone.auditing.label_features import compute_label_check_features

        features, rows = compute_label_check_features(model, manifest.list_sources())
        if not rows:
            emit_warning("No file could be read, so no label was checked.")
            return []
        position = {row: n for n, row in enumerate(rows)}
        near = [[position[row] for row in group if row in position] for group in groups]
        labels = [targets[row] for row in rows]
        check: Callable[..., list[LabelIssue]] = find_label_issues if single else find_tag_issues
        suspicions = check(features, labels, near, seed=seed)
        return [suspicion.at_row(rows[suspicion.row]) for suspicion in suspicions]

    return check_labels


def _refuse_edited_list(folder: Path) -> None:
    """UsageError if the exclude list in `folder` was edited since an audit wrote it."""
    exclude_list, record = folder / AUDIT_FILES["exclude"], folder / AUDIT_FILES["json"]
    if not exclude_list.exists():
        return
    content = storage.read_json(record) if record.is_file() else None
    sha256 = content.get(_EXCLUDE_HASH) if isinstance(content, dict) else None
    if sha256 == storage.file_sha256(exclude_list):
        return
    raise UsageError(
        f"{exclude_list} exists and was edited, so it is not overwritten.",
        hint=f"Name another folder: --out {shlex.quote(f'{folder}-2')}. If you do not need the "
        f"file: rm {shlex.quote(str(exclude_list))}",
    )


def _write(
    folder: Path,
    result: AuditFindings,
    manifest: Manifest,
    exclude_list: str,
    command: Sequence[str],
) -> dict[str, Path]:
    """Write the three files; returns their paths by kind."""
    from skipstone.report.render import render_report  # its charts import torch

    storage.make_folder(folder)
    files = {name: folder / file for name, file in AUDIT_FILES.items()}
    storage.write_text(files["exclude"], exclude_list)
    sha256 = storage.file_sha256(files["exclude"])
    storage.write_json(files["json"], {**result.to_json(), _EXCLUDE_HASH: sha256})
    story = AuditReportData(
        name=manifest.root.resolve().name,
        audit=result,
        targets=manifest.column_values("target"),
        names=manifest.row_names(),
        notes=manifest.notes,
        picture=_pictures(manifest),
        words=_words(manifest),
        exclude=AUDIT_FILES["exclude"],
        command=join_command_line(command),
        versions=package_versions(),
    )
    storage.write_text(files["page"], render_report(build_audit_report(story)))
    return files


def _words(manifest: Manifest) -> Callable[[Sequence[int], bool], list[WeightedText]] | None:
    """A function from rows to their texts in pieces; None if the input is not text (its spec then
    lacks `diff_texts`)."""
    target = INPUTS[manifest.input].diff_texts
    if target is None:
        return None
    diff_texts = resolve_target(target)

    def split_texts(rows: Sequence[int], compared: bool) -> list[WeightedText]:
        data = [_bytes(manifest, row) for row in rows]
        pieces: list[WeightedText] = diff_texts(data, mark_differences=compared)
        return pieces

    return split_texts


def _bytes(manifest: Manifest, row: int) -> bytes:
    try:
        data = read_source(manifest.source_at(row))
    except DataError:
        return b""
    return data if isinstance(data, bytes) else b""


def _pictures(manifest: Manifest) -> Callable[[int], str]:
    """A function from a row to its picture as a data URI, or "" if it has none."""
    target = INPUTS[manifest.input].preview
    if target is None:
        return lambda row: ""
    preview = resolve_target(target)

    def draw_row(row: int) -> str:
        try:
            record = preview(read_source(manifest.source_at(row)), _SIDE)
        except DataError:
            return ""
        return "" if record is None else encode_data_uri(record) or ""

    return draw_row
