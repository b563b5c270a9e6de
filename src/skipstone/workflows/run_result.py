"""The result of every command that makes a run: its files, metrics and verification."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from skipstone.bundle.format import WEIGHTS_FILE
from skipstone.core.formatting import relative_path
from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.parity import Verification
from skipstone.report.report_data import RunOutcome
from skipstone.tasks.base import Metric
from skipstone.training.run_directory import RunFolder
from skipstone.workflows.result_repr import format_metrics, format_result, format_verification


@dataclass(frozen=True, kw_only=True, repr=False)
class RunResult:
    """A finished run.

    Args:
        role: the rows that `metrics` were scored on, once: "test", or "val" if the data is too
            small for a test set; `split` describes them to people.
        measures: the definitions of `metrics`, in order.
        bytes: size of the weights file.
    """

    run: Path
    bundle: Path
    report: Path
    role: str
    split: str
    metrics: dict[str, Estimate]
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
        scores = outcome.scores
        return cls(
            run=relative_path(run.path),
            bundle=relative_path(run.bundle),
            report=relative_path(report),
            role=scores.role,
            split=scores.split,
            metrics=scores.metrics,
            metric_definitions=tuple(outcome.context.task.list_metrics()),
            verification=outcome.verification,
            bytes=(run.bundle / WEIGHTS_FILE).stat().st_size,
            seconds=time.monotonic() - started,
            **own,
        )

    @property
    def exit_code(self) -> int:
        return 0 if self.verification.ok else 1

    def extra_facts(self) -> dict[str, object]:
        """Lines of the subclass, shown between the metrics and the paths."""
        return {}

    def __repr__(self) -> str:
        facts = {
            "on": self.split,
            **format_metrics(self.metrics, self.metric_definitions),
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
            "verified": self.verification.ok,
            "weights_bytes": self.bytes,
            "seconds": round(self.seconds, 1),
        }
