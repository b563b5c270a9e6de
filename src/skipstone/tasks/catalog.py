"""The built-in tasks. Free of torch."""

from __future__ import annotations

from skipstone.core.specs import TaskSpec
from skipstone.tasks.detection.spec import DETECT

ENTRIES = (
    TaskSpec(
        "classify",
        "skipstone.tasks.classification.task:ClassificationTask",
        "skipstone.tasks.options:ClassifyOptions",
        summary="one label per sample",
        labels="one",
        head="linear",
        standalone="skipstone.tasks.label_answers:decode_labels",
        demo="skipstone.workflows.demo_images:DIGITS",
    ),
    TaskSpec(
        "tag",
        "skipstone.tasks.tagging.task:TaggingTask",
        "skipstone.tasks.options:TagOptions",
        summary="any number of labels per sample",
        labels="many",
        head="linear",
        standalone="skipstone.tasks.label_answers:decode_tags",
    ),
    TaskSpec(
        "segment",
        "skipstone.tasks.segmentation.task:SegmentationTask",
        "skipstone.tasks.options:SegmentOptions",
        summary="one class per pixel",
        head="lraspp",
        target_kind="masks",
        spatial_targets=True,
        standalone="skipstone.tasks.segmentation.standalone:decode_masks",
        demo="skipstone.workflows.demo_images:SCATTERED",
    ),
    DETECT,
)
