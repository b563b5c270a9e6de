"""Boxes around things, as a package from outside brings them: a reader, a head, a task.

Here are the names and options, free of torch; `detector` and `files` hold the code.
"""

from __future__ import annotations

from dataclasses import dataclass

from skipstone.core.options import option
from skipstone.core.specs import HeadSpec, ReaderSpec, TaskSpec


@dataclass(frozen=True, kw_only=True)
class BoxesOptions:
    iou: float = option(0.5, help="overlap from which a box counts as found")


READER = ReaderSpec("boxes", f"{__name__}.files:BoxesReader", summary="boxes.json beside pictures")
HEAD = HeadSpec("grid", f"{__name__}.detector:GridHead", summary="boxes and scores at each cell")
TASK = TaskSpec(
    "boxes", f"{__name__}.detector:Boxes", f"{__name__}:BoxesOptions", summary="find things"
)
