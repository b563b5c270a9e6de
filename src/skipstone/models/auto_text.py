"""``--model auto`` for texts, and what suits a named model. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.errors import UsageError
from skipstone.models.auto import Choice
from skipstone.registry import BACKBONES

#: From so many texts on, a word that occurs in one text only is not worth a row of weights.
MANY = 20_000


def for_text(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> Choice:
    """The choice for the input `text`; see `models.auto.for_image` for the arguments.

    Raises:
        UsageError: weights were asked for that no model of texts has.
    """
    if weights == "pretrained":
        raise UsageError(
            "no model for texts comes with pretrained weights.",
            hint="Leave --weights out.",
        )
    name = "nbsvm" if model == "auto" else model
    suits = dict(BACKBONES[name].facts.get("input", {}))
    if rows >= MANY:
        suits["min_count"] = 2
    reason = f"{name} as asked for"
    if model == "auto":
        reason = f"{rows:,} texts"
    return Choice(
        model=name,
        weights="none" if weights == "auto" else weights,
        input=suits,
        reason=reason,
    )
