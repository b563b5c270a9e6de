"""How results read at Python's prompt and in notebooks: a line a fact, as on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skipstone.report.measures import Figure
from skipstone.report.words import figure, span, visible

if TYPE_CHECKING:  # they bring torch, which an audit does without
    from skipstone.proof.intervals import Estimate
    from skipstone.proof.parity import Verification
    from skipstone.tasks.base import Metric

#: Answers, findings or models that are shown one by one.
SHOWN = 10


def told(result: object, facts: Mapping[str, object]) -> str:
    """The kind of result, and below it each fact that there is."""
    kept = {visible(name): visible(fact) for name, fact in facts.items() if fact not in (None, "")}
    width = max(map(len, kept), default=0)
    return "\n".join(
        [type(result).__name__, *(f"  {name:<{width}}  {fact}" for name, fact in kept.items())]
    )


def figures(metrics: Mapping[str, Estimate], measures: Sequence[Metric]) -> dict[str, str]:
    """`{"accuracy": "99.3 % (95 %: 97.3 – 99.8 %, n = 269)"}`, in the order of `measures`."""
    return {
        measure.title: with_interval(metrics[measure.name], measure)
        for measure in measures
        if measure.name in metrics
    }


def with_interval(found: Estimate, measure: Metric) -> str:
    of = Figure("", found.value, found.low, found.high, found.n, measure.higher_is_better)
    value = figure(found.value, as_percent=of.is_share)
    return f"{value} (95 %: {span(of.low, of.high, as_percent=of.is_share)}, n = {found.n:,})"


def verdict(verification: Verification) -> str:
    """Whether every runtime answers as trained."""
    if verification.ok:
        return f"yes, within {verification.max_difference:.1e} in probability"
    return f"NO: {'; '.join(verification.problems)}"


def first(facts: Mapping[str, object], what: str) -> dict[str, object]:
    """The first few, and how many there are beside them."""
    few = dict(list(facts.items())[:SHOWN])
    left = len(facts) - len(few)
    return {**few, "...": f"and {left:,} more {what}"} if left else few
