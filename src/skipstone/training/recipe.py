"""The recipe: every option of training resolved, from the user's options and the data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skipstone.core.formatting import format_decimal, format_duration, pluralize
from skipstone.core.options import check_types
from skipstone.training.options import (
    Checkpoint,
    Optimizer,
    Precision,
    Schedule,
    TrainOptions,
    Unfreeze,
)

#: Samples of so few numbers (pictures of 64 pixels) come in larger batches.
FEW_VALUES = 64 * 64 * 3
#: Numbers in a batch (32 images of 224 pixels): larger samples come in smaller batches.
MOST_VALUES = 32 * 224 * 224 * 3
#: Fewer samples than this adapt pretrained weights instead of replacing them.
SMALL = 20_000
#: Epochs of the head alone on cached features.
HEAD_EPOCHS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeFacts:
    """What the choices depend on.

    Args:
        samples: training rows.
        pretrained: whether the backbone starts with pretrained weights.
        values: numbers in one sample, such as height x width x channels.
        is_spatial: whether targets have coordinates (masks): each sample then teaches more.
        recommended: values of `TrainOptions` that the backbone's entry recommends.
    """

    samples: int
    pretrained: bool = False
    values: int = 224 * 224 * 3
    is_spatial: bool = False
    recommended: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """`TrainOptions` with every value filled in. Fields mean the same."""

    epochs: int
    steps: int | None
    budget: float | None
    batch_size: int
    balanced: bool
    accumulate: int
    optimizer: Optimizer
    lr: float
    momentum: float
    weight_decay: float
    l1: float
    auxiliary_loss: float
    schedule: Schedule
    warmup: float
    ema: float
    early_stop: int
    clip: float
    layer_decay: float
    freeze: float
    freeze_epochs: int
    unfreeze: Unfreeze
    freeze_norm: bool
    feature_cache: bool
    precision: Precision
    channels_last: bool | None
    device: str
    threads: int | None
    checkpoint_every: int | None
    seed: int
    checkpoint: Checkpoint

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Recipe:
        """TypeError for missing or unknown names, UsageError for values that no user may type."""
        check_types("recipe", Recipe, value)
        TrainOptions(**value)
        return Recipe(**value)

    def __str__(self) -> str:
        """One line for a person: `adamw, lr 0.001, ...`, without what is off."""
        words = [f"{pluralize(self.epochs, 'epoch')} of batches of {self.batch_size}"]
        if self.steps is not None:
            words.append(f"at most {pluralize(self.steps, 'step')}")
        if self.budget is not None:
            words.append(f"within {format_duration(self.budget)}")
        words.append(f"{self.optimizer} at {format_decimal(self.lr)} ({self.schedule})")
        words.append(f"weight decay {format_decimal(self.weight_decay)}")
        for name in (
            "l1",
            "auxiliary_loss",
            "ema",
            "clip",
            "freeze",
            "freeze_epochs",
            "early_stop",
        ):
            if getattr(self, name):
                words.append(f"{name.replace('_', ' ')} {getattr(self, name):g}")
        if self.checkpoint == "last":
            words.append("the last epoch's weights")
        if self.balanced:
            words.append("classes drawn equally often")
        if self.feature_cache:
            words.append("frozen stages computed once")
        if self.layer_decay != 1:
            words.append(f"layer decay {self.layer_decay:g}")
        return ", ".join(words)


def resolve_recipe(options: TrainOptions, facts: RecipeFacts) -> Recipe:
    """Fill in what the user left open.

    With weights: a first epoch for the head alone, then AdamW at rates that shrink towards the
    stem. With little data, the lower half of the backbone and all norm statistics are frozen:
    photos share edges and textures with the pretraining data, and a step costs half.
    From scratch: SGD with momentum as in He 2015, at a rate that grows with the batch.
    """
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    user_values = {name: value for name, value in values.items() if value is not None}
    largest = _batch_size(facts)
    recommended = min(largest, facts.recommended.get("batch_size", largest))
    batch_size = user_values.get("batch_size") or recommended
    chosen = {**facts.recommended, **user_values, "batch_size": batch_size}
    optimizer = chosen.get("optimizer") or ("adamw" if facts.pretrained else "sgd")
    adapting = facts.pretrained and facts.samples < SMALL
    # a head that learns from cached vectors costs little (Kumar 2022: linear probing first)
    more_head = HEAD_EPOCHS - 1 if options.feature_cache and not facts.is_spatial else 0
    more_head = more_head if facts.pretrained else 0
    defaults: dict[str, Any] = {
        "epochs": _epochs(facts) + more_head,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "lr": _lr(optimizer, batch_size * options.accumulate, facts),
        "momentum": 0.9,
        "weight_decay": 0.05 if optimizer == "adamw" else 5e-4,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip": 1.0 if optimizer == "adamw" else 0.0,
        "early_stop": 0,
        "auxiliary_loss": 0.0,
        "layer_decay": 0.8 if facts.pretrained else 1.0,
        "freeze": 0.5 if adapting else 0.0,
        "freeze_epochs": 1 + more_head if facts.pretrained else 0,
        "unfreeze": "all",
        "freeze_norm": adapting,
    }
    # The average reaches back over about a thirtieth of the training.
    epochs = chosen.get("epochs", defaults["epochs"])
    steps = chosen.get("steps") or epochs * facts.samples / (batch_size * options.accumulate)
    defaults["ema"] = round(1 - 1 / min(2000.0, max(5.0, steps / 30)), 5)
    everything: dict[str, Any] = dict.fromkeys(values) | defaults | chosen
    return Recipe(**everything)


def _batch_size(facts: RecipeFacts) -> int:
    """Little data gets enough steps per epoch; small images fit in larger batches."""
    largest = 128 if facts.values <= FEW_VALUES else 32
    while largest > 4 and largest * facts.values > MOST_VALUES:
        largest //= 2
    while largest > 8 and facts.samples < 8 * largest:
        largest //= 2
    return largest


def _epochs(facts: RecipeFacts) -> int:
    if facts.pretrained and facts.is_spatial:
        return 15 if facts.samples >= 1000 else 40
    if facts.pretrained:
        return 9 if facts.samples >= 1000 else 20
    if facts.samples >= SMALL:
        return 24
    return 30 if facts.samples >= 5000 else 60


def _lr(optimizer: str, batch: int, facts: RecipeFacts) -> float:
    """Linear scaling for SGD (Goyal 2017), square root for AdamW (Krizhevsky 2014).

    With spatial targets a small batch is not noisy: it has millions of pixels.
    """
    batch = max(batch, 64) if facts.is_spatial else batch
    if optimizer == "sgd":
        return round((0.01 if facts.pretrained else 0.2) * batch / 128, 6)
    return round((1e-3 if facts.pretrained else 2e-3) * math.sqrt(batch / 64), 6)
