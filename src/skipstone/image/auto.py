"""``--model auto`` for images: the choice of backbone, and the reason for it. Free of torch.

The rules are one table, read from the top; the first that matches decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from skipstone.core.registry import BACKBONES
from skipstone.core.specs import ModelChoice

#: Images of up to this side, in pixels, are too small for a network of stride 32.
MAX_TINY_SIDE = 48
#: Photos have at most these channels (grey, grey + alpha, RGB, RGBA).
PHOTO_CHANNELS = 4
#: From this many training rows on, the network for tiny images gets twice the channels ...
WIDEN_FROM = 5_000
#: ... up to this many, where an epoch of it would take a laptop too long.
WIDEN_UNTIL = 30_000
#: Input size of networks without an `input_size`.
_DEFAULT_SIZE = 224
#: The longest side for dense prediction: what a laptop trains on in an evening.
MAX_DENSE_SIDE = 640
#: Pretrained at 224, the network fine-tunes as well at this size, in two thirds of the time.
_PHOTO_SIZE = 192
#: Smaller images are enlarged to this size.
_MIN_PHOTO_SIZE = 160


@dataclass(frozen=True, kw_only=True)
class ImageDatasetSummary:
    """The data: size and channels of the typical image, training rows, classes."""

    height: int
    width: int
    channels: int
    train_rows: int
    classes: int

    @property
    def side(self) -> int:
        return max(self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of the table: the condition, and the choice where it holds."""

    when: Callable[[ImageDatasetSummary], bool]
    choose: Callable[[ImageDatasetSummary], ModelChoice]


def choose_model(
    *, height: int, width: int, channels: int, train_rows: int, classes: int
) -> ModelChoice:
    """Choose a backbone for images of about ``height`` x ``width`` pixels.

    Args:
        height: of the median image.
        width: of the median image.
        channels: of the decoded images.
        train_rows: number of training rows.
        classes: number of classes.
    """
    data = ImageDatasetSummary(
        height=height, width=width, channels=channels, train_rows=train_rows, classes=classes
    )
    return next(rule.choose(data) for rule in RULES if rule.when(data))


def _is_tiny(data: ImageDatasetSummary) -> bool:
    return data.side <= MAX_TINY_SIDE


def _tiny(data: ImageDatasetSummary) -> ModelChoice:
    width = 2.0 if WIDEN_FROM <= data.train_rows < WIDEN_UNTIL else 1.0
    size = max(16, 4 * math.ceil(data.side / 4))  # whole pixels after two halvings
    return ModelChoice(
        model="resnet20",
        options={} if width == 1 else {"width": width},
        weights="none",
        input={"size": size, "normalize": "fit"},
        reason=f"images of {data.width}x{data.height} pixels are too small for a pretrained "
        f"network, so a small network is trained from scratch on {data.train_rows:,} of them",
    )


def _photo(data: ImageDatasetSummary) -> ModelChoice:
    size = min(_PHOTO_SIZE, max(_MIN_PHOTO_SIZE, 32 * math.ceil(data.side / 32)))
    adapted = ""
    if data.channels > PHOTO_CHANNELS:
        adapted = f", adapted to {data.channels} channels"
    elif data.channels < 3:
        adapted = ", adapted to grey"
    return ModelChoice(
        model="efficientnet_lite0",
        weights="pretrained",
        input={"size": size, "resize": "squash", "normalize": "half"},
        reason=f"images of about {data.width}x{data.height} pixels: weights pretrained on "
        f"ImageNet{adapted} are a better start than training from scratch on "
        f"{data.train_rows:,} of them",
    )


RULES = (
    Rule(when=_is_tiny, choose=_tiny),
    Rule(when=lambda data: True, choose=_photo),
)


def for_dense_prediction(choice: ModelChoice) -> ModelChoice:
    """The same choice for dense prediction, where images keep their aspect ratio.

    Sides are padded to a multiple of the network's stride: 32, or 8 for the networks of tiny
    images, and more where the network takes no smaller images.
    """
    model = BACKBONES[choice.model]
    unit = 8 if (model.input_size or _DEFAULT_SIZE) <= MAX_TINY_SIDE else 32
    input = {
        **choice.input,
        "size": MAX_DENSE_SIDE,
        "resize": "keep",
        "pad": unit * math.ceil(model.least_side / unit),
    }
    return replace(choice, input=input)


def choose_image_model(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> ModelChoice:
    """The choice for the input `image`: by the table for "auto", else what suits the named model.

    Args:
        model: "auto" or a name in BACKBONES.
        weights: "auto", "pretrained", "none" or a file. "auto" takes weights that are installed;
            only "pretrained" downloads from a hub.
        state: of the fitted input: {"typical_size": [height, width], "channels": ...}.
        rows: number of training rows.
    """
    choice = _choice(model, weights, state, rows, classes)
    if "dtype" in state:  # deeper than photos
        depth = {"uint8": "8 bits", "uint16": "16 bits"}.get(str(state["dtype"]), "32-bit numbers")
        channels = int(state["channels"])
        detail = f"{channels} channel{'s' * (channels > 1)} of {depth}, scaled by the training rows"
        if state.get("detail"):
            detail += ", with copies that have their local mean removed, because detail is faint"
        return replace(choice, reason=f"{choice.reason}; {detail}")
    return choice


def _choice(
    model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> ModelChoice:
    height, width = (
        int(side) for side in state.get("typical_size", (_DEFAULT_SIZE, _DEFAULT_SIZE))
    )
    if model == "auto":
        choice = choose_model(
            height=height,
            width=width,
            channels=int(state["channels"]),
            train_rows=rows,
            classes=classes,
        )
        return choice if weights == "auto" else replace(choice, weights=weights)
    from skipstone.models.weights import pretrained_info  # imports torch; timm for timm/ names

    known = pretrained_info(model)
    if weights == "auto":
        weights = "pretrained" if known.source == "package" else "none"
    side = max(height, width)
    smallest = max(16 if known.size <= MAX_TINY_SIDE else 32, BACKBONES[model].least_side)
    size = known.size if side >= known.size else max(smallest, 4 * math.ceil(side / 4))
    start = "from scratch" if weights == "none" else f"from {weights} weights"
    more = ""
    if weights == "none" and known.source == "hub":
        more = "; --weights pretrained downloads weights from timm's hub"
    normalize = known.normalize if weights != "none" and known.normalize else "fit"
    return ModelChoice(
        model=model,
        weights=weights,
        input={"size": size, "normalize": normalize},
        reason=f"{model} as requested, {start}{more}",
    )
