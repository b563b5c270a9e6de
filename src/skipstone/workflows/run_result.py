"""The result of every command that makes a run: its files, metrics and verification."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from skipstone.bundle.format import WEIGHTS_FILE
from skipstone.core.formatting import format_difference, relative_path
from skipstone.core.results import TableResult
from skipstone.report.blocks import MetricValue
from skipstone.report.text_format import escape_control_characters, format_interval, format_metric

if TYPE_CHECKING:
    from skipstone.evaluation.intervals import Estimate
    from skipstone.evaluation.parity import Verification
    from skipstone.evaluation.scores import Scores
    from skipstone.report.report_data import RunOutcome
    from skipstone.tasks.base import Metric, Task
    from skipstone.training.run_directory import RunFolder
    from skipstone.workflows.finished_run import FinishedRun

#: Predictions, findings or models that are listed.
MAX_LISTED = 10


def format_result(result: object, facts: Mapping[str, object]) -> str:
    """The result's class name, and below it one line per fact; None and "" are skipped."""
    lines = {
        escape_control_characters(name): escape_control_characters(fact)
        for name, fact in facts.items()
        if fact not in (None, "")
    }
    width = max(map(len, lines), default=0)
    return "\n".join(
        [type(result).__name__, *(f"  {name:<{width}}  {fact}" for name, fact in lines.items())]
    )


def format_metrics(metrics: Mapping[str, Estimate], measures: Sequence[Metric]) -> dict[str, str]:
    """`{"accuracy": "99.3 % (95 %: 97.3 – 99.8 %, n = 269)"}`, in the order of `measures`."""
    return {
        measure.title: format_metric_interval(metrics[measure.name], measure)
        for measure in measures
        if measure.name in metrics
    }


def metric_table_rows(metrics: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    return [{"metric": name, **estimate.to_json()} for name, estimate in metrics.items()]


def format_metric_interval(estimate: Estimate, measure: Metric) -> str:
    """`99.3 % (95 %: 97.3 – 99.8 %, n = 269)`."""
    value, low, high, n = estimate.value, estimate.low, estimate.high, estimate.n
    share = MetricValue("", value, low, high, n, measure.higher_is_better).is_share
    interval = format_interval(low, high, as_percent=share)
    return f"{format_metric(value, as_percent=share)} (95 %: {interval}, n = {n:,})"


def format_skill(scores: Scores) -> dict[str, str]:
    """What a model that ignores its input would reach, and whether this one is better."""
    if scores.errors is None:
        return {}
    chance = (
        f"{format_metric(scores.errors.majority, as_percent=True)}: {scores.errors.majority_title}"
    )
    return {"chance level": chance, "verdict": str(scores.skill)}


def skill_to_json(scores: Scores) -> dict[str, Any]:
    chance = None if scores.errors is None else scores.errors.majority
    return {"chance_level": chance, "skill": str(scores.skill)}


def format_verification(verification: Verification) -> str:
    """Whether all checks passed, with the largest difference or the problems."""
    if verification.ok:
        return f"yes, within {format_difference(verification.max_difference)} in probability"
    return f"NO: {'; '.join(verification.problems)}"


def verification_table_rows(verification: Verification) -> list[dict[str, Any]]:
    """One row per check; those of runtimes have numbers."""
    names = ("max_difference", "flips", "near_ties", "n", "share")
    return [
        {
            "check": row["name"],
            "ok": row["ok"],
            **{name: row[name] for name in names if name in row},
            "problem": row["problem"],
        }
        for row in verification.rows
    ]


def limit_facts(facts: Mapping[str, object], what: str) -> dict[str, object]:
    """The first SHOWN facts, and the number of the others."""
    start = dict(list(facts.items())[:MAX_LISTED])
    more = len(facts) - len(start)
    return {**start, "...": f"and {more:,} more {what}"} if more else start


@dataclass(frozen=True, kw_only=True, repr=False)
class RunResult(TableResult):
    """A finished run.

    Args:
        scores: of the rows that were scored once: "test", or "val" if the data is too small for a
            test set.
        metric_definitions: the definitions of `metrics`, in order.
        bytes: size of the weights file.
    """

    run: Path
    bundle: Path
    report: Path
    scores: Scores
    metric_definitions: tuple[Metric, ...]
    verification: Verification
    bytes: int
    seconds: float

    @classmethod
    def from_run(
        cls, run: RunFolder, outcome: RunOutcome, report: Path, started: float, **own: Any
    ) -> Self:
        """The result of `run`.

        Args:
            started: `time.monotonic()` when the command started.
            own: fields of the subclass.
        """
        return cls(
            run=relative_path(run.path),
            bundle=relative_path(run.bundle),
            report=relative_path(report),
            scores=outcome.scores,
            metric_definitions=tuple(outcome.context.task.list_metrics()),
            verification=outcome.verification,
            bytes=(run.bundle / WEIGHTS_FILE).stat().st_size,
            seconds=time.monotonic() - started,
            **own,
        )

    @classmethod
    def from_finished(cls, done: FinishedRun, task: Task, started: float, **own: Any) -> Self:
        """The result of a run that was finished before; its scores have no records."""
        bundle = done.path / "bundle"
        return cls(
            run=relative_path(done.path),
            bundle=relative_path(bundle),
            report=relative_path(done.page),
            scores=done.restore_scores(task),
            metric_definitions=tuple(task.list_metrics()),
            verification=done.verification,
            bytes=(bundle / WEIGHTS_FILE).stat().st_size,
            seconds=time.monotonic() - started,
            **own,
        )

    @property
    def role(self) -> str:
        return self.scores.role

    @property
    def split(self) -> str:
        """Describes the scored rows to people."""
        return self.scores.split

    @property
    def metrics(self) -> dict[str, Estimate]:
        return self.scores.metrics

    @property
    def exit_code(self) -> int:
        return 0 if self.verification.ok else 1

    def table_rows(self) -> list[dict[str, Any]]:
        return metric_table_rows(self.metrics)

    def extra_facts(self) -> dict[str, object]:
        """Lines of the subclass, shown between the metrics and the paths."""
        return {}

    def __repr__(self) -> str:
        facts = {
            "on": self.split,
            **format_metrics(self.metrics, self.metric_definitions),
            **format_skill(self.scores),
            **self.extra_facts(),
        }
        paths = {"run": self.run, "bundle": self.bundle, "report": self.report}
        return format_result(
            self, {**facts, "verified": format_verification(self.verification), **paths}
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run),
            "bundle": str(self.bundle),
            "report": str(self.report),
            "role": self.role,
            "split": self.split,
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            **skill_to_json(self.scores),
            "verified": self.verification.ok,
            "weights_bytes": self.bytes,
            "seconds": round(self.seconds, 1),
        }
