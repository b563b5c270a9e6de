"""The built-in tasks. Free of torch.

Facts that other packages ask for:

    labels       "one": a target is a label; "many": a list of labels. Missing for other targets,
                 which need a reader of their own
    places       whether targets have coordinates in the input, which should then keep its shape
    demo         what `skipstone demo --task` shows (workflows/demo_images.py)
    standalone   the function that decodes outputs in the exported script
"""

from __future__ import annotations

from skipstone.core.registry import Entry

ENTRIES = (
    Entry(
        "classify",
        "skipstone.tasks.classification.task:ClassificationTask",
        "skipstone.tasks.options:ClassifyOptions",
        summary="one label per sample",
        facts={
            "labels": "one",
            "head": "linear",
            "standalone": "skipstone.tasks.label_answers:decode_labels",
            "demo": "skipstone.workflows.demo_images:DIGITS",
        },
    ),
    Entry(
        "tag",
        "skipstone.tasks.tagging.task:TaggingTask",
        "skipstone.tasks.options:TagOptions",
        summary="any number of labels per sample",
        facts={
            "labels": "many",
            "head": "linear",
            "standalone": "skipstone.tasks.label_answers:decode_tags",
        },
    ),
    Entry(
        "segment",
        "skipstone.tasks.segmentation.task:SegmentationTask",
        "skipstone.tasks.options:SegmentOptions",
        summary="one class per pixel",
        facts={
            "head": "lraspp",
            "places": True,
            "standalone": "skipstone.tasks.segmentation.standalone:decode_masks",
            "demo": "skipstone.workflows.demo_images:SCATTERED",
        },
    ),
)
