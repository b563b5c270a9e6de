"""Models of texts learnt by skipstone's own path, alone and together, without writing a run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.text_rows import write_table
from skipstone.bundle.architecture import Arch, EnsembleArch, MemberConfig
from skipstone.core.registry import BACKBONES
from skipstone.core.settings import Settings
from skipstone.data.manifest import Manifest
from skipstone.datasets.cache import RecordCache
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.predictor import Predictor
from skipstone.inputs.base import Input
from skipstone.inputs.multi_input import MultiInput
from skipstone.models.averaging import build_ensemble, merge_member_tensors
from skipstone.models.build import load_tensors
from skipstone.tasks.base import Task
from skipstone.training.learner import get_learner
from skipstone.training.plan import build_plan
from skipstone.training.run_directory import RunFolder


@dataclass(frozen=True)
class Own:
    """A model of ours, and the rows that it has not learnt from.

    Args:
        again: the options by which it learns once more from all rows.
        texts: of the roles "val" and "test", as they were when it learnt.
    """

    network: Any
    arch: Arch | EnsembleArch
    input: Input
    task: Task
    manifest: Manifest
    again: dict[str, Any]
    texts: dict[str, list[bytes]]

    def right(self, role: str) -> list[bool]:
        """Whether each row of a role is answered rightly, in order."""
        answers = self._predictor().predict(self.texts[role])
        targets = self.manifest.rows_with_role(role).column_values("target")
        return [
            answer.fields["label"] == target  # type: ignore[union-attr]
            for answer, target in zip(answers, targets, strict=True)
        ]

    def temperature(self) -> float:
        """That suits the validation rows."""
        outputs = self._predictor().compute_outputs(self.texts["val"]).outputs
        post = self.task.fit_postprocessing(
            outputs, self.manifest.rows_with_role("val").column_values("target")
        )
        return float(post["temperature"])

    def _predictor(self) -> Predictor:
        return Predictor(self.input, TorchRuntime(self.network), self.task, {})


def learn(
    rows: list[tuple[str, str]],
    train: np.ndarray,
    test: np.ndarray,
    model: str,
    given: Mapping[str, Any],
    *,
    smoke: bool,
) -> Own:
    """A model learnt from the rows `train`, with those of `test` as its test rows."""
    train_by_gradient = not BACKBONES[model].is_closed_form
    values: dict[str, Any] = {"seed": 0, "split_seed": 0, "threads": 2, **given}
    if smoke and train_by_gradient:
        values["epochs"] = 1
    with tempfile.TemporaryDirectory() as temporary:
        table = Path(temporary, "texts.csv")
        write_table(table, [rows[at] for at in train], [rows[at] for at in test])
        seed = int(values["seed"])
        plan = build_plan(table, model=model, weights="none", seed=seed, settings=Settings(values))
        with RunFolder(Path(temporary, "run")) as run:
            learnt = get_learner(BACKBONES[model])(plan, run, RecordCache())
        decode = plan.input.decode
        texts = {
            role: [
                decode(source).value.tobytes()
                for source in plan.manifest.rows_with_role(role).list_sources()
            ]
            for role in ("val", "test")
        }
    assert isinstance(learnt.arch, Arch), "one model was asked for"
    solved = dict(learnt.arch.backbone.args["options"])
    again = {"checkpoint": "last"} if train_by_gradient else solved
    network = learnt.network.eval()
    return Own(network, learnt.arch, learnt.input, plan.task, plan.manifest, again, texts)


def together(models: Sequence[Own], temperatures: Sequence[float]) -> Own:
    """The ensemble of models that were learnt from the same rows."""
    archs = [model.arch for model in models]
    arch = EnsembleArch(
        tuple(
            MemberConfig(arch, at, temperature)
            for at, (arch, temperature) in enumerate(zip(archs, temperatures, strict=True))
            if isinstance(arch, Arch)
        ),
        "softmax",
    )
    input, first = MultiInput([model.input for model in models]), models[0]
    network = build_ensemble(arch, input)
    tensors = merge_member_tensors(arch, [model.network.state_dict() for model in models])
    load_tensors(network, tensors, where="the ensemble")
    return Own(network.eval(), arch, input, first.task, first.manifest, {}, first.texts)
