"""Curves in text files, as a package from outside brings them: a reader, an input, a backbone.

Here are the names and options, free of torch; `parts` holds the code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from skipstone.registry import Entry


@dataclass(frozen=True)
class CurveOptions:
    length: int = field(default=32, metadata={"help": "numbers in a curve"})


@dataclass(frozen=True)
class CurveNetOptions:
    hidden: int = field(default=16, metadata={"help": "channels of each layer"})


READER = Entry("curves", "skipstone_curves.parts:CurvesReader", summary="curves.tsv beside curves")
INPUT = Entry(
    "curve",
    "skipstone_curves.parts:CurveInput",
    "skipstone_curves:CurveOptions",
    summary="text files of numbers",
    facts={"emits": ["curve"]},
)
BACKBONE = Entry(
    "curvenet",
    "skipstone_curves.parts:build_curvenet",
    "skipstone_curves:CurveNetOptions",
    summary="two convolutions along a curve",
    facts={"accepts": ["curve"], "family": "curvenet", "pretrained": None},
)
