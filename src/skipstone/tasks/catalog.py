"""The built-in tasks. Free of torch."""

from __future__ import annotations

from skipstone.registry import Entry

ENTRIES = (
    Entry(
        "classify",
        "skipstone.tasks.classify:Classify",
        "skipstone.tasks.options:ClassifyOptions",
        summary="one label a sample",
        facts={"head": "linear", "standalone": "skipstone.tasks.answers:classify_answers"},
    ),
    Entry(
        "tag",
        "skipstone.tasks.tag:Tag",
        "skipstone.tasks.options:TagOptions",
        summary="any number of labels a sample",
        facts={"head": "linear", "standalone": "skipstone.tasks.answers:tag_answers"},
    ),
)
