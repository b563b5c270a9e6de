"""The built-in heads. Free of torch."""

from __future__ import annotations

from skipstone.registry import Entry

ENTRIES = (
    Entry(
        "linear",
        "skipstone.models.heads.linear:LinearHead",
        "skipstone.models.heads.options:LinearOptions",
        summary="global average pool, dropout, one linear layer",
        facts={"outputs": ["logits"]},
    ),
)
