"""Curves in text files, as a package from outside brings them: a reader, an input, a backbone and a
task.

Here are the names and options, free of torch; `parts` and `grades` hold the code.
"""

from __future__ import annotations

from dataclasses import dataclass

from skipstone.core.options import option
from skipstone.core.specs import BackboneSpec, InputSpec, ReaderSpec, TaskSpec


@dataclass(frozen=True)
class CurveNetOptions:
    hidden: int = option(16, help="channels of each layer")


@dataclass(frozen=True)
class GradeOptions:
    near: int = option(1, help="levels that a near answer may be off")


READER = ReaderSpec("curves", f"{__name__}.parts:CurvesReader", summary="curves.tsv beside curves")
INPUT = InputSpec(
    "curve",
    f"{__name__}.parts:CurveInput",  # there is nothing to choose, so it has no options
    summary="text files of numbers",
    emits=("curve",),
)
BACKBONE = BackboneSpec(
    "curvenet",
    f"{__name__}.parts:build_curvenet",
    f"{__name__}:CurveNetOptions",
    summary="two convolutions along a curve",
    accepts=("curve",),
)
TASK = TaskSpec(
    "grade",
    f"{__name__}.grades:Grade",
    f"{__name__}:GradeOptions",
    summary="one of several levels that have an order",
    source="Frank and Hall 2001",
)
