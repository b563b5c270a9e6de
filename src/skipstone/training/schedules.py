"""Learning-rate schedules as pure functions of the step: factors on the peak rate.

Each equals the scheduler of torch.optim.lr_scheduler that it names; the tests compare them.
Being pure, they need no state in a checkpoint, and any step's rate can be printed or drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

Curve = Callable[[int], float]


def constant(step: int, *, total: int) -> float:
    return 1.0


def cosine(step: int, *, total: int) -> float:
    """Half a cosine from 1 to 0 (CosineAnnealingLR with eta_min 0; Loshchilov 2017)."""
    return 0.5 * (1 + math.cos(math.pi * min(step, total) / max(1, total)))


def steps(step: int, *, total: int, gamma: float = 0.1) -> float:
    """A tenth after half and a hundredth after three quarters (MultiStepLR; He 2015)."""
    return gamma ** ((step >= total // 2) + (step >= total * 3 // 4))


def one_cycle(
    step: int, *, total: int, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000
) -> float:
    """Up and down in cosines (OneCycleLR with its defaults; Smith 2018)."""
    top = rise * total - 1
    if step <= top:
        return _between(start, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, end, min(1.0, (step - top) / max(1e-9, total - 1 - top)))


def plateau(
    values: Sequence[float],
    *,
    higher_is_better: bool,
    patience: int = 3,
    factor: float = 0.1,
    threshold: float = 1e-4,
) -> float:
    """The factor after these epochs' metrics (ReduceLROnPlateau, threshold_mode "abs").

    It falls by `factor` whenever more than `patience` epochs in a row bring nothing better.
    """
    best, bad, now = -math.inf, 0, 1.0
    for value in values:
        value = value if higher_is_better else -value
        if value > best + threshold:
            best, bad = value, 0
        else:
            bad += 1
        if bad > patience:
            now, bad = now * factor, 0
    return now


def with_warmup(curve: Curve, step: int, *, warmup: int) -> float:
    """Rise linearly over `warmup` steps, reaching the peak at step `warmup`, then `curve`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return curve(step - warmup)


def make_curve(name: str, *, total: int, warmup: int) -> Curve:
    """The factor at each of `total` steps. "plateau" is constant here; `plateau` multiplies it."""
    warmup = min(warmup, total - 1)
    if name == "one-cycle":  # it has a rise of its own
        return partial(one_cycle, total=total)
    shapes = {"constant": constant, "plateau": constant, "cosine": cosine, "step": steps}
    return partial(with_warmup, partial(shapes[name], total=total - warmup), warmup=warmup)


def _between(first: float, second: float, share: float) -> float:
    return second + (first - second) / 2 * (1 + math.cos(math.pi * share))
