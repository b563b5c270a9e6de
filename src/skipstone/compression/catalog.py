"""The shrink steps by name; `compression.shrink_plan` defines the interface of their targets."""

from __future__ import annotations

from skipstone.core.specs import StepSpec

ENTRIES = (
    StepSpec(
        "resolution",
        "skipstone.compression.steps.resolution:apply_resolution",
        "skipstone.compression.options:ResolutionOptions",
        summary="smaller images, then distillation at that size from the original model",
        source="https://arxiv.org/abs/1704.04861",
    ),
    StepSpec(
        "prune",
        "skipstone.compression.steps.prune:apply_pruning",
        "skipstone.compression.options:PruneOptions",
        summary="fewer hidden channels, then distillation from the original model",
        source="https://arxiv.org/abs/1906.10771",
    ),
    StepSpec(
        "vocabulary",
        "skipstone.compression.steps.vocabulary:apply_vocabulary",
        "skipstone.compression.options:VocabularyOptions",
        summary="fewer words and n-grams: the least important leave input and network",
        source="https://arxiv.org/abs/1906.10771",
    ),
    StepSpec(
        "distil",
        "skipstone.compression.steps.distil:apply_distil",
        "skipstone.compression.options:DistilOptions",
        summary="a smaller network that learns the answers of the original model",
        source="https://arxiv.org/abs/1503.02531",
    ),
    StepSpec(
        "sparsify",
        "skipstone.compression.steps.sparsify:apply_sparsify",
        "skipstone.compression.options:SparsifyOptions",
        summary="the smallest weights become zero: a smaller file, not a faster model",
        source="https://arxiv.org/abs/1710.01878",
        followed_by=("share",),
    ),
    StepSpec(
        "share",
        "skipstone.compression.steps.share:apply_share",
        "skipstone.compression.options:ShareOptions",
        summary="few different weights per layer: a smaller file, not a faster model",
        source="https://arxiv.org/abs/1510.00149",
        followed_by=(),
    ),
    StepSpec(
        "int8",
        "skipstone.compression.steps.int8:apply_int8",
        "skipstone.compression.options:Int8Options",
        summary="8-bit integers instead of floats, calibrated on training data (NNCF, OpenVINO)",
        source="https://github.com/openvinotoolkit/nncf",
        followed_by=(),
    ),
)
