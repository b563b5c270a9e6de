from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression.receipt import measure_sizes
from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.registry import TASKS
from skipstone.data.samples import SampleMeta
from skipstone.inference.predictor import Evaluation, Failure
from skipstone.inference.programs import read_programs
from skipstone.tasks.base import Task
from skipstone.workflows import compare_models
from skipstone.workflows.compare_models import _difference, compare


def test_trained_and_untrained_models_side_by_side(
    run: Path, flat_photo_folder: Path, tmp_path: Path
) -> None:
    models = [str(run), "resnet20", str(run / "bundle")]
    result = compare(models, data=flat_photo_folder, latency_seconds=0.2, out=tmp_path / "page")
    first, untrained, again = result.rows
    assert first.metric == "accuracy"
    assert first.accuracy is not None
    assert first.accuracy.n == 60
    assert first.accuracy.value > 0.7
    assert first.difference is None
    assert again.difference is not None
    assert again.difference.value == 0
    assert untrained.accuracy is None
    assert untrained.macs == pytest.approx(40.6e6, rel=0.05)  # He et al. 2015, at 32 x 32
    assert untrained.parameters == pytest.approx(0.27e6, rel=0.05)
    programs = read_programs(run / "bundle").by_name
    assert first.runtime in {*programs, "torch-f32"}
    sizes = measure_sizes(run / "bundle")
    assert first.bytes == sizes["programs"].get(first.runtime, sizes["float32_weights"])
    assert result.page == tmp_path / "page" / "compare.html"
    page = result.page.read_text()
    assert page.count('<th scope="row"') == 3
    assert f"{100 * first.accuracy.value:.1f} %" in page
    assert all(row.latency["median_ms"] > 0 for row in result.rows)
    assert json.loads(json.dumps(result.to_json()))["models"][1]["name"] == "resnet20"


def test_each_is_scored_by_its_own_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    entry, targets = TASKS["tag"], [["a"], ["b"], ["a", "b"]] * 4

    def scored(*classes: str) -> tuple[Task, Evaluation]:
        task: Task = entry.load()(entry.make_options(), {"classes": list(classes)})
        logits = np.random.default_rng(len(classes)).normal(size=(12, len(classes)))
        metas = [SampleMeta(row) for row in range(12)]
        predictions = task.predict({"logits": logits.astype(np.float32)}, metas, {})
        rows = zip(predictions, targets, strict=True)
        return task, Evaluation(
            [task.score_prediction(*row) for row in rows], [], groups=[None] * 12
        )

    notes: list[str] = []
    monkeypatch.setattr(events, "emit_note", notes.append)
    one, another = scored("a", "b", "c"), scored("d", "c", "b", "a")
    gap = _difference(one, another, 0)
    before, after = (task.compute_metrics(found.records)["map"] for task, found in (one, another))
    assert gap is not None
    assert gap.value == pytest.approx(100 * (after - before))
    assert notes == ["The two models have different classes; each is scored with its own."]


@pytest.mark.parametrize(
    ("name", "message"),
    [("resent20", "resnet20"), ("runs/nothing", "no model at"), ("timm/nothing", "nothing")],
)
def test_what_is_no_model_is_refused_with_what_is_near(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare([name])
    assert message in str(caught.value)


def test_a_program_that_predicts_otherwise_is_not_chosen(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(run / "bundle")
    monkeypatch.setattr(
        compare_models, "exceeded_tolerances", lambda measured, tolerance: "3 predictions changed"
    )
    assert compare_models._choose_runtime(run / "bundle", bundle) == "torch-f32"


def test_rows_that_cannot_be_read_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [Failure(f"{n}.jpg", "gone", n) for n in range(6)]
    evaluation = Evaluation([{"id": 9}], lost)
    for name in ("restore_task", "restore_input"):
        monkeypatch.setattr(compare_models, name, lambda bundle: None)
    scorer = SimpleNamespace(evaluate=lambda part: evaluation)
    monkeypatch.setattr(compare_models, "Predictor", lambda *parts: scorer)
    model: Any = SimpleNamespace(
        bundle=SimpleNamespace(post={}), folder=None, name="a", open=lambda: None
    )
    heard: list[str] = []
    with events.use_listener(lambda event: heard.append(getattr(event, "text", ""))):
        compare_models._evaluate(model, Rows(), None)  # type: ignore[arg-type]
    assert "6 of 20 rows of photos cannot be read and are not scored" in " ".join(heard)


class Rows:
    root = "photos"

    def __len__(self) -> int:
        return 20
