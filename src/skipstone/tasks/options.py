"""Options of the tasks. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from skipstone.errors import UsageError

ClassifyLoss = Literal["cross_entropy", "focal"]
SegmentLoss = Literal["cross_entropy", "focal", "dice", "cross_entropy_dice"]
TagLoss = Literal["bce", "focal"]
ClassWeights = Literal["none", "inverse", "effective"]
Crf = Literal["auto", "on", "off"]
Thresholds = Literal["f1", "half"]


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """One label a sample.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: ClassifyLoss = field(
        default="cross_entropy",
        metadata={"help": "focal dwells on samples that are still wrong (Lin 2017)"},
    )
    label_smoothing: float = field(
        default=0.1,
        metadata={
            "help": "share of each target spread evenly over all classes, in [0, 1) (Szegedy 2016)"
        },
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            "help": "make rare classes count more in the loss: 'inverse' by 1/count, 'effective' "
            "by the effective number of samples (Cui 2019)"
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={"help": "how much 'focal' plays down what is right already; 0 is cross-entropy"},
    )
    effective_beta: float = field(
        default=0.999,
        metadata={
            "help": "for class_weights 'effective': each new sample of a class adds this much of "
            "what the one before added, in [0, 1); 0 is no weighting, near 1 is 'inverse'"
        },
    )
    top_k: int = field(
        default=5,
        metadata={"help": "how many candidates a prediction lists, and the k of top-k accuracy"},
    )

    def __post_init__(self) -> None:
        problems = _loss_problems(self, get_args(ClassifyLoss))
        if self.top_k < 1:
            problems.append(f"top_k is {self.top_k}; allowed: 1 or more")
        _refuse(problems)


@dataclass(frozen=True, kw_only=True)
class TagOptions:
    """Any number of labels a sample, each decided by itself.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: TagLoss = field(
        default="bce",
        metadata={
            "help": "binary cross-entropy, or focal, which dwells on what is still wrong (Lin 2017)"
        },
    )
    label_smoothing: float = field(
        default=0.0,
        metadata={"help": "moves each target this share of the way to one half, in [0, 1)"},
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            "help": "make a rare tag's presence count more: 'inverse' by absent/present, "
            "'effective' by effective numbers of both (Cui 2019); at most 100 times"
        },
    )
    focal_gamma: float = field(
        default=2.0,
        metadata={"help": "how much 'focal' plays down what is right already; 0 is bce"},
    )
    effective_beta: float = field(
        default=0.999,
        metadata={
            "help": "for class_weights 'effective': each new sample of a class adds this much of "
            "what the one before added, in [0, 1)"
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
        problems = _loss_problems(self, get_args(TagLoss))
        if self.thresholds not in get_args(Thresholds):
            problems.append(f"thresholds is {self.thresholds!r}; allowed: 'f1', 'half'")
        _refuse(problems)


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """A class for each pixel.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    loss: SegmentLoss = field(
        default="cross_entropy",
        metadata={
            "help": "of pixels: cross-entropy, or focal, which dwells on those that are still "
            "wrong (Lin 2017); of whole classes in a picture: dice (Milletari 2016); or the sum of "
            "cross-entropy and dice"
        },
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            "help": "make rare classes count more in the loss: 'inverse' by 1/pixels, 'effective' "
            "by the effective number of pixels (Cui 2019)"
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
        metadata={"help": "how much 'focal' plays down what is right already; 0 is cross-entropy"},
    )
    effective_beta: float = field(
        default=0.999999,
        metadata={
            "help": "for class_weights 'effective': each new pixel of a class adds this much of "
            "what the one before added, in [0, 1); 0 is no weighting, near 1 is 'inverse'"
        },
    )

    def __post_init__(self) -> None:
        problems = _loss_problems(self, get_args(SegmentLoss))
        if self.crf not in get_args(Crf):
            problems.append(f"crf is {self.crf!r}; allowed: 'auto', 'on', 'off'")
        _refuse(problems)


def _loss_problems(options: Any, losses: tuple[str, ...]) -> list[str]:
    problems = []
    if options.loss not in losses:
        problems.append(f"loss is {options.loss!r}; allowed: {', '.join(map(repr, losses))}")
    if options.class_weights not in get_args(ClassWeights):
        problems.append(
            f"class_weights is {options.class_weights!r}; allowed: 'none', 'inverse', 'effective'"
        )
    for name in ("label_smoothing", "effective_beta"):
        if hasattr(options, name) and not 0 <= getattr(options, name) < 1:
            problems.append(
                f"{name} is {getattr(options, name)}; allowed: at least 0 and less than 1"
            )
    if not 0 <= options.focal_gamma < math.inf:
        problems.append(f"focal_gamma is {options.focal_gamma}; allowed: a finite number from 0")
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UsageError("; ".join(problems) + ".")
