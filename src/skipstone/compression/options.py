"""Options of the shrink steps. They import no torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import CheckedOptions, Range, int_range, option

Preset = Literal["performance", "mixed"]
Floats = Literal["bf16", "f32"]
Scope = Literal["global", "layer"]
Pattern = Literal["free", "2:4"]
DistillationLoss = Literal["logits", "dist"]
_PART = Range(0, 1, open_low=True, open_high=True)


@dataclass(frozen=True, kw_only=True)
class Int8Options(CheckedOptions):
    """Post-training INT8: weights and activations of convolutions and matrix products."""

    owner = "int8"
    samples: int = option(300, range=int_range(1), help="training samples to measure the ranges on")
    preset: Preset = option(
        "performance",
        help="'performance' uses symmetric ranges, 'mixed' asymmetric ones for activations: a "
        "little slower, and better if activations are negative",
    )
    floats: Floats = option(
        "bf16",
        help="precision of the operations that stay in floating point; a processor without "
        "bfloat16 computes them in float32",
    )


@dataclass(frozen=True, kw_only=True)
class RecoveryOptions(CheckedOptions):
    """The augmentation of recovery training, over the one that the model was trained with."""

    augment: str | None = option(None, help="another augmentation than the run's, such as none")
    custom: str | None = option(
        None,
        names_outside=True,
        help="your own callable, if the model was trained with it: package.module:name",
    )
    synonym_table: str | None = option(
        None, names_outside=True, help="your table of synonyms, if the model was trained with it"
    )


@dataclass(frozen=True, kw_only=True)
class PruneOptions(RecoveryOptions):
    """Structured pruning of hidden channels, followed by recovery training."""

    owner = "prune"
    macs: float = option(
        0.5, range=_PART, help="share of the multiply-accumulates to keep, such as 0.5"
    )
    epochs: int = option(8, range=int_range(1), help="epochs of recovery training")
    teacher: float = option(
        0.7,
        range=Range(0, 1),
        help="weight of the distillation loss from the original model; 0 for none",
    )
    multiple: int = option(
        16,
        range=int_range(1),
        help="channels are removed in groups of this size, to suit matrix units",
    )
    batches: int = option(
        16, range=int_range(1), help="batches to measure the importance of channels on"
    )


@dataclass(frozen=True, kw_only=True)
class ResolutionOptions(RecoveryOptions):
    """Smaller images, followed by recovery training."""

    owner = "resolution"
    size: int | None = option(
        None,
        range=int_range(1),
        help="side of the images in pixels, such as 160; by default three quarters of the present "
        "one, rounded down to a multiple of the network's stride",
    )
    epochs: int = option(
        8,
        range=int_range(0),
        help="epochs of recovery training; 0 for none, if a later step trains",
    )
    teacher: float = option(
        0.7,
        range=Range(0, 1),
        help="weight of the distillation loss from the original model, which gets the same images "
        "enlarged to its own size; 0 for none",
    )


@dataclass(frozen=True, kw_only=True)
class VocabularyOptions(RecoveryOptions):
    """Remove the least important tokens or n-grams from the vocabulary and the network's tables."""

    owner = "vocabulary"
    keep: float = option(0.5, range=_PART, help="share of the vocabulary to keep, such as 0.5")
    epochs: int = option(
        2,
        range=int_range(0),
        help="epochs of recovery training; closed-form models are solved again; 0 for neither",
    )


@dataclass(frozen=True, kw_only=True)
class DistilOptions(RecoveryOptions):
    """Train a smaller network on the answers of the original model."""

    owner = "distil"
    student: str | None = option(
        None,
        help="a model that takes the same input, such as resnet20; by default the model's own "
        "network at half its width",
    )
    width: float | None = option(
        None,
        range=Range(0, 100, open_low=True),
        help="multiplies the channels of the student, where it has that option",
    )
    loss: DistillationLoss = option(
        "logits",
        help="'logits' is the divergence from the teacher's probabilities (Hinton 2015), 'dist' "
        "their correlations among classes and among images (Huang 2022), for classes only",
    )
    epochs: int = option(30, range=int_range(1), help="epochs of training")
    teacher: float = option(
        0.7,
        range=Range(0, 1),
        help="weight of the distillation loss; 0 for labels only",
    )


@dataclass(frozen=True, kw_only=True)
class SparsifyOptions(RecoveryOptions):
    """Magnitude pruning of single weights, while the others are trained."""

    owner = "sparsify"
    density: float = option(
        0.2,
        range=Range(0.02, 1, open_high=True),
        help="share of the weights that remain; with pattern 2:4 it is one half",
    )
    scope: Scope = option(
        "global",
        help="'global' compares the weights of all layers, 'layer' gives each the same density",
    )
    pattern: Pattern = option(
        "free",
        help="'2:4' keeps the two largest of each four consecutive inputs, as some GPUs need",
    )
    gradual: bool = option(
        True, help="lower the density during the first half of the epochs instead of at once"
    )
    epochs: int = option(8, range=int_range(0), help="epochs of training; 0 for none")
    teacher: float = option(
        0.7,
        range=Range(0, 1),
        help="weight of the distillation loss from the original model; 0 for none",
    )


@dataclass(frozen=True, kw_only=True)
class ShareOptions(RecoveryOptions):
    """A codebook of few values for the weights of each layer."""

    owner = "share"
    bits: int = option(
        4, range=int_range(1, 8), help="2^bits values per layer; 4 are 16 different weights"
    )
    epochs: int = option(2, range=int_range(0), help="epochs of training the codebooks; 0 for none")
    teacher: float = option(
        0.7,
        range=Range(0, 1),
        help="weight of the distillation loss from the original model; 0 for none",
    )
