"""The exclude list that an audit proposes, as text for a person to edit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from skipstone.data.exclude import excluded_line
from skipstone.data.manifest import Manifest
from skipstone.prepare.audit import Audit
from skipstone.prepare.findings import KINDS, Finding


def exclude_text(
    found: Audit, manifest: Manifest, *, data: Path, file: Path, before: Sequence[str] = ()
) -> str:
    """The list: what should be left out as lines, what is a matter of taste as comments.

    Args:
        data: as the user named it; `file` is where the list will lie. Both are for the command.
        before: what another list left out already, so that `manifest` lacks it; it stays out.
    """
    command = shlex.join(["skipstone", "train", str(data), "--exclude", str(file)])
    head = [
        f"# What an audit of {_one_line(data)} would leave out. To train without:",
        "#",
        f"#     {_one_line(command)}",
        "#",
        "# One path a line, relative to the data. Lines that begin with # count for nothing: put a",
        "# # before a path to keep its file, take one away to leave it out.",
    ]
    splits = manifest.column("split")
    out = {row for finding in found.findings for row in left_out(finding, splits)}
    told: set[int] = set()
    body: list[str] = []
    if before:
        body = ["", "# --- Left out before this audit.", *map(excluded_line, before)]
    for kind in KINDS.values():
        lines = [
            line
            for finding in found.findings
            if finding.kind == kind.name
            for line in _lines(finding, splits, out, told)
        ]
        if lines:
            body += ["", f"# --- {found.nouns.title(kind)}. {found.nouns.advice(kind)}", *lines]
    if not body:
        body = ["", "# Nothing was found that should be left out."]
    return "\n".join([*head, *body]) + "\n"


def left_out(finding: Finding, splits: Sequence[str]) -> tuple[int, ...]:
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


def _lines(finding: Finding, splits: Sequence[str], out: set[int], told: set[int]) -> Iterator[str]:
    """A finding's lines: each row that is left out once, others as comments."""
    choice = KINDS[finding.kind].leave_out
    asked = choice == "ask"
    mine = set(left_out(finding, splits))
    new = [row for row in finding.rows if row not in told and (row in mine or asked)]
    if choice == "none" or not [row for row in new if asked or row in mine]:
        return
    notes = dict(zip(finding.rows, finding.notes, strict=True)) if finding.notes else {}
    if choice != "all" and len(finding.rows) > 1 and not notes.get(finding.rows[0]):
        yield f"# {_one_line(finding.message)}"
    for row, path in zip(finding.rows, finding.paths, strict=True):
        if row not in new:
            continue
        if notes.get(row):
            yield f"# {_one_line(notes[row])}"
        if row in mine:
            told.add(row)
            yield excluded_line(path)
        elif row not in out:
            yield f"#{excluded_line(path)}"


def _one_line(text: object) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(text))
