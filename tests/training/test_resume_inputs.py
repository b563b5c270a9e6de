"""A training on masks, boxes or texts that is stopped ends bit-identically to one that is not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.core.errors import Interrupted
from skipstone.core.registry import HEADS
from skipstone.core.settings import Settings
from skipstone.data.samples import Batch
from skipstone.datasets.loader import Loader
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor
from skipstone.models.build import build_network
from skipstone.models.network import Network
from skipstone.tasks.base import compute_finite_metrics
from skipstone.training.fit import FitResult, fit
from skipstone.training.learner import training_loader
from skipstone.training.plan import TrainPlan, build_plan
from skipstone.training.run_directory import open_or_resume
from tests.box_data import make_scenes, write_voc
from tests.mask_data import write_scenes
from tests.text_data import rows, write_csv

SETTINGS = {"epochs": 2, "precision": "f32", "checkpoint_every": 1, "threads": 1}


def _masks(folder: Path) -> tuple[Path, str, dict[str, Any]]:
    """(data, model, settings)"""
    write_scenes(folder / "scenes", 12)
    own = {"width": 0.25, "depth": 0.34, "batch_size": 2, "channels_last": False}
    return folder / "scenes", "resnet20", {**own, "augment": "strong"}


def _texts(folder: Path) -> tuple[Path, str, dict[str, Any]]:
    table = write_csv(folder / "texts.csv", rows(60))
    own = {"embedding": 8, "maps": 4, "batch_size": 8, "token_dropout": 0.1, "delete": 0.2}
    return table, "textcnn", own


def _boxes(folder: Path) -> tuple[Path, str, dict[str, Any]]:
    write_voc(folder / "scenes", make_scenes(12, side=32))
    own = {"width": 0.25, "depth": 0.34, "size": 32, "batch_size": 2, "channels_last": False}
    return folder / "scenes", "resnet20", {**own, "augment": "strong"}


class Stopping:
    """A loader that asks its process to stop at one batch."""

    def __init__(self, loader: Loader, at: int | None) -> None:
        self.loader, self.at, self.served = loader, at, 0
        self.batch_size = loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def iterate_epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.iterate_epoch(number, start):
            if self.served == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            self.served += 1
            yield batch


def session(plan: TrainPlan, base: Path, stop_at: int | None = None) -> tuple[Network, FitResult]:
    torch.manual_seed(plan.seed)
    network = build_network(plan.arch, plan.input)
    loader = training_loader(plan)

    def evaluate(candidate: Network) -> dict[str, float]:
        predictor = Predictor(plan.input, TorchRuntime(candidate), plan.task, {})
        return compute_finite_metrics(
            plan.task, predictor.evaluate(plan.manifest.rows_with_role("val")).records
        )

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


CASES = [(_masks, {}), (_texts, {})] + [
    (_boxes, {"head": entry.name}) for entry in HEADS if entry.output_level == "box"
]


@pytest.mark.parametrize(
    ("made", "extra"),
    CASES,
    ids=[f"{made.__name__}{''.join(extra.values())}" for made, extra in CASES],
)
def test_a_stopped_training_ends_the_same(
    made: Callable[[Path], tuple[Path, str, dict[str, Any]]],
    extra: dict[str, Any],
    tmp_path: Path,
) -> None:
    data, model, own = made(tmp_path)
    settings = Settings({**SETTINGS, **own, **extra, "seed": 3})
    plan = build_plan(data, model=model, weights="none", seed=3, settings=settings)
    whole, expected = session(plan, tmp_path / "whole")
    for stop_at in (1, 3):
        with pytest.raises(Interrupted):
            session(plan, tmp_path / "stopped", stop_at)
    network, result = session(plan, tmp_path / "stopped")
    assert result.chosen_epoch == expected.chosen_epoch
    assert [row["metrics"] for row in result.history] == [
        row["metrics"] for row in expected.history
    ]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
