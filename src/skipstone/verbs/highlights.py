"""Which words an answer hangs on: each is left out in turn, and the answer asked for again.

Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901, for pictures; Li et al. 2016, arXiv:1612.08220,
for words): it treats the model as closed, so it serves all of them alike. What a word weighs is the
log-odds of the answer that go with it ("weight of evidence", Robnik-Šikonja and Kononenko 2008,
IEEE TKDE 20(5)): where two words say the same, the probability without one of them may still be 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skipstone.data.sources import Inline, Source
from skipstone.runtime.predictor import Failure, Predictor

#: Tokens of a text that are left out in turn; the rest of a longer one is shown plain.
MOST = 150
#: Log-odds that mean nothing: if no word weighs more, none is marked at full strength.
_LEAST = 0.05


def highlights(
    predictor: Predictor,
    pieces: Callable[[Source], tuple[list[str], list[int]]],
    source: Source,
    *,
    code: int | None = None,
    found: bool = True,
) -> list[list[Any]]:
    """[piece of the text, weight] in order: what the answer's log-odds lose without it.

    Weights are scaled to at most 1; negative ones speak against the answer. Spaces have 0.

    Args:
        pieces: gives a source's text in pieces, and which of them are tokens (`TextInput.pieces`).
        code: of the output that is asked about by itself; by default the one with the greatest
            probability, of outputs that exclude each other.
        found: whether the answer is that it is there, or (False) that it is not.
    """
    parts, tokens = pieces(source)
    asked = tokens[:MOST]
    without = ["".join(part for at, part in enumerate(parts) if at != gone) for gone in asked]
    sources = [source, *(Inline(text.encode(), name=source.name) for text in without)]
    answers = predictor.predict(sources)
    shares = [
        None if isinstance(answer, Failure) else np.asarray(answer.scores["probability"])
        for answer in answers
    ]
    weights = np.zeros(len(parts))
    whole = shares[0]
    if whole is not None:
        answer, sign = int(whole.argmax()) if code is None else code, 1 if found else -1
        before = _log_odds(whole, answer, alone=code is not None)
        for at, share in zip(asked, shares[1:], strict=True):
            if share is not None:
                weights[at] = sign * (before - _log_odds(share, answer, alone=code is not None))
    most = max(float(np.abs(weights).max(initial=0.0)), _LEAST)
    return [[part, round(float(w) / most, 3)] for part, w in zip(parts, weights, strict=True)]


def _log_odds(share: np.ndarray, answer: int, *, alone: bool) -> float:
    """Of probabilities (K,), the logarithm of that of `answer` against that of any other, or
    (`alone`) against its own absence."""
    own = float(share[answer])
    others = 1 - own if alone else float(np.delete(share, answer).sum())  # 1 - own may be rounded
    least = np.finfo(np.float64).eps if alone else np.finfo(np.float64).tiny
    return float(np.log(max(own, least)) - np.log(max(others, least)))
