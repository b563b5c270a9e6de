"""How training data is divided into roles, and loaded. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from skipstone.errors import UsageError
from skipstone.option_types import POSITIVE, Range, check_options, whole

Together = Literal["near", "exact"]
#: What of the training rows may be kept apart for one role.
_HALF = Range(0, 0.5, open_low=True)


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
    together: Together = field(
        default="near",
        metadata={
            "help": "what stays on one side of the splits that are made: near (copies and near "
            "duplicates; looks at every row first) or exact (copies)"
        },
    )
    split_seed: int | None = field(
        default=None,
        metadata={
            "help": "chooses which rows are kept apart (default: --seed); give members of an "
            "ensemble the same"
        },
    )
    seed: int = field(default=0, metadata={"help": "chooses which rows"})

    def __post_init__(self) -> None:
        check_options(self, select=_HALF, claim=_HALF, seed=whole(0), split_seed=whole(0))
        if self.select + self.claim > 0.8:
            raise UsageError(
                f"--select {self.select} and --claim {self.claim} leave less than a fifth of the "
                "rows to train on.",
                hint="Their sum is at most 0.8.",
            )

    @property
    def drawn_by(self) -> int:
        """The seed that chooses rows."""
        return self.seed if self.split_seed is None else self.split_seed


@dataclass(frozen=True)
class LoadOptions:
    """How files are read and batches made. The batches are the same whatever is chosen here."""

    workers: int = field(
        default=0,
        metadata={"help": "processes that load and augment; 0: threads of this process"},
    )
    worker_patience: float = field(
        default=25.0,
        metadata={
            "help": "seconds without a sign of life after which a loading process is given up",
            "metavar": "SECONDS",
        },
    )

    max_bad: str = field(
        default="1%",
        metadata={
            "help": "training goes on without files that cannot be read, up to this share (1%, "
            "0.01) or number (12) of them",
        },
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_bad", _share_or_count(self.max_bad))
        check_options(self, workers=whole(0), worker_patience=POSITIVE)

    def bad_allowed(self, rows: int) -> int:
        """How many of `rows` may be unreadable."""
        if self.max_bad.endswith("%"):
            return math.floor(float(self.max_bad[:-1]) * rows / 100 + 1e-9)
        return int(self.max_bad)


def _share_or_count(given: object) -> str:
    """ "1%" or "12", from "1%", "0.01", 0.01, "12" or 12: a number with a point is a share."""
    text = str(given).strip()
    try:
        if isinstance(given, bool):
            raise ValueError
        if text.isdecimal():
            return text
        share = float(text.removesuffix("%")) * (1 if text.endswith("%") else 100)
        if 0 <= share <= 100:
            return f"{share:.10g}%"
    except ValueError:
        pass
    raise UsageError(
        f"--max-bad {text} is not allowed.",
        hint="It is a share such as 1% or 0.01, or a number of files such as 12.",
    )
