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
    to: Annotated[Literal["onnx", "openvino"], Argument("the format")] = "onnx",
    out: Annotated[
        Path | str | None,
        Argument("folder to write (default: export-onnx or export-openvino)", metavar="DIR"),
    ] = None,
    argmax: Annotated[
        bool, Argument("segmentation: the program gives each pixel's class instead of logits")
    ] = False,
) -> ExportResult:
    """Export a model as one ONNX file or OpenVINO IR, with a short script that runs it."""
    from skipstone.workflows.export_and_verify import export as export_model

    return export_model(to_path(model), to=to, out=to_path(out), argmax=argmax)


def print_result(result: ExportResult, output: Output) -> None:
    rows = [[name, format_bytes(count)] for name, count in result.files.items()]
    output.print_table(("file", "size"), rows, title=f"{result.folder}")
    if result.next_command:
        output.print_line(f"Next:    {result.next_command}", "bold")


COMMAND = Command(
    name="export",
    order=80,
    function=export,
    print_result=print_result,
    examples=("skipstone export runs/001 --to onnx --out exported",),
)
