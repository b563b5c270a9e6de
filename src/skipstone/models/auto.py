"""``--model auto``: which network for which pictures, and why. Free of torch.

The rules are one table, from the top; the first that holds decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from skipstone.models.choice import Choice
from skipstone.registry import BACKBONES

#: Up to this side, in pixels, a network that shrinks pictures by 32 would have nothing left.
TINY = 48
#: More channels than this are not those of photos (grey, grey + alpha, RGB, RGBA).
PHOTO_CHANNELS = 4
#: From this many fit rows on a tiny picture's network gets twice the channels ...
PLENTY = 5_000
#: ... unless there are so many that an epoch of it would take a laptop too long.
TOO_MANY_TO_WIDEN = 30_000
#: Sides of networks with no `input_size` of their own.
_LARGEST = 224
#: The longest side of pictures that keep their shape: what a laptop trains on in an evening.
LARGEST_KEPT = 640
#: Pretrained at 224, the network fine-tunes as well at this side, in two thirds of the time.
_PHOTO = 192
#: Smaller pictures are enlarged to this side and no further: more pixels would tell nothing new.
_ENLARGED = 160


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the data: the typical picture's size, channels, fit rows, classes."""

    height: int
    width: int
    channels: int
    fit_rows: int
    classes: int

    @property
    def side(self) -> int:
        return max(self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of the table."""

    when: Callable[[Facts], bool]
    choose: Callable[[Facts], Choice]


def choose_model(*, height: int, width: int, channels: int, fit_rows: int, classes: int) -> Choice:
    """Choose a backbone for pictures of about ``height`` x ``width`` pixels.

    Args:
        height: of the typical (median) picture.
        width: of the typical picture.
        channels: of the pictures as they will be read.
        fit_rows: how many of them there are to train on.
        classes: how many to tell apart.
    """
    facts = Facts(height=height, width=width, channels=channels, fit_rows=fit_rows, classes=classes)
    return next(rule.choose(facts) for rule in RULES if rule.when(facts))


def _is_tiny(facts: Facts) -> bool:
    return facts.side <= TINY


def _tiny(facts: Facts) -> Choice:
    width = 2.0 if PLENTY <= facts.fit_rows < TOO_MANY_TO_WIDEN else 1.0
    size = max(16, 4 * math.ceil(facts.side / 4))  # whole pixels after two halvings
    return Choice(
        model="resnet20",
        options={} if width == 1 else {"width": width},
        weights="none",
        input={"size": size, "normalize": "fit"},
        reason=f"pictures of {facts.width}x{facts.height} pixels are too small for a pretrained "
        f"network, so a small one of their own size is trained from scratch on {facts.fit_rows:,}",
    )


def _photo(facts: Facts) -> Choice:
    size = min(_PHOTO, max(_ENLARGED, 32 * math.ceil(facts.side / 32)))
    other = facts.channels > PHOTO_CHANNELS
    adapted = f", adapted to {facts.channels} channels" if other else ""
    if facts.channels < 3:
        adapted = ", adapted to grey"
    return Choice(
        model="efficientnet_lite0",
        weights="pretrained",
        input={"size": size, "resize": "squash", "normalize": "half"},
        reason=f"pictures of about {facts.width}x{facts.height} pixels: weights pretrained on "
        f"ImageNet{adapted} know more than {facts.fit_rows:,} of them could teach from scratch",
    )


RULES = (
    Rule(when=_is_tiny, choose=_tiny),
    Rule(when=lambda facts: True, choose=_photo),
)


def keeping_shape(choice: Choice) -> Choice:
    """The same choice for answers that lie on the picture, which therefore keeps its shape.

    Sides are filled up to a multiple of what the network divides them by: 32, or 8 for the small
    ones that are made for tiny pictures.
    """
    tiny = BACKBONES[choice.model].facts.get("input_size", _LARGEST) <= TINY
    input = {
        **choice.input,
        "size": LARGEST_KEPT,
        "resize": "keep",
        "pad": 8 if tiny else 32,
    }
    reason = choice.reason.replace(f", at {choice.input['size']} pixels", "")
    reason = f"{reason}; pictures keep their shape, with sides of {LARGEST_KEPT} at most"
    return replace(choice, input=input, reason=reason)


def for_image(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> Choice:
    """The choice for the input `image`: by the table for "auto", else what suits a named model.

    Args:
        model: "auto" or a name in BACKBONES.
        weights: "auto", "pretrained", "none" or a file. "auto" takes weights that are installed;
            those of a hub are only fetched when asked for.
        state: the fitted input's: {"typical_size": [height, width], "channels": ...}.
        rows: of the fit role.
    """
    choice = _choice(model, weights, state, rows, classes)
    if "dtype" in state:  # deeper than photos
        depth = {"uint8": "8 bits", "uint16": "16 bits"}.get(str(state["dtype"]), "32-bit numbers")
        channels = int(state["channels"])
        said = (
            f"{channels} channel{'s' * (channels > 1)} of {depth}, scaled as the training part is"
        )
        if state.get("detail"):
            said += ", and again without its local mean, because its detail is faint"
        return replace(choice, reason=f"{choice.reason}; {said}")
    return choice


def _choice(model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int) -> Choice:
    height, width = (int(side) for side in state.get("typical_size", (_LARGEST, _LARGEST)))
    if model == "auto":
        choice = choose_model(
            height=height,
            width=width,
            channels=int(state["channels"]),
            fit_rows=rows,
            classes=classes,
        )
        return choice if weights == "auto" else replace(choice, weights=weights)
    from skipstone.models.weights import published  # imports torch, and timm for timm's names

    known = published(model)
    if weights == "auto":
        weights = "pretrained" if known.source == "package" else "none"
    side = max(height, width)
    smallest = 16 if known.size <= TINY else 32
    size = known.size if side >= known.size else max(smallest, 4 * math.ceil(side / 4))
    start = "from scratch" if weights == "none" else f"from {weights} weights"
    more = ""
    if weights == "none" and known.source == "hub":
        more = "; --weights pretrained would fetch weights from timm's hub"
    normalize = known.normalize if weights != "none" and known.normalize else "fit"
    return Choice(
        model=model,
        weights=weights,
        input={"size": size, "normalize": normalize},
        reason=f"{model} as asked for, {start}, at {size} pixels{more}",
    )
