"""Post-processing that costs time, tried on the select part and used only where it surely helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skipstone.data.manifest import Manifest
from skipstone.events import note
from skipstone.proof.intervals import paired_difference
from skipstone.runtime.predictor import Predictor
from skipstone.tasks.base import Post, headline

#: Samples that a refinement is tried on, at most; and the fewest (or groups, where there are some)
#: that can be sure of a gain: by chance alone all of five would gain in 1/32 of cases, over 2.5 %.
SAMPLES, LEAST = 24, 6


def refined(predictor: Predictor, select: Manifest, *, seed: int) -> dict[str, Any]:
    """The predictor's post-processing, with the refinements of its task that gain for certain.

    Each is tried by itself on the same samples of `select`. It is used where the lower end of the
    paired 95 % interval of its gain in the headline metric is above 0. What was measured is kept
    as post["tried"]. With fewer than LEAST samples nothing is tried.
    """
    task, post = predictor.task, dict(predictor.post)
    refinements: Mapping[str, Post] = getattr(task, "refinements", dict)()
    if not refinements or not len(select):
        return post
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(select))[:SAMPLES])
    some = select.take(rows)
    alone = [group for group in some.column("group") if group is None]
    if len(alone) + len(set(some.column("group")) - {None}) < LEAST:
        note(f"Not tried for want of samples in select: refinement by {', '.join(refinements)}.")
        return post
    metric = headline(task)
    plain = predictor.evaluate(some)
    if not plain.records:
        return post
    tried: dict[str, Any] = {}
    used: dict[str, Any] = {}
    for name, more in refinements.items():
        changed = Predictor(predictor.input, predictor.runtime, task, {**post, **more})
        records = changed.evaluate(some).records
        gain = paired_difference(metric, records, plain.records, task, plain.groups, seed)
        better = gain.low > 0 if metric.higher_is_better else gain.high < 0
        tried[name] = gain.to_json()
        used |= dict(more) if better else {}
        note(
            f"Refinement {name}: {100 * gain.value:+.2f} points [{100 * gain.low:+.2f}, "
            f"{100 * gain.high:+.2f}] of {metric.title} on {gain.n} samples of select; "
            + ("used." if better else "not used.")
        )
    return {**post, **used, "tried": tried}
