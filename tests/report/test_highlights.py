"""Texts in a report: the words that an answer hangs on, as text and never as markup."""

from __future__ import annotations

import numpy as np

from skipstone.data.sources import Inline
from skipstone.inputs.text import TextInput
from skipstone.inputs.text_options import TextOptions
from skipstone.report.blocks import Gallery, from_json
from skipstone.report.render import _gallery
from skipstone.tasks.base import Prediction
from skipstone.verbs.highlights import highlights


class Counting:
    """Answers yes the more "good" a text holds, and no for each "bad"."""

    def predict(self, sources):
        found = []
        for source in sources:
            words = source.data.decode().split()
            share = 1 / (1 + np.exp(-(words.count("good") - words.count("bad"))))
            scores = {"probability": np.array([1 - share, share])}
            found.append(Prediction(None, {}, scores))
        return found


def test_words_weigh_what_the_answer_loses_without_them() -> None:
    pieces = TextInput(TextOptions(form="tokens")).fit([Inline(b"a")]).pieces
    source = Inline(b"a good , good\n\tbad <b>film</b> !")
    found = highlights(Counting(), pieces, source)
    assert "".join(piece for piece, _ in found) == source.data.decode()
    weights = {piece: weight for piece, weight in found if weight}
    assert set(weights) == {"good", "bad"}
    assert weights["good"] > 0 > weights["bad"]
    assert max(map(abs, weights.values())) == 1


def test_marked_words_are_inert() -> None:
    item = {
        "id": 1,
        "name": "<i>",
        "caption": "",
        "truth": "a",
        "answer": "b",
        "probability": 0.7,
        "words": [["<script>", 1.0], ["x", -0.5], [" & y", 0.0]],
    }
    block = from_json({"kind": "gallery", "title": "t", "items": [item]})
    assert isinstance(block, Gallery)
    text = _gallery(block)
    assert '<mark class="for s3">&lt;script&gt;</mark>' in text
    assert '<mark class="against s2">x</mark> &amp; y' in text
    assert "<script>" not in text
