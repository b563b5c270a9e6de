"""Try slow post-processing on the validation rows; use it only if the gain is certain."""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.core.events import emit_note
from skipstone.data.manifest import Manifest
from skipstone.evaluation.intervals import paired_difference
from skipstone.inference.predictor import Predictor
from skipstone.tasks.base import headline_metric

#: Greatest number of samples to try on, and least number of samples (or groups). By chance all of
#: five samples gain in 1/32 of cases, more than 2.5 %: five cannot show a certain gain.
MAX_SAMPLES, MIN_SAMPLES = 24, 6


def select_postprocessing(predictor: Predictor, val_rows: Manifest, *, seed: int) -> dict[str, Any]:
    """The predictor's post-processing, plus the task's optional one if its gain is certain.

    Each is tried separately on the same samples of `val_rows`, the validation rows. It is used if the
    lower end of the paired 95 % interval of its gain in the headline metric is above 0. The
    measurements are stored as post["tried"]. With fewer than LEAST samples nothing is tried.
    """
    task, post = predictor.task, dict(predictor.post)
    candidates = task.optional_postprocessors()
    if not candidates or not len(val_rows):
        return post
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(val_rows))[:MAX_SAMPLES])
    sample = val_rows.take_rows(rows)
    groups = sample.column_values("group")
    if groups.count(None) + len(set(groups) - {None}) < MIN_SAMPLES:
        emit_note(
            f"Not tried, too few validation rows: post-processing by {', '.join(candidates)}."
        )
        return post
    metric = headline_metric(task)
    baseline = predictor.evaluate(sample)
    if not baseline.records:
        return post
    gains: dict[str, Any] = {}
    additions: dict[str, Any] = {}
    for name, addition in candidates.items():
        candidate = Predictor(predictor.input, predictor.runtime, task, {**post, **addition})
        records = candidate.evaluate(sample).records
        gain = paired_difference(metric, records, baseline.records, task, baseline.groups, seed)
        is_better = gain.low > 0 if metric.higher_is_better else gain.high < 0
        gains[name] = gain.to_json()
        additions |= dict(addition) if is_better else {}
        emit_note(
            f"Post-processing {name}: {100 * gain.value:+.2f} points [{100 * gain.low:+.2f}, "
            f"{100 * gain.high:+.2f}] of {metric.title} on {gain.n} validation rows; "
            + ("used." if is_better else "not used.")
        )
    return {**post, **additions, "tried": gains}
