"""skipstone export: files that run without skipstone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from skipstone.commands.base import (
    Argument,
    Command,
    ModelPath,
    Output,
    command_function,
    to_path,
)
from skipstone.report.text_format import format_bytes

if TYPE_CHECKING:
    from skipstone.workflows.export_and_verify import ExportResult


@command_function
def export(
    model: ModelPath,
    *,
    to: Annotated[
        Literal["auto", "onnx", "openvino"],
        Argument("the format; auto: that of the default program, which is INT8 after shrink"),
    ] = "auto",
    out: Annotated[
        Path | str | None,
        Argument("folder to write (default: export-onnx or export-openvino)", metavar="DIR"),
    ] = None,
    argmax: Annotated[
        bool, Argument("segmentation: the program gives each pixel's class instead of logits")
    ] = False,
) -> ExportResult:
    """Export what ships: the program of a model and a script that runs it without skipstone."""
    from skipstone.workflows.export_and_verify import export as export_model

    return export_model(to_path(model), to=to, out=to_path(out), argmax=argmax)


def print_result(result: ExportResult, output: Output) -> None:
    rows = [[name, format_bytes(count)] for name, count in result.files.items()]
    rows.append(["in total", format_bytes(sum(result.files.values()))])
    output.print_table(("file", "size"), rows, title=f"{result.folder}")
    if result.next_command:
        output.print_line(f"Next:    {result.next_command}", "bold")


COMMAND = Command(
    name="export",
    order=80,
    function=export,
    print_result=print_result,
    examples=("skipstone export runs/001/shrunk-int8 --out exported",),
)
