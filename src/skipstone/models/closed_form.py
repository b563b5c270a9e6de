"""Input and output of the solvers of closed-form models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClosedFormProblem:
    """Features and targets.

    Args:
        matrix: scipy.sparse (N, F).
        targets: int (N,) of class numbers, or (N, K) of 0 and 1 (multi-label).
        classes: K.
        kinds: a partition of the columns by kind of feature (words, characters); each kind's part
            of a row has norm 1.
    """

    matrix: Any
    targets: np.ndarray
    classes: int
    seed: int
    kinds: tuple[slice, ...] = (slice(None),)


@dataclass(frozen=True)
class ClosedFormSolution:
    """A fitted backbone.

    Args:
        tensors: its state dict.
        shape: further arguments of its builder.
    """

    tensors: dict[str, np.ndarray]
    shape: dict[str, Any] = field(default_factory=dict)
