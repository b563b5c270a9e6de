"""What a user may say about training. `None` leaves a choice to the recipe (`training/recipe.py`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from skipstone.core.errors import UsageError
from skipstone.core.options import (
    POSITIVE,
    PROBABILITY,
    Range,
    check_options,
    int_range,
    option,
)

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "step", "plateau", "one-cycle", "constant"]
Precision = Literal["auto", "f32", "bf16"]
Unfreeze = Literal["all", "gradual"]
Checkpoint = Literal["best", "last"]

_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([smh]))(?:(\d+)([sm]))?")


def parse_duration(text: str) -> float:
    """Seconds in "90s", "10m", "1.5h" or "1h30m". A number without a unit is refused.

    >>> parse_duration("10m")
    600.0
    """
    word = text.strip().lower()
    match = _DURATION.fullmatch(word)
    if match is None:
        if re.fullmatch(r"\d+(\.\d+)?", word):
            raise UsageError(f"{text!r} has no unit: did you mean {word}m or {word}s?")
        raise UsageError(f"{text!r} is not a duration. Write 90s, 10m, 1.5h or 1h30m.")
    first, unit, second, smaller = match.groups()
    seconds = float(first) * _UNITS[unit]
    if second is not None:
        if _UNITS[smaller] >= _UNITS[unit]:
            raise UsageError(f"{text!r} is not a duration. Write 90s, 10m, 1.5h or 1h30m.")
        seconds += float(second) * _UNITS[smaller]
    if seconds <= 0:
        raise UsageError(f"{text!r} leaves no time. Write 90s, 10m, 1.5h or 1h30m.")
    return seconds


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. UsageError lists everything that is wrong at once."""

    epochs: int | None = option(None, range=int_range(1), help="passes over the training data")
    steps: int | None = option(
        None, range=int_range(1), help="stop after this many optimizer steps"
    )
    budget: float | None = option(
        None,
        range=POSITIVE,
        metavar="TIME",
        parse=parse_duration,
        help="time to train for, such as 10m; the schedule is fitted to it",
    )
    batch_size: int | None = option(None, range=int_range(1), help="samples in a batch")
    balanced: bool = option(False, help="draw each class equally often (weighted sampler)")
    accumulate: int = option(1, range=int_range(1), help="batches whose gradients make one step")
    optimizer: Optimizer | None = option(None, help="optimizer")
    lr: float | None = option(None, range=POSITIVE, help="peak learning rate")
    momentum: float | None = option(
        None, range=PROBABILITY, help="momentum of SGD (Nesterov), or beta1 of AdamW"
    )
    weight_decay: float | None = option(
        None,
        range=Range(0),
        help="weight decay; norms, biases, tokens and position tables are left alone",
    )
    l1: float = option(0.0, range=Range(0), help="L1 penalty on weights")
    auxiliary_loss: float | None = option(
        None,
        range=Range(0),
        help="factor of the loss of auxiliary heads on maps of the middle, which only training has; "
        "default: 0.3 for googlenet and inception_v3 from scratch, else 0",
    )
    schedule: Schedule | None = option(None, help="how the learning rate falls")
    warmup: float | None = option(
        None, range=PROBABILITY, help="share of the steps in which the learning rate rises"
    )
    ema: float | None = option(
        None, range=PROBABILITY, help="decay of the moving average of weights; 0 turns it off"
    )
    early_stop: int | None = option(
        None, range=int_range(0), help="epochs without improvement before it stops; 0 never stops"
    )
    checkpoint: Checkpoint = option(
        "best",
        help="weights of which epoch: the best on the validation rows, or the last, which leaves those "
        "nothing to choose (--val-share 0.02 then gives them to training)",
    )
    clip: float | None = option(
        None, range=Range(0), help="greatest gradient norm; 0 does not clip"
    )
    layer_decay: float | None = option(
        None,
        range=Range(0, 1, open_low=True),
        help="factor on the learning rate for each stage further from the head; 1 treats all alike",
    )
    freeze: float | None = option(
        None,
        range=Range(0, 1),
        help="share of the backbone's stages, from the stem, that stay as they are; 1 trains the "
        "head alone",
    )
    freeze_epochs: int | None = option(
        None, range=int_range(0), help="first epochs in which only the head learns"
    )
    unfreeze: Unfreeze | None = option(
        None, help="after those: all stages at once, or one more each epoch, the deepest first"
    )
    freeze_norm: bool | None = option(
        None, help="keep the backbone's batch-norm statistics as they are"
    )
    feature_cache: bool = option(
        False,
        help="compute frozen stages once for up to 8 augmented views of each row, store what they "
        "give, and train the rest from that; the head alone then learns for longer first",
    )
    precision: Precision = option(
        "auto", help="auto takes bf16 where a timed step shows that it pays"
    )
    channels_last: bool | None = option(None, help="memory layout of images (default: as timed)")
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, mps")
    threads: int | None = option(
        None, range=int_range(1, 1024), help="CPU threads (default: all cores)"
    )
    checkpoint_every: int | None = option(
        None,
        range=int_range(1),
        help="steps between checkpoints (default: each epoch and each minute)",
    )
    seed: int = option(0, range=int_range(0, 2**63 - 1), help="seed of everything random")

    def __post_init__(self) -> None:
        if isinstance(self.budget, str):
            object.__setattr__(self, "budget", parse_duration(self.budget))
        problems = []
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            problems.append(f"device is {self.device!r}; allowed: auto, cpu, cuda or mps")
        if self.checkpoint == "last" and self.early_stop:
            problems.append(
                "checkpoint last and early_stop contradict each other: one needs no score, the other "
                "ends by it"
            )
        check_options(self, problems)
