"""The exclude list that an audit proposes, as text for a person to edit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from skipstone.auditing.run_checks import AuditFindings
from skipstone.data.exclude import format_exclude_line
from skipstone.data.findings import KINDS, Finding
from skipstone.data.manifest import Manifest


def format_exclude_list(
    audit: AuditFindings,
    manifest: Manifest,
    *,
    data: Path,
    file: Path,
    already_excluded: Sequence[str] = (),
) -> str:
    """The list: rows to leave out as lines, rows to look at as comments.

    Args:
        data, file: the user's name of the data and the list's path, for the command in the list.
        already_excluded: paths that another list left out of `manifest` already; they stay out.
    """
    command = shlex.join(["skipstone", "train", str(data), "--exclude", str(file)])
    head = [
        f"# Files of {_one_line(data)} that an audit proposes to leave out. To train without them:",
        "#",
        f"#     {_one_line(command)}",
        "#",
        "# One path per line, relative to the data. Lines that begin with # are ignored: put a #",
        "# already_excluded a path to keep its file; remove it to leave the file out.",
    ]
    splits = manifest.column_values("split")
    out = {row for finding in audit.findings for row in rows_to_exclude(finding, splits)}
    listed: set[int] = set()
    body: list[str] = []
    if already_excluded:
        body = [
            "",
            "# --- Left out already_excluded this audit.",
            *map(format_exclude_line, already_excluded),
        ]
    for kind in KINDS.values():
        lines = [
            line
            for finding in audit.findings
            if finding.kind == kind.name
            for line in _lines(finding, splits, out, listed)
        ]
        if lines:
            body += [
                "",
                f"# --- {kind.format_title(audit.nouns)}. {kind.format_advice(audit.nouns)}",
                *lines,
            ]
    if not body:
        body = ["", "# Nothing to leave out."]
    return "\n".join([*head, *body]) + "\n"


def rows_to_exclude(finding: Finding, splits: Sequence[str]) -> tuple[int, ...]:
    """The rows of a finding that the list leaves out."""
    match KINDS[finding.kind].leave_out:
        case "all":
            return finding.rows
        case "copies":
            return finding.rows[1:]
        case "training":
            return tuple(row for row in finding.rows if splits[row] in ("", "train"))
        case _:
            return ()


def _lines(
    finding: Finding, splits: Sequence[str], out: set[int], listed: set[int]
) -> Iterator[str]:
    """A finding's lines: each row that is left out once, others as comments.

    Args:
        out: rows that any finding leaves out.
        listed: rows with a line already; extended here.
    """
    choice = KINDS[finding.kind].leave_out
    excluded = set(rows_to_exclude(finding, splits))
    proposed = finding.rows if choice == "ask" else excluded
    new = [row for row in finding.rows if row in proposed and row not in listed]
    if not new:
        return
    notes = dict(zip(finding.rows, finding.notes, strict=True)) if finding.notes else {}
    if choice != "all" and len(finding.rows) > 1 and not notes.get(finding.rows[0]):
        yield f"# {_one_line(finding.message)}"
    for row, path in zip(finding.rows, finding.paths, strict=True):
        if row not in new:
            continue
        if notes.get(row):
            yield f"# {_one_line(notes[row])}"
        if row in excluded:
            listed.add(row)
            yield format_exclude_line(path)
        elif row not in out:
            yield f"#{format_exclude_line(path)}"


def _one_line(text: object) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(text))
