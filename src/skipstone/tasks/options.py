"""Options of the tasks. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import CHANCE, Range, check_options, whole

ClassifyLoss = Literal["cross_entropy", "focal"]
SegmentLoss = Literal["cross_entropy", "focal", "dice", "cross_entropy_dice"]
TagLoss = Literal["bce", "focal"]
ClassWeights = Literal["none", "inverse", "effective"]
Crf = Literal["auto", "on", "off"]
Thresholds = Literal["f1", "half"]
#: In a field's metadata: only training in steps asks for it; and which other option it belongs to.
_STEPS = {"steps": True}
_FOCAL = {**_STEPS, "only": {"loss": "focal"}}
_EFFECTIVE = {**_STEPS, "only": {"class_weights": "effective"}}
_OF_LOSSES = {"effective_beta": CHANCE, "focal_gamma": Range(0)}


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """One label a sample.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: ClassifyLoss = field(
        default="cross_entropy",
        metadata={**_STEPS, "help": "focal dwells on samples that are still wrong (Lin 2017)"},
    )
    label_smoothing: float = field(
        default=0.1,
        metadata={
            **_STEPS,
            "help": "share of each target spread evenly over all classes, in [0, 1) (Szegedy 2016)",
        },
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            **_STEPS,
            "help": "make rare classes count more in the loss: 'inverse' by 1/count, 'effective' "
            "by the effective number of samples (Cui 2019)",
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={
            **_FOCAL,
            "help": "how much 'focal' plays down what is right already; 0 is cross-entropy",
        },
    )
    effective_beta: float = field(
        default=0.999,
        metadata={
            **_EFFECTIVE,
            "help": "for class_weights 'effective': each new sample of a class adds this much of "
            "what the one before added, in [0, 1); 0 is no weighting, near 1 is 'inverse'",
        },
    )
    top_k: int = field(
        default=5,
        metadata={"help": "how many candidates a prediction lists, and the k of top-k accuracy"},
    )

    def __post_init__(self) -> None:
        check_options(self, label_smoothing=CHANCE, top_k=whole(1), **_OF_LOSSES)


@dataclass(frozen=True, kw_only=True)
class TagOptions:
    """Any number of labels a sample, each decided by itself.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: TagLoss = field(
        default="bce",
        metadata={
            **_STEPS,
            "help": "binary cross-entropy, or focal, which dwells on what is still wrong "
            "(Lin 2017)",
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={
            **_STEPS,
            "help": "moves each target this share of the way to one half, in [0, 1)",
        },
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            **_STEPS,
            "help": "make a rare tag's presence count more: 'inverse' by absent/present, "
            "'effective' by effective numbers of both (Cui 2019); at most 100 times",
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={**_FOCAL, "help": "how much 'focal' plays down what is right already; 0 is bce"},
    )
    effective_beta: float = field(
        default=0.999,
        metadata={
            **_EFFECTIVE,
            "help": "for class_weights 'effective': each new sample of a class adds this much of "
            "what the one before added, in [0, 1)",
        },
    )
    thresholds: Thresholds = field(
        default="f1",
        metadata={
            "help": "'f1' finds each tag's threshold on the select part, rare tags leaning on the "
            "common curve; 'half' says a tag is present from probability 0.5"
        },
    )

    def __post_init__(self) -> None:
        check_options(self, label_smoothing=CHANCE, **_OF_LOSSES)


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """A class for each pixel.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: SegmentLoss = field(
        default="cross_entropy",
        metadata={
            **_STEPS,
            "help": "of pixels: cross-entropy, or focal, which dwells on those that are still "
            "wrong (Lin 2017); of whole classes in a picture: dice (Milletari 2016); or the sum of "
            "cross-entropy and dice",
        },
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            **_STEPS,
            "help": "make rare classes count more in the loss: 'inverse' by 1/pixels, 'effective' "
            "by the effective number of pixels (Cui 2019)",
        },
    )
    crf: Crf = field(
        default="auto",
        metadata={
            "help": "refine masks by a fully connected CRF over the picture's colours "
            "(Kraehenbuehl 2011), which is slow: 'auto' tries it on pictures of the select part "
            "and uses it where its gain is certain (95 %)"
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={
            **_FOCAL,
            "help": "how much 'focal' plays down what is right already; 0 is cross-entropy",
        },
    )
    effective_beta: float = field(
        default=0.999999,
        metadata={
            **_EFFECTIVE,
            "help": "for class_weights 'effective': each new pixel of a class adds this much of "
            "what the one before added, in [0, 1); 0 is no weighting, near 1 is 'inverse'",
        },
    )

    def __post_init__(self) -> None:
        check_options(self, **_OF_LOSSES)
