"""skipstone evaluate: the scores of a model on labelled data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from skipstone.commands.base import (
    Argument,
    Command,
    DataPath,
    MaxBad,
    ModelPath,
    Output,
    ReadingOptions,
    RuntimeName,
    Seed,
    command_function,
    to_path,
)
from skipstone.commands.rendering import print_metrics

if TYPE_CHECKING:
    from skipstone.workflows.answer import EvaluateResult


@command_function
def evaluate(
    model: ModelPath,
    data: DataPath,
    *,
    split: Annotated[
        str | None, Argument("only this split of the data: train, validation or test")
    ] = None,
    runtime: RuntimeName = "auto",
    seed: Seed = 0,
    max_bad: MaxBad = None,
    **options: ReadingOptions,
) -> EvaluateResult:
    """Score a model on labelled data.

    Labels are matched by class name. The seed draws the bootstrap resamples of the intervals.
    """
    from skipstone.workflows.answer import evaluate as evaluate_model

    return evaluate_model(
        to_path(model),
        to_path(data),
        split=split,
        runtime=runtime,
        seed=seed,
        max_bad=max_bad,
        settings=options,
    )


def print_result(result: EvaluateResult, output: Output) -> None:
    title = f"{result.scores.split} ({result.runtime})"
    print_metrics(result.scores, result.measures, title, output)
    for failure in result.scores.evaluation.failures:
        output.print_line(f"unreadable: {failure.name}: {failure.error}", "yellow")


COMMAND = Command(
    name="evaluate",
    order=40,
    function=evaluate,
    print_result=print_result,
    examples=("skipstone evaluate runs/001 photos/ --split test",),
    option_groups=("data",),
    everyday_options=("task", "label_column", "text_column", "exclude"),
)
