"""What the report of a run shows, as data for report.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that a run's report shows, JSON-able, so that it can be rendered again later.

    Args:
        headline: the name of the metric shown first.
        metrics: one {"name", "title", "value", "low", "high", "n", "higher_is_better"} per metric.
        split: description of the rows behind the metrics; `role` is "test", "folds"
            (cross-validation) or "val".
        trained: names and values that describe the model and its training, in order.
        roles: number of rows by role: {"train": 800, "val": 100, "test": 100}.
        classes: one {"name", "train", "val", "test"} per class, with its rows of each role.
        class_counts_within_rows: class counts within rows (pixels of masks): {"unit": "pixels", "most": number of rows
            of each role that were counted, "rows": as `classes`}, or None.
        notes: what was inferred about the data.
        commands: what to type next, by command name.
        sample: noun of one sample ("picture").
        errors: `tasks.base.ErrorSummary` of the scored rows, or None.
        stopped_by: what ended the training: "epochs", "steps", "budget", "early stop", "solved" or "".
        unscored: one {"name", "error"} per row that could not be scored.
        history: one row per epoch, from `training.fit`.
        best: the epoch whose weights were kept, or None for a model without epochs.
        sections: the task's blocks in their JSON form, with images.
        verification: {"ok", "max_difference", "flips", "rows"}.
        programs: one {"name", "runtime", "precision", "bytes", "default"} per program.
        receipts: those that shrink wrote.
        members: for an ensemble {"title", "rows", "verdict"}, with one row per member on the same
            samples: {"model", "name", "val", "value", "difference"}; else None.
        baseline: {"model", "title", "value", "difference", "seconds", "verdict"} of a simple model
            on the same samples, or None.
    """

    title: str
    subtitle: str
    command: str
    headline: str
    metrics: list[dict[str, Any]]
    role: str
    split: str
    seed: int
    trained: list[list[Any]]
    roles: dict[str, int]
    classes: list[dict[str, Any]]
    notes: list[str]
    commands: dict[str, str]
    sample: str
    errors: dict[str, Any] | None
    stopped_by: str
    unscored: list[dict[str, Any]]
    history: list[dict[str, Any]]
    best: int | None
    sections: list[dict[str, Any]]
    verification: dict[str, Any]
    programs: list[dict[str, Any]]
    versions: dict[str, str]
    receipts: list[dict[str, Any]] = field(default_factory=list)
    baseline: dict[str, Any] | None = None
    class_counts_within_rows: dict[str, Any] | None = None
    members: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = to_json_safe(asdict(self))
        return value

    @staticmethod
    def from_json(value: Json) -> ReportData:
        """TypeError if fields are missing or unknown."""
        return ReportData(**value)


def to_json_safe(value: Any) -> Any:
    """The same data for JSON in UTF-8: None for NaN and infinity, and lone surrogates (in names
    that are not UTF-8) as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(key): to_json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_safe(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
