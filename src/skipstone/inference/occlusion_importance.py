"""Importance of words by occlusion: predict again without each word in turn.

Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901, for images; Li et al. 2016, arXiv:1612.08220,
for words) needs only the model's outputs, so it works for every model. A word's weight is the
decrease of the prediction's log-odds without it ("weight of evidence", Robnik-Šikonja and Kononenko
2008, IEEE TKDE 20(5)). Probabilities would hide it: if two words mean the same, the probability
without one of them may still be 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skipstone.data.sources import Inline, Source
from skipstone.inference.predictor import Failure, Predictor

#: Tokens of a text that are tested; the rest of a longer text is shown without marks.
MAX_TOKENS = 150
#: Log-odds that are negligible: below it, no word is marked at full strength.
_LEAST = 0.05


def compute_word_importance(
    predictor: Predictor,
    pieces: Callable[[Source], tuple[list[str], list[int]]],
    source: Source,
    *,
    code: int | None = None,
    is_present: bool = True,
) -> list[list[Any]]:
    """[piece of the text, weight] in order; the weight is the decrease of the prediction's log-odds
    without it.

    Weights are scaled to -1..1; negative ones speak against the prediction. Spaces have 0.

    Args:
        pieces: splits a source's text, and says which pieces are tokens (`TextInput.pieces`).
        code: index of a tag, taken by itself; by default the most probable of exclusive classes.
        is_present: whether the tag was predicted to be present (True) or absent.
    """
    parts, tokens = pieces(source)
    tested = tokens[:MAX_TOKENS]
    without = ["".join(part for n, part in enumerate(parts) if n != token) for token in tested]
    sources = [source, *(Inline(text.encode(), name=source.name) for text in without)]
    answers = predictor.predict(sources)
    shares = [
        None if isinstance(answer, Failure) else np.asarray(answer.scores["probability"])
        for answer in answers
    ]
    weights = np.zeros(len(parts))
    full = shares[0]
    if full is not None:
        answer, sign = int(full.argmax()) if code is None else code, 1 if is_present else -1
        before = _log_odds(full, answer, alone=code is not None)
        for token, share in zip(tested, shares[1:], strict=True):
            if share is not None:
                weights[token] = sign * (before - _log_odds(share, answer, alone=code is not None))
    most = max(float(np.abs(weights).max(initial=0.0)), _LEAST)
    return [[part, round(float(w) / most, 3)] for part, w in zip(parts, weights, strict=True)]


def _log_odds(share: np.ndarray, answer: int, *, alone: bool) -> float:
    """log p - log q for probabilities (K,): p is that of `answer`, q that of all other classes or,
    with `alone`, 1 - p."""
    p = float(share[answer])
    q = 1 - p if alone else float(np.delete(share, answer).sum())  # the sum is exact near p = 1
    least = np.finfo(np.float64).eps if alone else np.finfo(np.float64).tiny
    return float(np.log(max(p, least)) - np.log(max(q, least)))
