"""The repr of results at Python's prompt and in notebooks: one fact per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skipstone.report.measures import MetricValue
from skipstone.report.text_format import escape_control_characters, format_interval, format_metric

if TYPE_CHECKING:  # these import torch, which an audit does not need
    from skipstone.evaluation.intervals import Estimate
    from skipstone.evaluation.parity import Verification
    from skipstone.tasks.base import Metric

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


def format_metric_interval(estimate: Estimate, measure: Metric) -> str:
    """`99.3 % (95 %: 97.3 – 99.8 %, n = 269)`."""
    value, low, high, n = estimate.value, estimate.low, estimate.high, estimate.n
    share = MetricValue("", value, low, high, n, measure.higher_is_better).is_share
    interval = format_interval(low, high, as_percent=share)
    return f"{format_metric(value, as_percent=share)} (95 %: {interval}, n = {n:,})"


def format_verification(verification: Verification) -> str:
    """Whether all checks passed, with the largest difference or the problems."""
    if verification.ok:
        return f"yes, within {verification.max_difference:.1e} in probability"
    return f"NO: {'; '.join(verification.problems)}"


def limit_facts(facts: Mapping[str, object], what: str) -> dict[str, object]:
    """The first SHOWN facts, and the number of the others."""
    start = dict(list(facts.items())[:MAX_LISTED])
    more = len(facts) - len(start)
    return {**start, "...": f"and {more:,} more {what}"} if more else start
