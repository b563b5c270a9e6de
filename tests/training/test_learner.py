"""How networks are judged while they are found: where they are, and how exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skipstone.core.settings import Settings
from skipstone.datasets.cache import RecordCache
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.training import train_output
from skipstone.training.closed_form import fit_closed_form
from skipstone.training.plan import build_plan
from skipstone.training.run_directory import RunFolder
from tests.text_data import rows, write_csv
from tests.training.tiny import tiny_network


class Judged(Exception):
    """In place of an answer."""


def test_a_network_in_training_is_judged_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved to the CPU, its optimizer and its average would be left behind on the GPU."""
    asked: list[TorchRuntime] = []

    def predictor(input: Any, runtime: TorchRuntime, *_: Any) -> None:
        asked.append(runtime)
        raise Judged

    monkeypatch.setattr(train_output, "Predictor", predictor)
    manifest = SimpleNamespace(rows_with_role=lambda name: None)
    given: Any = SimpleNamespace(manifest=manifest, input=None, task=None)
    evaluate = train_output.make_evaluate(given, RecordCache())
    network = tiny_network().to("meta")  # the one device beside the CPU that is everywhere
    with pytest.raises(Judged):
        evaluate(network)
    assert asked[0].device == torch.device("meta")
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def test_what_is_solved_is_judged_in_float32_in_a_resumed_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As baseline it is found before the precision of training is decided, and then again."""
    asked: list[str] = []

    def runtime(network: Any, *, precision: str = "f32", **options: Any) -> TorchRuntime:
        asked.append(precision)
        return TorchRuntime(network, precision=precision, **options)

    monkeypatch.setattr(train_output, "TorchRuntime", runtime)
    data = write_csv(tmp_path / "texts.csv", rows(24))
    plan = build_plan(
        data, model="logistic", weights="auto", seed=0, settings=Settings({"seed": 0, "folds": 0})
    )
    with RunFolder(tmp_path / "run") as run:
        run.decide("precision", lambda: {"precision": "bf16"})
        fit_closed_form(plan, run, RecordCache())
    assert asked == ["f32", "f32"]
