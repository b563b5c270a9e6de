"""skipstone train: a run folder with a model, its verification and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from skipstone.commands.base import (
    Argument,
    Command,
    CommandVariant,
    DataPath,
    Output,
    Seed,
    command_function,
    to_path,
)
from skipstone.commands.rendering import print_baseline, print_metrics, print_run

if TYPE_CHECKING:
    from skipstone.workflows.show_augmented import AugmentedResult
    from skipstone.workflows.train_model import TrainResult

_OPTIONS = Argument(
    "all other flags of `skipstone train`, such as epochs=5 or budget=600 (in seconds), "
    "batch_size=32, lr=0.001, size=160, augment='strong', class_weights='effective', "
    "early_stop=5, workers=4, device='cuda', label_column='kind', group_column='patient', "
    "task='tag'"
)
_FROM = Argument(
    "fine-tune this model on new samples or new classes: starts with its weights, input and recipe",
    flag="--from",
    metavar="RUN",
)
#: The command line has it as a variant.
_SHOW_AUGMENTED = Argument(
    "write augmented training samples to this file and stop; the result then has `file`",
    python_only=True,
)


@command_function
def train(
    data: DataPath,
    *,
    out: Annotated[
        Path | str | None,
        Argument("folder of runs (default: runs, which gives runs/001)", metavar="DIR"),
    ] = None,
    seed: Seed = 0,
    model: Annotated[
        str, Argument("a name from `skipstone models`, or auto: chosen for the data")
    ] = "auto",
    weights: Annotated[
        str,
        Argument(
            "auto: pretrained where the model has them; pretrained; none: random; or a file",
            metavar="FILE",
        ),
    ] = "auto",
    from_: Annotated[Path | str | None, _FROM] = None,
    show_augmented: Annotated[Path | str | None, _SHOW_AUGMENTED] = None,
    **options: Annotated[Any, _OPTIONS],
) -> TrainResult:
    """Train a model on labelled data.

    Leaves a run folder with the model, its verification and a report. The same call resumes its
    unfinished run.

    Returns:
        `run`, `bundle` and `report`: paths; `metrics` by name with 95 % intervals, measured on
        `split`; `verification`.

    Raises:
        UsageError: an option or the data cannot be used; the message says what to type.
        Interrupted: a signal stopped the training; the same call resumes it.
    """
    from skipstone.workflows.train_model import train as train_run

    if show_augmented is not None:
        start: dict[str, Any] = {"seed": seed, "model": model, "weights": weights, "from_": from_}
        result = _show_augmented(data, show_augmented=show_augmented, **start, **options)
        return cast("TrainResult", result)
    return train_run(
        to_path(data),
        out=to_path(out),
        model=model,
        weights=weights,
        seed=seed,
        settings=options,
        origin=to_path(from_),
        command=COMMAND.to_words(
            data=data, out=out, seed=seed, model=model, weights=weights, from_=from_, **options
        ),
    )


def print_result(result: TrainResult, output: Output) -> None:
    print_metrics(result.scores, result.metric_definitions, f"On {result.split}", output)
    print_baseline(result.baseline, output)
    output.print_line()
    if result.calibration is not None:
        output.print_line(f"Temperature scaling: {result.calibration.reason}")
    print_run(result, output)


def _show_augmented(
    data: Path | str,
    *,
    show_augmented: Path | str,
    out: None = None,
    seed: int,
    model: str,
    weights: str,
    from_: Path | str | None,
    **options: Any,
) -> AugmentedResult:
    from skipstone.workflows.show_augmented import write_augmented_samples as write_augmented

    arguments = {"seed": seed, "model": model, "weights": weights, "from_": from_, **options}
    return write_augmented(
        to_path(data),
        to_path(show_augmented),
        model=model,
        weights=weights,
        seed=seed,
        settings=options,
        origin=to_path(from_),
        command=COMMAND.to_words(data=data, show_augmented=show_augmented, **arguments),
    )


def _print_augmented(result: AugmentedResult, output: Output) -> None:
    output.print_line(f"Augmented samples: {result.file}")


COMMAND = Command(
    name="train",
    order=30,
    function=train,
    print_result=print_result,
    examples=(
        "skipstone train photos/",
        "skipstone train labels.csv --label-column kind --epochs 20",
    ),
    option_groups=(
        *("data", "split", "input", "augmentation", "task", "model", "vectors", "head"),
        *("training", "loading"),
    ),
    everyday_options=(
        *("task", "label_column", "text_column", "exclude", "size", "augment"),
        *("epochs", "budget", "batch_size", "lr"),
    ),
    variants=(
        CommandVariant(
            name="show_augmented",
            argument=Argument(
                "write augmented training samples to this file and stop: images as a PNG contact "
                "sheet, texts as an HTML page",
                metavar="FILE",
            ),
            function=_show_augmented,
            print_result=_print_augmented,
        ),
    ),
)
