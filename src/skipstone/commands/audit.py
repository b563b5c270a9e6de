"""skipstone audit: what is in the data and what is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from skipstone.commands.base import (
    Argument,
    Command,
    DataPath,
    Output,
    ReadingOptions,
    Seed,
    command_function,
    to_path,
)

if TYPE_CHECKING:
    from skipstone.core.specs import AuditNouns
    from skipstone.data.findings import Finding, FindingKind
    from skipstone.workflows.audit_data import AuditResult

#: Findings of a kind that are printed.
_MAX_FINDINGS = 3
#: Classes whose counts are printed; --json has all of them.
_MAX_CLASSES = 30
#: Counts that are printed only where they are above 0.
_RARE_COUNTS = ("groups", "links_cut", "turned_by_exif")


@command_function
def audit(
    data: DataPath,
    *,
    out: Annotated[
        Path | str | None,
        Argument(
            "folder for audit.json, a page with the images, and an exclude list", metavar="DIR"
        ),
    ] = None,
    model: Annotated[
        Path | str | None, Argument("a run or bundle whose features check the labels")
    ] = None,
    seed: Seed = 0,
    **options: ReadingOptions,
) -> AuditResult:
    """Count what is in the data and find what is wrong with it; nothing is changed."""
    from skipstone.workflows.audit_data import audit as audit_data

    return audit_data(
        to_path(data),
        out=to_path(out),
        model=to_path(model),
        seed=seed,
        settings=options,
        command=COMMAND.to_words(data=data, out=out, model=model, seed=seed, **options),
    )


def print_result(result: AuditResult, output: Output) -> None:
    from skipstone.data.findings import KINDS

    for sentence in result.notes:
        output.print_line(sentence)
    audited = result.audit
    output.print_line()
    hidden = {"findings", *(name for name in _RARE_COUNTS if not audited.counts.get(name))}
    counts = {name: count for name, count in audited.counts.items() if name not in hidden}
    for line in describe_counts(counts):
        output.print_line(line)
    output.print_line()
    if not audited.findings:
        output.print_line("No problems found.", "green")
    for kind in KINDS.values():
        findings = [finding for finding in audited.findings if finding.kind == kind.name]
        if findings:
            _print_findings(kind, findings, audited.nouns, output)
    words = {"data": result.data, **result.settings}
    if result.files:
        output.print_line(f"Written: {', '.join(str(path) for path in result.files.values())}")
        words["exclude"] = str(result.files["exclude"])
        train = ["skipstone", "train", *COMMAND.to_words(**words)[2:]]
        output.print_line(f"Next:    {shlex.join(train)}", "bold")
    elif audited.findings:
        output.print_line(f"Details: {shlex.join(COMMAND.to_words(**words, out='audit'))}", "bold")


def _print_findings(
    kind: FindingKind, findings: Sequence[Finding], nouns: AuditNouns, output: Output
) -> None:
    """A kind's title, its first few findings, and what to do about them."""
    files = len({path for finding in findings for path in finding.paths})
    how_many = f": {files:,} {nouns.unit}{'' if files == 1 else 's'}" if files else ""
    groups = f" in {len(findings):,} groups" if files and len(findings) > 1 else ""
    title = kind.format_title(nouns)
    title = title[0].upper() + title[1:]
    output.print_line(f"{title}{how_many}{groups}", "bold yellow")
    for finding in findings[:_MAX_FINDINGS]:
        output.print_line(f"    {finding.message}")
    if len(findings) > _MAX_FINDINGS:
        output.print_line(f"    and {len(findings) - _MAX_FINDINGS:,} more")
    paths = findings[0].paths
    if len(findings) == 1 and len(paths) > _MAX_FINDINGS:
        for path in paths[: 2 * _MAX_FINDINGS]:
            output.print_line(f"        {path}")
        if len(paths) > 2 * _MAX_FINDINGS:
            output.print_line(f"        and {len(paths) - 2 * _MAX_FINDINGS:,} more")
    if kind.advice:
        output.print_line(f"    {kind.format_advice(nouns)}", "dim")


def describe_counts(counts: Mapping[str, Any]) -> list[str]:
    """The audit's counts, a line per key."""
    lines = []
    for name, value in counts.items():
        if isinstance(value, Mapping):
            parts = (f"{key or '(none)'} {_format_count(item)}" for key, item in value.items())
            text = ", ".join(parts)
        else:
            text = _format_count(value)
        if text:
            lines.append(f"{name.replace('_', ' ')}: {text}")
    return lines


def _format_count(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        items = list(value.items())
        parts = [f"{key} {_format_count(item)}" for key, item in items[:_MAX_CLASSES]]
        more = f" and {len(value) - _MAX_CLASSES:,} more" if len(value) > _MAX_CLASSES else ""
        return f"({', '.join(parts)}{more})"
    if isinstance(value, (list, tuple)):
        return " × ".join(_format_count(item) for item in value)
    return str(value)


COMMAND = Command(
    name="audit",
    order=20,
    function=audit,
    print_result=print_result,
    examples=("skipstone audit photos/ --out audit",),
    option_groups=("data",),
    everyday_options=("task", "label_column", "text_column", "exclude"),
)
