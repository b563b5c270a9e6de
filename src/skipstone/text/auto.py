"""``--model auto`` for texts, and the input options of a named model. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import ModelChoice, resolve_target

#: From this many texts on, character n-grams cost more time than they gain.
LARGE_DATA = 20_000


def choose_text_model(
    *, model: str, weights: str, state: Mapping[str, Any], rows: int, classes: int
) -> ModelChoice:
    """The choice for the input `text`; arguments as of `models.auto.for_image`.

    Raises:
        UsageError: pretrained weights for a model that has none.
    """
    entry = BACKBONES[model] if model != "auto" else None
    if entry is not None and entry.resolve_family is not None:
        choice: ModelChoice = resolve_target(entry.resolve_family)(model, weights)
        return choice
    if weights == "pretrained":
        raise UsageError(
            "of the text models, only encoders have pretrained weights.",
            hint="Omit --weights, or choose an encoder: --model hf/FOLDER",
        )
    name, reason = (model, f"{model} as requested") if model != "auto" else _auto(rows, classes)
    input = dict(BACKBONES[name].input_options)
    if rows >= LARGE_DATA and input.get("text_features") == "bag":
        input |= {"word_ngrams": "1-2", "char_ngrams": "none"}
    return ModelChoice(
        model=name,
        weights="none" if weights == "auto" else weights,
        input=input,
        reason=reason,
    )


def _auto(rows: int, classes: int) -> tuple[str, str]:
    """(name, reason). Measured with stratified 5-fold cross-validation: NBSVM's naive Bayes ratio
    gains a point on 9,595 film reviews of 2 classes, and loses three on 5,452 questions of 6.
    There linear-svm had 87.4 %, textcnn 87.8 %, and an ensemble of both 89.1 % (docs/text.md has
    the intervals)."""
    if rows >= LARGE_DATA:
        return "linear-svm", (
            f"{rows:,} texts: a support vector machine on word unigrams and bigrams is fitted in "
            "seconds, and a deeper network may be worth its time (--model textcnn)"
        )
    if classes == 2:
        return "nbsvm", (
            f"{rows:,} texts of two classes: a support vector machine on n-grams scaled by their "
            "naive Bayes ratio, which a network trained on so few texts seldom matches"
        )
    return "linear-svm", (
        f"{rows:,} texts of {classes} classes: a support vector machine on n-grams is fitted in "
        "seconds; --model textcnn is about as good, and an ensemble of both may be better "
        "(skipstone ensemble)"
    )
