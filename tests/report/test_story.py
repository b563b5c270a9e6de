"""A run's story, gathered from real parts that were never trained, and told again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.core import storage
from skipstone.core.errors import DamagedError
from skipstone.core.settings import Settings
from skipstone.data.samples import SampleMeta
from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.parity import Verification
from skipstone.evaluation.scores import Scores
from skipstone.inference.predictor import Evaluation, Failure
from skipstone.models.build import build_network
from skipstone.report.report_data import (
    RunOutcome,
    add_receipt_to_report,
    collect_report_data,
    describe_training,
    write_report,
)
from skipstone.training.plan import TrainPlan, build_plan
from tests.report.stories import receipt


@pytest.fixture(scope="module")
def plan(photo_folder: Path) -> TrainPlan:
    settings = Settings({"width": 0.25, "depth": 0.34, "size": 24, "seed": 0})
    return build_plan(photo_folder, model="resnet20", weights="none", seed=0, settings=settings)


def drawn(plan: TrainPlan, bundle: Bundle) -> Scores:
    """Scores of drawn answers for the test rows: a third of them right."""
    test_rows = plan.manifest.rows_with_role("test")
    logits = np.zeros((len(test_rows), 3), np.float32)
    logits[:, 0] = np.linspace(1, 2, len(test_rows))
    metas = [
        SampleMeta(id, source.name)
        for id, source in zip(test_rows.column_values("id"), test_rows.list_sources(), strict=True)
    ]
    answers = plan.task.predict({"logits": logits}, metas, bundle.post)
    records = [
        plan.task.score_prediction(answer, target)
        for answer, target in zip(answers, test_rows.column_values("target"), strict=True)
    ]
    values = plan.task.compute_metrics(records)
    return Scores(
        role="test",
        split="the validation split of the data, scored once",
        seed=0,
        metrics={
            name: Estimate(value, value, float("nan"), len(records))
            for name, value in values.items()
        },
        evaluation=Evaluation(
            records, [Failure("broken.jpg", "cut off")], [], unknown_labels={"owl": 2}
        ),
        headline="accuracy",
        errors=plan.task.summarize_errors(records),
    )


def tell(plan: TrainPlan, folder: Path) -> Path:
    """A report of `plan` with drawn answers: a third of the test rows right."""
    input_state, _ = plan.input.get_state()
    bundle = Bundle(
        arch=plan.arch,
        input={
            "name": "image",
            "options": dataclasses.asdict(plan.input.options),
            "state": input_state,
        },
        task={
            "name": "classify",
            "options": dataclasses.asdict(plan.task.options),
            "schema": dict(plan.task.schema),
        },
        post={"temperature": 1.0},
        lineage={
            "command": "skipstone train photos/ # lone\\udcff",
            "versions": {"skipstone": "0.1.0"},
            "stopped_by": "early stop",
            "micro_batch": 4,
        },
        tensors={"w": np.zeros(3, np.float32)},
    )
    bundle.save(folder / "bundle")
    history: list[dict[str, Any]] = [
        {"epoch": e, "step": 3 * e, "lr": 0.1, "loss": 1.0 / e, "metrics": {"accuracy": value}}
        for e, value in ((1, 0.3), (2, 0.7), (3, 0.7), (4, 0.5))
    ]
    network = build_network(plan.arch, plan.input)
    outcome = RunOutcome(
        context=plan,
        bundle=bundle,
        folder=folder / "bundle",
        scores=drawn(plan, bundle),
        verification=Verification(True, 0.0, 0, []),
        trained=describe_training(plan, bundle, network, history, 75),
        history=history,
        best=3,
    )
    return write_report(folder / "report.html", collect_report_data(outcome))


@pytest.fixture
def run(plan: TrainPlan, tmp_path: Path) -> Path:
    return tell(plan, tmp_path).parent


def test_a_story_holds_what_a_reader_asks(run: Path, plan: TrainPlan) -> None:
    told = json.loads((run / "report.json").read_text())["story"]
    assert told["headline"] == "accuracy"
    assert told["metrics"][0]["value"] == pytest.approx(1 / 3)
    assert told["metrics"][0]["high"] is None  # NaN is not JSON
    assert (
        told["best"] == 3
    )  # what was kept, though epoch 2 was as good: a tie, or --checkpoint last
    assert told["roles"] == {"train": 30, "val": 6, "test": 12}
    assert told["classes"][0] == {"name": "disc", "train": 10, "val": 2, "test": 4}
    assert {row["name"] for row in told["unscored"]} == {"broken.jpg", "owl"}
    facts = dict(told["trained"])
    assert facts["Input"] == "image: 24 × 24 × 3 uint8"
    assert facts["Length"] == (
        "12 steps, 4 epochs; stopped early, as the validation score no longer improved"
    )
    assert facts["Time"] == "1 min 15 s"
    assert facts["Memory"].endswith(" were split into parts of 4")
    page = (run / "report.html").read_text()
    assert (run / "results.csv").read_text().count("\n") == 5
    assert (run / "plots" / "confusion.png").is_file()
    assert "kept: epoch 3" in page
    assert "lone\\udcff" in page


def test_worst_mistakes_are_shown_as_the_network_sees_them(run: Path) -> None:
    told = json.loads((run / "report.json").read_text())["story"]
    gallery = next(block for block in told["sections"] if block["kind"] == "gallery")
    assert len(gallery["items"]) == 8
    for item in gallery["items"]:
        assert item["name"].startswith("validation/" + item["truth"])
        assert item["picture"].startswith("data:image/")


def test_a_picture_that_is_gone_leaves_its_place_empty(
    plan: TrainPlan, tmp_path: Path, photo_folder: Path
) -> None:
    moved = dataclasses.replace(plan.manifest, root=tmp_path / "gone")
    page = tell(dataclasses.replace(plan, manifest=moved), tmp_path).read_text()
    assert page.count('<span class="missing">no picture</span>') == 16  # in cells, too


def test_a_receipt_is_added_and_replaced(run: Path) -> None:
    before = (run / "report.html").read_text()
    assert "Smaller and faster" not in before
    assert add_receipt_to_report(run, receipt(accepted=False)) == run / "report.html"
    add_receipt_to_report(run, receipt())
    add_receipt_to_report(run, {**receipt(accepted=False), "plan": "prune, int8"})
    page = (run / "report.html").read_text()
    assert page.count('class="verdict good"') == 1
    assert page.count('class="verdict bad"') == 1
    assert page.count("data:image/") == before.count("data:image/") > 1
    roles = [page.index(words) for words in ("learns from", "used to choose", "scored once, at")]
    assert roles == sorted(roles)  # as before, and not by name as they are stored


def test_no_report_no_receipt(tmp_path: Path) -> None:
    assert add_receipt_to_report(tmp_path, receipt()) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_story_is_named_and_left(run: Path) -> None:
    page = (run / "report.html").read_bytes()
    for content in ({"format": 1}, [], {"format": 2}, {"format": 2, "story": {"title": "x"}}):
        storage.write_json(run / "report.json", content)
        with pytest.raises(DamagedError, match=r"report\.json"):
            add_receipt_to_report(run, receipt())
    assert (run / "report.html").read_bytes() == page
