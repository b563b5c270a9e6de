"""What the solvers of closed-form models are given, and what they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Args:
    matrix: scipy.sparse (N, F), a row a sample.
    targets: int (N,) codes, or (N, K) of 0 and 1 for labels that do not exclude each other.
    classes: K.
    kinds: the columns of each kind of feature (words, letters), which together are all; each
        kind's part of a row has length 1.
    """

    matrix: Any
    targets: np.ndarray
    classes: int
    seed: int
    kinds: tuple[slice, ...] = (slice(None),)


@dataclass(frozen=True)
class Solution:
    """Args:
    tensors: the backbone's state dict.
    shape: what its builder needs beside the options.
    """

    tensors: dict[str, np.ndarray]
    shape: dict[str, Any] = field(default_factory=dict)
