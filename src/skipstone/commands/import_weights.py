"""skipstone import: published weights as a model, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from skipstone.commands.base import (
    Argument,
    Command,
    Output,
    command_function,
    to_path,
)
from skipstone.commands.rendering import print_verification
from skipstone.core.formatting import pluralize
from skipstone.report.text_format import format_bytes

if TYPE_CHECKING:
    from skipstone.workflows.import_model import ImportResult

#: Those options of images and networks that decide what the weights compute.
_OPTIONS = (
    *("size", "resize", "crop_share", "interpolation", "normalize", "channels"),
    *("norm", "shortcut", "pre_activation", "squeeze_excite", "width", "depth", "residual"),
    *("output_stride", "last_map"),
)


@command_function
def import_weights(
    weights: Annotated[
        Path | str,
        Argument("a file of weights (.safetensors, .pth), or 'pretrained'", metavar="WEIGHTS"),
    ],
    *,
    model: Annotated[str, Argument("the network that the weights belong to", metavar="NAME")],
    classes: Annotated[
        Path | str,
        Argument("a text file with one class name per line, in the order of the outputs"),
    ],
    task: Annotated[
        Literal["classify", "tag"], Argument("one label per picture, or any number of them")
    ] = "classify",
    out: Annotated[
        Path | str | None, Argument("folder of the new bundle (default: imported)", metavar="DIR")
    ] = None,
    mean: Annotated[
        str | None,
        Argument(
            "mean of each channel of pixels in 0..1, such as 0.49,0.48,0.45", metavar="NUMBERS"
        ),
    ] = None,
    std: Annotated[
        str | None, Argument("standard deviation of each channel, with --mean", metavar="NUMBERS")
    ] = None,
    **options: Annotated[
        Any,
        Argument("how pictures are prepared, such as size=32; all: `skipstone import --help`"),
    ],
) -> ImportResult:
    """Make a model of published weights, without training.

    The outputs are compared with those of the published network. Size, crop and normalisation are
    those of the published weights where these are known, unless options say otherwise.
    """
    from skipstone.workflows.import_model import import_published_weights

    path = weights if str(weights) == "pretrained" else to_path(weights)
    return import_published_weights(
        path,
        model=model,
        classes=to_path(classes),
        task=task,
        out=to_path(out),
        mean_and_std=(mean, std),
        settings=options,
        command=COMMAND.to_words(
            weights=weights,
            model=model,
            classes=classes,
            task=task,
            out=out,
            mean=mean,
            std=std,
            **options,
        ),
    )


def print_result(result: ImportResult, output: Output) -> None:
    print_verification(result.verification, output)
    size = format_bytes(result.bytes)
    names = pluralize(result.classes, "class", "classes")
    output.print_line(f"Model:   {result.bundle}  ({result.network}, {names}, {size} of weights)")
    output.print_line(f"Input:   {result.preparation}")
    output.print_line()
    output.print_line(f"Next:    skipstone evaluate {result.bundle} DATA", "bold")


COMMAND = Command(
    name="import",
    order=75,
    function=import_weights,
    print_result=print_result,
    examples=(
        "skipstone import resnet20.pth --model resnet20 --classes classes.txt --normalize imagenet",
    ),
    option_groups=("input", "model"),
    option_names=_OPTIONS,
    everyday_options=("size", "resize", "crop_share", "normalize", "interpolation"),
)
