"""skipstone predict: a model's predictions for files, folders, tables and texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from skipstone.commands.base import (
    Argument,
    Command,
    ModelPath,
    Output,
    RuntimeName,
    command_function,
    to_list,
    to_path,
)
from skipstone.core.options import int_range
from skipstone.data.options import TABLE_SOURCE_OPTIONS
from skipstone.report.text_format import format_percent

if TYPE_CHECKING:
    from skipstone.workflows.answer import PredictResult


@command_function
def predict(
    model: ModelPath,
    sources: Annotated[
        Path | str | Iterable[Path | str],
        Argument(
            "files, folders of files, tables; - for the lines of standard input", metavar="FILE"
        ),
    ] = (),
    *,
    texts: Annotated[
        str | Iterable[str],
        Argument(
            "a text, for a model that reads texts; may be repeated", flag="--text", metavar="TEXT"
        ),
    ] = (),
    runtime: RuntimeName = "auto",
    out: Annotated[
        Path | str | None,
        Argument(
            "FILE.csv: a table of the predictions (of boxes also FILE.json, as COCO); or a folder for "
            "masks and overlays, or for photos with boxes and their labels",
            metavar="DIR",
        ),
    ] = None,
    raw_cells: Annotated[
        bool,
        Argument(
            "write labels and paths to FILE.csv that a spreadsheet takes for formulas as they are"
        ),
    ] = False,
    tiles: Annotated[
        int | None,
        Argument(
            "also predict overlapping tiles of this side, in pixels of the photo, and merge their "
            "boxes: for small objects in large photos",
            metavar="SIDE",
            range=int_range(32),
        ),
    ] = None,
    **options: Annotated[Any, Argument("how to read tables, such as text_column='body'")],
) -> PredictResult:
    """Predict the labels of files, table rows and texts.

    A file or row that cannot be read gives one error row; the others are predicted.
    """
    from skipstone.workflows.answer import predict as predict_sources

    return predict_sources(
        to_path(model),
        [_expand_home(source) for source in to_list(sources)],
        texts=[texts] if isinstance(texts, str) else list(texts),
        runtime=runtime,
        out=to_path(out),
        raw_cells=raw_cells,
        tiles=tiles,
        settings=options,
    )


def _expand_home(source: Path | str) -> Path | str:
    """A `Path` would change what else a source may be: an address, or - for standard input."""
    return to_path(source) if str(source).startswith("~") else source


def print_result(result: PredictResult, output: Output) -> None:
    predictions = result.to_json()["predictions"]
    rows = []
    for row in predictions:
        path = (
            f"{row['path']} {row['begin']:.2f}-{row['end']:.2f} s" if "end" in row else row["path"]
        )
        if "error" in row:
            rows.append([path, "error", row["error"]])
            continue
        label = row.get("label", "")
        # The share of the pixels with each label says more than its mean probability.
        number = row.get("share", row.get("probability", ""))
        if isinstance(label, list):
            rows.append([path, ", ".join(map(str, label)), ", ".join(map(format_percent, number))])
        else:
            rows.append([path, label, format_percent(number)])
    has_shares = any("share" in row for row in predictions)
    output.print_table(("path", "label", "share" if has_shares else "probability"), rows)
    if result.out is not None:
        output.print_line(f"Written: {result.out}")


COMMAND = Command(
    name="predict",
    order=50,
    function=predict,
    print_result=print_result,
    examples=(
        "skipstone predict runs/001 photo.jpg more-photos/",
        "skipstone predict runs/001 photos/ --out predictions.csv",
        "skipstone predict runs/001 aerial.jpg --tiles 640",
    ),
    option_groups=("data",),
    option_names=TABLE_SOURCE_OPTIONS,
)
