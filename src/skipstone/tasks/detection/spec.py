"""The task `detect` and its options. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass

from skipstone.core.options import CheckedOptions, Range, int_range, option
from skipstone.core.specs import TaskSpec


@dataclass(frozen=True, kw_only=True)
class DetectOptions(CheckedOptions):
    """How overlapping boxes become predictions."""

    nms_iou: float = option(
        0.6,
        range=Range(0.05, 1.0),
        help="of two boxes of one class whose overlap (IoU) is greater, only the one of the higher "
        "score is predicted",
    )
    max_boxes: int = option(100, range=int_range(1, 1000), help="most boxes predicted in one photo")
    find: float | None = option(
        None,
        range=Range(0, 1, open_low=True, open_high=True),
        help="share of the objects of unseen photos that are found on average (conformal risk "
        "control); the threshold follows. By default it has the greatest F1",
    )


DETECT = TaskSpec(
    "detect",
    "skipstone.tasks.detection.task:DetectionTask",
    "skipstone.tasks.detection.spec:DetectOptions",
    summary="boxes around objects",
    head="pyramid",
    target_kind="boxes",
    input_options={"resize": "squash", "size": 320},
    spatial_targets=True,
    demo="skipstone.workflows.demo_images:BOXED",
    standalone="skipstone.tasks.detection.boxes:decode_boxes",
)
