"""The shrink steps by name; `shrink.plan` defines the interface of their targets.

The fact `ends`: a later step would discard the output of this one, so it must be the last.
"""

from __future__ import annotations

from skipstone.registry import Entry

ENTRIES = (
    Entry(
        "resolution",
        "skipstone.shrink.resolution:apply_resolution",
        "skipstone.shrink.options:ResolutionOptions",
        summary="smaller images, then distillation at that size from the original model",
        source="https://arxiv.org/abs/1704.04861",
    ),
    Entry(
        "prune",
        "skipstone.shrink.prune:apply_pruning",
        "skipstone.shrink.options:PruneOptions",
        summary="fewer hidden channels, then distillation from the original model",
        source="https://arxiv.org/abs/1906.10771",
    ),
    Entry(
        "vocabulary",
        "skipstone.shrink.vocabulary:apply_vocabulary",
        "skipstone.shrink.options:VocabularyOptions",
        summary="fewer words and n-grams: the least important leave input and network",
        source="https://arxiv.org/abs/1906.10771",
    ),
    Entry(
        "int8",
        "skipstone.shrink.int8:apply_int8",
        "skipstone.shrink.options:Int8Options",
        summary="8-bit integers instead of floats, calibrated on training data (NNCF, OpenVINO)",
        source="https://github.com/openvinotoolkit/nncf",
        facts={"ends": True},
    ),
)
