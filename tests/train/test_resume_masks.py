"""A training on masks that is stopped ends bit-identically to one that is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from skipstone.data.samples import Batch
from skipstone.errors import Interrupted
from skipstone.models.build import build_network
from skipstone.models.network import Network
from skipstone.prepare.augment import make_augment
from skipstone.prepare.loader import Loader
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.torch_runtime import TorchRuntime
from skipstone.settings import Settings
from skipstone.tasks.records import figures_of
from skipstone.train.fit import FitResult, fit
from skipstone.train.runfolder import open_or_resume
from skipstone.verbs.plan import Plan, make_plan
from tests.mask_data import write_scenes

SETTINGS = {
    "width": 0.25,
    "depth": 0.34,
    "epochs": 2,
    "batch_size": 2,
    "precision": "f32",
    "checkpoint_every": 1,
    "threads": 1,
    "augment": "strong",
    "channels_last": False,
}


class Stopping:
    """A loader that asks its process to stop at one batch."""

    def __init__(self, loader: Loader, at: int | None) -> None:
        self.loader, self.at, self.served = loader, at, 0
        self.batch_size = loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.epoch(number, start):
            if self.served == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            self.served += 1
            yield batch


def session(plan: Plan, base: Path, stop_at: int | None = None) -> tuple[Network, FitResult]:
    torch.manual_seed(plan.seed)
    network = build_network(plan.arch, plan.input)
    loader = Loader(
        plan.manifest.role("fit"),
        plan.input,
        plan.task,
        batch_size=plan.recipe.batch_size,
        seed=plan.seed,
        shuffle=True,
        augment=make_augment(plan.augment, plan.input, plan.task),
        drop_last=True,
    )

    def evaluate(candidate: Network) -> dict[str, float]:
        predictor = Predictor(plan.input, TorchRuntime(candidate), plan.task, {})
        return figures_of(plan.task, predictor.evaluate(plan.manifest.role("select")).records)

    with open_or_resume(base, plan.to_json()) as run:
        result = fit(
            network,
            task=plan.task,
            loader=Stopping(loader, stop_at),
            evaluate=evaluate,
            options=plan.recipe,
            run=run,
        )
        run.finish()
    return network, result


def test_a_stopped_training_ends_the_same(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 12)
    plan = make_plan(
        tmp_path / "scenes",
        model="resnet20",
        weights="none",
        seed=3,
        settings=Settings({**SETTINGS, "seed": 3}),
    )
    whole, expected = session(plan, tmp_path / "whole")
    for stop_at in (1, 3):
        with pytest.raises(Interrupted):
            session(plan, tmp_path / "stopped", stop_at)
    network, result = session(plan, tmp_path / "stopped")
    assert result.best == expected.best
    assert [row["metrics"] for row in result.history] == [
        row["metrics"] for row in expected.history
    ]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
