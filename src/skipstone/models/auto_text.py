"""``--model auto`` for texts, and what suits a named model. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.errors import UsageError
from skipstone.models.choice import Choice
from skipstone.registry import BACKBONES, resolve_target

#: From so many texts on, runs of letters cost more time than they bring.
MANY = 20_000


def for_text(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> Choice:
    """The choice for the input `text`; see `models.auto.for_image` for the arguments.

    Raises:
        UsageError: weights were asked for that no model of texts has.
    """
    entry = BACKBONES[model] if model != "auto" else None
    if entry is not None and "resolve" in entry.facts:
        found: Choice = resolve_target(entry.facts["resolve"])(model, weights)
        return found
    if weights == "pretrained":
        raise UsageError(
            "no model for texts of this name comes with pretrained weights.",
            hint="Leave --weights out, or take an encoder: --model hf/FOLDER",
        )
    name, reason = (model, f"{model} as asked for") if model != "auto" else _auto(rows, classes)
    suits = dict(BACKBONES[name].facts.get("input", {}))
    if rows >= MANY and suits.get("form") == "bag":
        suits |= {"word_ngrams": "1-2", "char_ngrams": "none"}
    return Choice(
        model=name,
        weights="none" if weights == "auto" else weights,
        input=suits,
        reason=reason,
    )


def _auto(rows: int, classes: int) -> tuple[str, str]:
    """(name, why). Measured on 5,452 questions of 6 kinds and 9,595 film reviews of 2 (stratified
    5-fold): the ratio of naive Bayes helps where two classes face each other, by a point, and
    costs three where six do. There linear-svm had 87.4 %, textcnn 87.8 %, and both together 89.1 %
    (docs/text.md has the intervals)."""
    if rows >= MANY:
        return "linear-svm", (
            f"{rows:,} texts: a support vector machine on words and pairs of them is found in "
            "seconds, and a deeper network may be worth its time (--model textcnn)"
        )
    if classes == 2:
        return "nbsvm", (
            f"{rows:,} texts of two classes: a support vector machine on n-grams scaled by their "
            "naive Bayes ratio, which networks learnt from so few seldom reach"
        )
    return "linear-svm", (
        f"{rows:,} texts of {classes} classes: a support vector machine on n-grams is found in "
        "seconds; --model textcnn comes near it, and both together may be better (skipstone "
        "ensemble)"
    )
