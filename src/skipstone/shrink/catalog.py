"""The shrink steps by name; see `shrink.plan` for what their targets are called with.

The fact `ends` says that what a step makes is lost in any step after it, so that it goes last.
"""

from __future__ import annotations

from skipstone.registry import Entry

ENTRIES = (
    Entry(
        "resolution",
        "skipstone.shrink.resolution:apply",
        "skipstone.shrink.options:Resolution",
        summary="smaller pictures, then training at that size on what the model answered before",
        source="https://arxiv.org/abs/1704.04861",
    ),
    Entry(
        "prune",
        "skipstone.shrink.prune:apply",
        "skipstone.shrink.options:Prune",
        summary="fewer hidden channels, then training on what the model answered before",
        source="https://arxiv.org/abs/1906.10771",
    ),
    Entry(
        "vocabulary",
        "skipstone.shrink.vocabulary:apply",
        "skipstone.shrink.options:VocabularyOptions",
        summary="fewer words and n-grams: those that matter least leave input and network",
        source="https://arxiv.org/abs/1906.10771",
    ),
    Entry(
        "int8",
        "skipstone.shrink.int8:apply",
        "skipstone.shrink.options:Int8",
        summary="8-bit integers instead of floats, measured on training data (NNCF, OpenVINO)",
        source="https://github.com/openvinotoolkit/nncf",
        facts={"ends": True},
    ),
)
