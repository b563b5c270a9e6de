"""A training on augmented, mixed texts that is stopped ends bit-identically to one that is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from skipstone.core.errors import Interrupted
from skipstone.core.settings import Settings
from skipstone.data.samples import Batch
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.loader import Loader
from skipstone.training.learner import train_by_gradient
from skipstone.training.plan import TrainPlan, build_plan
from skipstone.training.run_directory import open_or_resume
from skipstone.training.train_output import TrainOutput
from tests.text_data import FILLER, WORDS, rows, write_csv
from tests.vector_data import glove, table

SETTINGS = {
    "epochs": 2,
    "batch_size": 4,
    "precision": "f32",
    "checkpoint_every": 1,
    "threads": 1,
    "augment": "strong",
    "noise": 0.3,
}


def session(
    plan: TrainPlan, base: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None
) -> TrainOutput:
    served, epoch = 0, Loader.iterate_epoch

    def stopping(self: Loader, number: int, start: int = 0) -> Iterator[Batch]:
        nonlocal served
        for batch in epoch(self, number, start):
            if self.batching.shuffle and served == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            served += 1
            yield batch

    with monkeypatch.context() as patch, open_or_resume(base, plan.to_json()) as run:
        patch.setattr(Loader, "iterate_epoch", stopping)
        learnt = train_by_gradient(plan, run, RecordCache())
        run.finish()
    return learnt


@pytest.mark.parametrize("model", ["textcnn", "fasttext"])
def test_a_stopped_training_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    data = write_csv(tmp_path / "texts.csv", rows(24))
    (tmp_path / "synonyms.csv").write_text("saw,met,heard\ntoday,now\n")
    words = [*FILLER, *(word for words in WORDS.values() for word in words)]
    vectors = glove(tmp_path / "v", table(words, 6))
    files = {"synonym_table": str(tmp_path / "synonyms.csv"), "vectors": str(vectors)}
    plan = build_plan(
        data,
        model=model,
        weights="none",
        seed=3,
        settings=Settings({**SETTINGS, **files, "seed": 3}),
    )
    assert sorted(plan.hash_files()) == sorted([str(data), *files.values()])
    whole = session(plan, tmp_path / "whole", monkeypatch)
    for stop_at in (1, 3):
        with pytest.raises(Interrupted):
            session(plan, tmp_path / "stopped", monkeypatch, stop_at)
    stopped = session(plan, tmp_path / "stopped", monkeypatch)
    assert stopped.result.chosen_epoch == whole.result.chosen_epoch
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, stopped.network.state_dict()[name]), name
