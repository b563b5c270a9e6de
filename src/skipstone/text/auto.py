"""``--model auto`` for texts, and the input options of a named model. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import ModelChoice, resolve_target

#: From this many texts on, character n-grams cost more time than they gain.
LARGE_DATA = 20_000
#: Pairs of words at a distance, and of each word with the first ones of its text.
_PAIRS = {"skip_grams": 4, "opening_words": 2}


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
    if model != "auto":
        return _make_choice(model, f"{model} as requested", weights, rows)
    if rows >= LARGE_DATA:
        reason = (
            f"{rows:,} texts: a support vector machine on word unigrams and bigrams is fitted in "
            "seconds, and a deeper network may be worth its time (--model textcnn)"
        )
        return _make_choice("linear-svm", reason, weights, rows)
    reason = (
        f"{rows:,} texts of {classes} classes: cross-validation compares support vector machines on "
        "n-grams and word pairs with machines on n-grams scaled by their naive Bayes ratio, and with "
        "the mean of both; --model textcnn is slower, and may be as good"
    )
    others = (_make_choice("nbsvm", reason, weights, rows),)
    choice = _make_choice("linear-svm", reason, weights, rows)
    return replace(choice, input={**choice.input, **_PAIRS}, others=others)


def _make_choice(name: str, reason: str, weights: str, rows: int) -> ModelChoice:
    input = dict(BACKBONES[name].input_options)
    if rows >= LARGE_DATA and input.get("text_features") == "bag":
        input |= {"word_ngrams": "1-2", "char_ngrams": "none"}
    return ModelChoice(
        model=name, weights="none" if weights == "auto" else weights, input=input, reason=reason
    )
