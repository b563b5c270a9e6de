"""Options of the tasks. They import no torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import (
    PROBABILITY,
    CheckedOptions,
    Range,
    int_range,
    option,
)

ClassifyLoss = Literal["cross_entropy", "focal"]
SegmentLoss = Literal["cross_entropy", "focal", "dice", "cross_entropy_dice"]
TagLoss = Literal["bce", "focal"]
ClassWeights = Literal["none", "inverse", "effective"]
Crf = Literal["auto", "on", "off"]
Thresholds = Literal["f1", "half"]


def _gamma_option(correct: str) -> float:
    return option(
        2.0,
        range=Range(0),
        requires={"loss": "focal"},
        needs_gradient=True,
        help=f"how strongly 'focal' lowers the weight of correct {correct}",
    )


def _beta_option(
    default: float, unit: str, limits: str = "; 0 gives equal weights, near 1 'inverse'"
) -> float:
    return option(
        default,
        range=PROBABILITY,
        requires={"class_weights": "effective"},
        needs_gradient=True,
        help=f"for class_weights 'effective': each new {unit} of a class adds this share of what "
        f"the one before added{limits}",
    )


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(CheckedOptions):
    """One label per sample."""

    loss: ClassifyLoss = option(
        "cross_entropy",
        needs_gradient=True,
        help="focal puts weight on samples that are still wrong (Lin 2017)",
    )
    label_smoothing: float = option(
        0.1,
        range=PROBABILITY,
        needs_gradient=True,
        help="share of each target spread evenly over all classes (Szegedy 2016)",
    )
    class_weights: ClassWeights = option(
        "none",
        needs_gradient=True,
        help="give rare classes a higher loss weight: 'inverse' by 1/count, 'effective' by the "
        "effective number of samples (Cui 2019)",
    )
    focal_gamma: float = _gamma_option("samples; 0 is cross-entropy")
    effective_beta: float = _beta_option(0.999, "sample")
    top_k: int = option(
        5,
        range=int_range(1),
        help="number of candidates in a prediction, and the k of top-k accuracy",
    )


@dataclass(frozen=True, kw_only=True)
class TagOptions(CheckedOptions):
    """Any number of labels per sample, each an independent decision."""

    loss: TagLoss = option(
        "bce",
        needs_gradient=True,
        help="binary cross-entropy, or focal, which puts the weight on tags that are still wrong "
        "(Lin 2017)",
    )
    label_smoothing: float = option(
        0.0,
        range=PROBABILITY,
        needs_gradient=True,
        help="moves each target by this share of the way towards 0.5",
    )
    class_weights: ClassWeights = option(
        "none",
        needs_gradient=True,
        help="give the presence of rare tags a higher loss weight: 'inverse' by absent/present, "
        "'effective' by effective numbers of both (Cui 2019); at most 100",
    )
    focal_gamma: float = _gamma_option("tags; 0 is bce")
    effective_beta: float = _beta_option(0.999, "sample", limits="")
    thresholds: Thresholds = option(
        "f1",
        help="'f1' fits each tag's threshold on the validation rows, shrunk towards a common one "
        "for rare tags; 'half' is 0.5 for every tag",
    )


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(CheckedOptions):
    """One class per pixel."""

    loss: SegmentLoss = option(
        "cross_entropy",
        needs_gradient=True,
        help="per pixel: cross-entropy, or focal, which puts the weight on pixels that are still "
        "wrong (Lin 2017); per class and image: dice (Milletari 2016); or the sum of "
        "cross-entropy and dice",
    )
    class_weights: ClassWeights = option(
        "none",
        needs_gradient=True,
        help="give rare classes a higher loss weight: 'inverse' by 1/pixels, 'effective' by the "
        "effective number of pixels (Cui 2019)",
    )
    crf: Crf = option(
        "auto",
        help="refine masks with a fully connected CRF over the image's colours (Kraehenbuehl "
        "2011), which is slow: 'auto' tries it on validation images and uses it if the gain is "
        "certain (95 %)",
    )
    focal_gamma: float = _gamma_option("samples; 0 is cross-entropy")
    effective_beta: float = _beta_option(0.999999, "pixel")
