"""What a user may say about training. `None` leaves a choice to the recipe (`train/recipe.py`)."""

# ruff: noqa: RUF009  (`_setting` only shortens `field(default=..., metadata={"help": ...})`)

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from skipstone.errors import UsageError
from skipstone.option_types import CHANCE, POSITIVE, Range, check_options, whole

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "step", "plateau", "one-cycle", "constant"]
Precision = Literal["auto", "f32", "bf16"]
Unfreeze = Literal["all", "gradual"]
Keep = Literal["best", "last"]

_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([smh]))(?:(\d+)([sm]))?")


def parse_duration(text: str) -> float:
    """Seconds in "90s", "10m", "1.5h" or "1h30m". A number without a unit is refused.

    >>> parse_duration("10m")
    600.0
    """
    word = text.strip().lower()
    found = _DURATION.fullmatch(word)
    if found is None:
        if re.fullmatch(r"\d+(\.\d+)?", word):
            raise UsageError(f"{text!r} has no unit: did you mean {word}m or {word}s?")
        raise UsageError(f"{text!r} is no duration. Write 90s, 10m, 1.5h or 1h30m.")
    first, unit, second, smaller = found.groups()
    seconds = float(first) * _UNITS[unit]
    if second is not None:
        if _UNITS[smaller] >= _UNITS[unit]:
            raise UsageError(f"{text!r} is no duration. Write 90s, 10m, 1.5h or 1h30m.")
        seconds += float(second) * _UNITS[smaller]
    if seconds <= 0:
        raise UsageError(f"{text!r} leaves no time. Write 90s, 10m, 1.5h or 1h30m.")
    return seconds


def _setting(text: str, default: Any = None, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. UsageError lists everything that is wrong at once."""

    epochs: int | None = _setting("passes over the training data")
    steps: int | None = _setting("stop after this many optimizer steps")
    budget: float | None = _setting(
        "time to train for, such as 10m; the schedule is fitted to it",
        parse=parse_duration,
        metavar="TIME",
    )
    batch_size: int | None = _setting("samples in a batch")
    balanced: bool = _setting("draw each class equally often (weighted sampler)", False)
    accumulate: int = _setting("batches whose gradients make one step", 1)
    optimizer: Optimizer | None = _setting("optimizer")
    lr: float | None = _setting("peak learning rate")
    momentum: float | None = _setting("momentum of SGD (Nesterov), or beta1 of AdamW")
    weight_decay: float | None = _setting("weight decay; norms and biases are left alone")
    l1: float = _setting("L1 penalty on weights", 0.0)
    schedule: Schedule | None = _setting("how the learning rate falls")
    warmup: float | None = _setting("share of the steps in which the learning rate rises")
    ema: float | None = _setting("decay of the moving average of weights; 0 turns it off")
    early_stop: int | None = _setting("epochs without improvement before it stops; 0 never stops")
    keep: Keep = _setting(
        "weights of which epoch: the best on select, or the last, which leaves select nothing to "
        "choose (--select 0.02 then gives its rows to training)",
        "best",
    )
    clip: float | None = _setting("greatest gradient norm; 0 does not clip")
    layer_decay: float | None = _setting(
        "factor on the learning rate for each stage further from the head; 1 treats all alike"
    )
    freeze: float | None = _setting(
        "share of the backbone's stages, from the stem, that stay as they are; 1 trains the head "
        "alone"
    )
    freeze_epochs: int | None = _setting("first epochs in which only the head learns")
    unfreeze: Unfreeze | None = _setting(
        "after those: all stages at once, or one more each epoch, the deepest first"
    )
    freeze_norm: bool | None = _setting("keep the backbone's batch-norm statistics as they are")
    precision: Precision = _setting("auto takes bf16 where a timed step shows that it pays", "auto")
    channels_last: bool | None = _setting("memory layout of images (default: as timed)")
    device: str = _setting("auto, cpu, cuda, cuda:1, mps", "auto")
    threads: int | None = _setting("CPU threads (default: all cores)")
    checkpoint_every: int | None = _setting(
        "steps between checkpoints (default: each epoch and each minute)"
    )
    seed: int = _setting("seed of everything random", 0)

    def __post_init__(self) -> None:
        if isinstance(self.budget, str):
            object.__setattr__(self, "budget", parse_duration(self.budget))
        problems = []
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            problems.append(f"device is {self.device!r}; allowed: auto, cpu, cuda or mps")
        if self.keep == "last" and self.early_stop:
            problems.append(
                "keep last and early_stop contradict each other: one needs no score, the other "
                "ends by it"
            )
        check_options(self, problems, **_RANGES)


_RANGES = {
    **dict.fromkeys(("epochs", "steps", "batch_size", "accumulate"), whole(1)),
    **dict.fromkeys(("threads", "checkpoint_every"), whole(1)),
    **dict.fromkeys(("early_stop", "freeze_epochs"), whole(0)),
    **dict.fromkeys(("budget", "lr"), POSITIVE),
    **dict.fromkeys(("weight_decay", "l1", "clip"), Range(0)),
    **dict.fromkeys(("momentum", "warmup", "ema"), CHANCE),
    "layer_decay": Range(0, 1, open_low=True),
    "freeze": Range(0, 1),
    "seed": whole(0, 2**63 - 1),
}
