"""How training data is divided into roles, and loaded. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from skipstone.errors import UsageError


@dataclass(frozen=True)
class SplitOptions:
    """Shares are of the training rows, and count only where the user gave no such split."""

    select: float = field(
        default=0.15,
        metadata={
            "help": "share of the training rows for early stopping, thresholds and shrinking"
        },
    )
    claim: float = field(
        default=0.15,
        metadata={"help": "share kept apart and scored once, where no test or validation is given"},
    )
    seed: int = field(default=0, metadata={"help": "chooses which rows"})

    def __post_init__(self) -> None:
        for name in ("select", "claim"):
            share = getattr(self, name)
            if not 0 < share <= 0.5:
                raise UsageError(f"--{name} {share} is no share: it lies above 0, at most 0.5.")
        if self.select + self.claim > 0.8:
            raise UsageError(
                f"--select {self.select} and --claim {self.claim} leave less than a fifth of the "
                "rows to train on.",
                hint="Their sum is at most 0.8.",
            )


@dataclass(frozen=True)
class LoadOptions:
    """How batches are made. The batches are the same whatever is chosen here."""

    workers: int = field(
        default=0,
        metadata={"help": "processes that load and augment; 0: threads of this process"},
    )
    worker_patience: float = field(
        default=30.0,
        metadata={
            "help": "seconds without a sign of life after which a loading process is given up",
            "metavar": "SECONDS",
        },
    )

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UsageError(f"--workers {self.workers} is not allowed; it must be at least 0.")
        if not 0 < self.worker_patience < math.inf:
            raise UsageError(
                f"--worker-patience {self.worker_patience:g} is not allowed; it must be above 0."
            )
