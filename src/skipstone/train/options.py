"""What a user may say about training. `None` leaves a choice to the recipe (`train/recipe.py`)."""

# ruff: noqa: RUF009  (`_setting` only shortens `field(default=..., metadata={"help": ...})`)

from __future__ import annotations

import dataclasses
import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from skipstone.errors import UsageError

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
        problems = [text for text in (_problem(self, rule) for rule in _RULES) if text]
        if self.device.split(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            problems.append(f"--device {self.device} is not known; use auto, cpu, cuda or mps")
        if self.keep == "last" and self.early_stop:
            problems.append(
                "--keep last and --early-stop contradict each other: one needs no score, the other "
                "ends by it"
            )
        problems += _wrong_words(self)
        if problems:
            raise UsageError("; ".join(problems) + ".")


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False


_RULES = (
    _Rule("epochs", 1),
    _Rule("steps", 1),
    _Rule("budget", 0, open_low=True),
    _Rule("batch_size", 1),
    _Rule("accumulate", 1),
    _Rule("lr", 0, open_low=True),
    _Rule("momentum", 0, 1, open_high=True),
    _Rule("weight_decay", 0),
    _Rule("l1", 0),
    _Rule("warmup", 0, 1, open_high=True),
    _Rule("ema", 0, 1, open_high=True),
    _Rule("early_stop", 0),
    _Rule("clip", 0),
    _Rule("layer_decay", 0, 1, open_low=True),
    _Rule("freeze", 0, 1),
    _Rule("freeze_epochs", 0),
    _Rule("threads", 1),
    _Rule("checkpoint_every", 1),
    _Rule("seed", 0, 2**63 - 1),
)


def _problem(options: TrainOptions, rule: _Rule) -> str | None:
    value = getattr(options, rule.name)
    if value is None:
        return None
    flag = f"--{rule.name.replace('_', '-')} {value}"
    annotation = str(TrainOptions.__dataclass_fields__[rule.name].type)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{flag} is not a number"
    if annotation.startswith("int") and not isinstance(value, int):
        return f"{flag} is not a whole number"
    low = value > rule.low if rule.open_low else value >= rule.low
    high = value < rule.high if rule.open_high else value <= rule.high
    if low and high and math.isfinite(value):
        return None
    lower = f"above {rule.low:g}" if rule.open_low else f"at least {rule.low:g}"
    if rule.high == math.inf:
        return f"{flag} is not allowed; it must be {lower}"
    upper = f"below {rule.high:g}" if rule.open_high else f"at most {rule.high:g}"
    return f"{flag} is not allowed; it must be {lower} and {upper}"


def _wrong_words(options: TrainOptions) -> list[str]:
    """Words outside their Literal, for callers without a type checker."""
    problems = []
    kinds = typing.get_type_hints(TrainOptions)
    for item in dataclasses.fields(options):
        words = [
            word
            for kind in (kinds[item.name], *typing.get_args(kinds[item.name]))
            if typing.get_origin(kind) is Literal
            for word in typing.get_args(kind)
        ]
        value = getattr(options, item.name)
        if words and value is not None and value not in words:
            flag = item.name.replace("_", "-")
            problems.append(f"--{flag} {value} is not allowed; use {', '.join(words)}")
    return problems
