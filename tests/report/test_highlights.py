"""Texts in a report: the words that an answer hangs on, as text and never as markup."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from skipstone.data.samples import SampleMeta
from skipstone.data.sources import FileRef, Inline, read_source
from skipstone.report.blocks import Gallery, block_from_json
from skipstone.report.gallery import GalleryDrawer, compute_word_importance
from skipstone.report.sample_figures import render_gallery
from skipstone.tasks.base import Prediction
from skipstone.tasks.label_answers import softmax
from skipstone.tasks.options import TagOptions
from skipstone.tasks.tagging.task import TaggingTask
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions


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
    pieces = TextInput(TextOptions(text_features="tokens")).fit([Inline(b"a")]).split_tokens
    source = Inline(b"a good , good\n\tbad <b>film</b> !")
    found = compute_word_importance(Counting(), pieces, source)
    assert "".join(piece for piece, _ in found) == source.data.decode()
    weights = {piece: weight for piece, weight in found if weight}
    assert set(weights) == {"good", "bad"}
    assert weights["good"] > 0 > weights["bad"]
    assert max(map(abs, weights.values())) == 1


def test_of_two_words_that_say_the_same_each_weighs() -> None:
    """The probability is 1 without either of them."""
    pieces = TextInput(TextOptions(text_features="tokens")).fit([Inline(b"a")]).split_tokens

    def predict(sources):
        logits = np.array([[0, 60 * source.data.decode().count("good")] for source in sources])
        return [Prediction(None, {}, {"probability": share}) for share in softmax(logits)]

    source = Inline(b"a good and good film")
    found = compute_word_importance(SimpleNamespace(predict=predict), pieces, source)
    assert softmax(np.array([[0, 60.0]]))[0, 1] == 1
    assert [piece for piece, weight in found if weight == 1] == ["good", "good"]
    assert {weight for piece, weight in found if piece != "good"} == {0}


class Tagging:
    """Three tags; each is the likelier the more words of it a text holds."""

    def __init__(self, task: TaggingTask) -> None:
        self.task = task

    def predict(self, sources):
        words = [read_source(source).decode().split() for source in sources]
        counts = [[text.count(tag) for tag in self.task.labels.names] for text in words]
        logits = np.array(counts, np.float32) * 2 - 3
        metas = [SampleMeta(row) for row in range(len(sources))]
        return self.task.predict({"logits": logits}, metas, {})


@pytest.mark.parametrize(
    ("truth", "about", "words"),
    [
        (["good"], "wrongly found bad", {"bad": 1.0}),
        (["good", "bad", "long"], "missed long", {"long": -1.0}),
    ],
)
def test_words_of_tags_are_those_of_the_wrong_decision(
    truth, about, words, tmp_path, monkeypatch
) -> None:
    """The strongest tag, "good", is right, and its words say nothing of the mistake."""
    task = TaggingTask(TagOptions(), {"classes": ["bad", "good", "long"]})
    (tmp_path / "a.txt").write_text("good good good bad and bad , long")
    source = FileRef(tmp_path / "a.txt")
    (answer,) = Tagging(task).predict([source])
    record = task.score_prediction(answer, truth)
    (block, *_) = (s for s in task.report_sections([record], {}) if s["kind"] == "gallery")
    input = TextInput(TextOptions(text_features="tokens")).fit([source])
    table = pa.table({"id": [0], "path": ["a.txt"], "target": [truth]})
    rows = SimpleNamespace(column_values=lambda name: table[name].to_pylist(), table=table)
    rows.source_at, rows.row_names = (lambda row: source), lambda: ["a.txt"]
    drawing = GalleryDrawer(SimpleNamespace(manifest=rows, task=task, input=input), Path())
    monkeypatch.setattr(GalleryDrawer, "_predictor", Tagging(task))
    (drawn,) = drawing.draw_galleries([block])
    gallery = block_from_json(drawn)
    assert isinstance(gallery, Gallery)
    (item,) = gallery.items
    assert {word: weight for word, weight in item.words if weight} == words
    text = render_gallery(gallery)
    assert f"<i>most confident</i> <bdi>{about}</bdi> <b>" in text


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
    block = block_from_json({"kind": "gallery", "title": "t", "items": [item]})
    assert isinstance(block, Gallery)
    text = render_gallery(block)
    assert '<mark class="for s3">&lt;script&gt;</mark>' in text
    assert '<mark class="against s2">x</mark> &amp; y' in text
    assert "speak for the prediction" in text
    assert "<script>" not in text
