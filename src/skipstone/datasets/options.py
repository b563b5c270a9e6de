"""Options that split training data into train, val and test, and that load it. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from skipstone.core.errors import UsageError
from skipstone.core.options import POSITIVE, Range, check_options, int_range, option

Dedup = Literal["near", "exact"]
#: The share of the training rows that one role may take.
_HALF = Range(0, 0.5, open_low=True)


@dataclass(frozen=True)
class SplitOptions:
    """Shares are of the training rows; they apply where the data has no such split."""

    val_share: float = option(
        0.15,
        range=_HALF,
        help="share of the training rows for early stopping, thresholds and shrinking",
    )
    test_share: float = option(
        0.15,
        range=_HALF,
        help="share that is scored once, at the end, if the data has no test or validation part",
    )
    dedup: Dedup = option(
        "near",
        help="rows that are never divided between train, val and test: near (copies and near "
        "duplicates; reads every row first) or exact (copies)",
    )
    split_seed: int | None = option(
        None,
        range=int_range(0),
        help="chooses the rows of val and test (default: --seed); use the same for all members of "
        "an ensemble",
    )
    folds: int = option(
        5,
        choices=(0,),
        range=int_range(2, 20),
        help="models that are solved at once: parts of the cross-validation that scores them, "
        "before they are fitted on all rows; 0 holds rows out, as for other models",
    )
    seed: int = option(0, range=int_range(0), help="chooses which rows")

    def __post_init__(self) -> None:
        check_options(self)
        if self.val_share + self.test_share > 0.8:
            raise UsageError(
                f"--val-share {self.val_share} and --test-share {self.test_share} leave less than a "
                "fifth of the rows to train on.",
                hint="Their sum is at most 0.8.",
            )

    @property
    def row_seed(self) -> int:
        """The seed that chooses rows."""
        return self.seed if self.split_seed is None else self.split_seed


@dataclass(frozen=True)
class LoadOptions:
    """How files are read, batches made and checkpoints kept. No option here changes a batch."""

    workers: int = option(
        0, range=int_range(0), help="processes that load and augment; 0: threads of this process"
    )
    worker_patience: float = option(
        25.0,
        range=POSITIVE,
        metavar="SECONDS",
        help="seconds without progress after which a worker process counts as hanging",
    )

    max_bad: str = option(
        "1%",
        help="unreadable files are left out, up to this share (1%, 0.01) or number (12) of files",
    )
    keep_checkpoint: bool = option(
        False, help="keep the last training state of a finished run in its folder"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_bad", _share_or_count(self.max_bad))
        check_options(self)

    def max_unreadable(self, rows: int) -> int:
        """The number of `rows` that may be unreadable."""
        if self.max_bad.endswith("%"):
            return math.floor(float(self.max_bad[:-1]) * rows / 100 + 1e-9)
        return int(self.max_bad)


def count_allowed(max_bad: str | None, rows: int) -> int | None:
    """The number of `rows` that `max_bad` allows to be unreadable; None for any number."""
    return None if max_bad is None else LoadOptions(max_bad=max_bad).max_unreadable(rows)


def _share_or_count(value: object) -> str:
    """ "1%" or "12", from "1%", "0.01", 0.01, "12" or 12: a number with a point is a share."""
    text = str(value).strip()
    try:
        if isinstance(value, bool):
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
        hint="Use a share such as 1% or 0.01, or a number of files such as 12.",
    )
