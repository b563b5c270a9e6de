"""The model chosen for a run, its options, and the reason. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model and how to start it.

    Args:
        model: a name in BACKBONES.
        options: its options, where they are not the defaults.
        shape: further arguments of its builder.
        weights: initial weights: "pretrained", "none", or a file.
        input: options of the input (`ImageOptions`) that suit it.
        input_limits: the greatest values of the input's options that it supports.
        reason: one sentence.
    """

    model: str
    weights: str
    input: Mapping[str, Any]
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, Any] = field(default_factory=dict)
    input_limits: Mapping[str, int] = field(default_factory=dict)
