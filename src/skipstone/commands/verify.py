"""skipstone verify: whether every exported program gives the same predictions as training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skipstone.commands.base import Command, ModelPath, Output, command_function, to_path
from skipstone.core.formatting import format_difference
from skipstone.report.text_format import format_percent

if TYPE_CHECKING:
    from skipstone.workflows.export_and_verify import VerifyResult


@command_function
def verify(model: ModelPath) -> VerifyResult:
    """Verify that every exported program gives the predictions of the trained model.

    A fresh process starts from the bytes of sample files."""
    from skipstone.workflows.export_and_verify import verify as verify_model

    return verify_model(to_path(model))


def print_result(result: VerifyResult, output: Output) -> None:
    checks = result.verification.rows
    has_pixels = any("share" in check for check in checks)  # predictions with a class per pixel
    rows = []
    for check in checks:
        is_measured = "max_difference" in check
        rows.append(
            [
                check["name"],
                "ok" if check["ok"] else "FAILED",
                format_difference(check["max_difference"]) if is_measured else "",
                f"{check['flips']} of {check['n']}" if is_measured else "",
                *(
                    [format_percent(check["share"]) if "share" in check else ""]
                    if has_pixels
                    else []
                ),
                check.get("problem") or "",
            ]
        )
    columns = ("check", "result", "max difference", "flips")
    pixels = ("pixels changed",) if has_pixels else ()
    output.print_table((*columns, *pixels, "problem"), rows)
    for check in checks:
        if "own" in check:
            output.print_line(f"{check['name']} is {check['own']['remark']}.")
    if result.verification.ok:
        output.print_line("Every runtime gives the predictions of training.", "green")
    else:
        output.print_line("Do not ship this model.", "bold red")


COMMAND = Command(
    name="verify",
    order=90,
    function=verify,
    print_result=print_result,
    examples=("skipstone verify runs/001",),
)
