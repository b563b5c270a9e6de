"""The step `distil`: which student, which loss, and who refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from skipstone.bundle.format import Bundle
from skipstone.compression import recover as remade
from skipstone.compression.options import DistilOptions
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps.distil import choose_student, choose_weights
from skipstone.core.errors import Refusal, UsageError
from skipstone.data.manifest import Manifest
from skipstone.inference.restore import restore_input, restore_network
from skipstone.models.losses import PIXEL_LOSSES, CrossEntropy, LogitsCriterion, dist_loss
from skipstone.models.profile import profile_network
from skipstone.training.objective import DistDistillation
from tests.small_bundles import small_bundle
from tests.text_bundles import text_run


def test_dist_is_one_minus_pearsons_correlation_of_rows_and_of_columns() -> None:
    rng = np.random.default_rng(0)
    logits, teacher = (torch.from_numpy(rng.normal(size=(7, 4)) * 2) for _ in range(2))
    p, q = (each.softmax(1).numpy() for each in (logits, teacher))
    rows = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)]
    columns = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)]
    assert float(dist_loss(logits, teacher)) == pytest.approx(
        np.mean(rows) + np.mean(columns), abs=1e-5
    )
    assert float(dist_loss(teacher, teacher)) == pytest.approx(0, abs=1e-5)


def test_dist_counts_a_batch_as_its_weight_and_refuses_masks() -> None:
    network = restore_network(small_bundle())
    other = restore_network(dataclasses.replace(small_bundle()))
    criterion = LogitsCriterion(CrossEntropy(), "label")
    aim = DistDistillation(network, criterion, other, share=1.0)  # type: ignore[arg-type]
    y = {"label": torch.tensor([0, 1, 2, 0])}
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    (loss,) = aim.compare_outputs({"logits": a}, {"logits": b}, y).values()  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(4 * float(dist_loss(a, b)))
    masks = LogitsCriterion(PIXEL_LOSSES["cross_entropy"](), "mask")
    with pytest.raises(Refusal, match="one class per sample"):
        DistDistillation(network, masks, other)  # type: ignore[arg-type]


def test_the_usual_student_is_the_same_network_at_half_the_width() -> None:
    bundle = small_bundle()
    arch = choose_student(bundle, DistilOptions())
    assert arch.backbone.args["options"] == {
        **bundle.arch.to_json()["backbone"]["args"]["options"],
        **arch.backbone.args["options"],
        "width": 0.125,
        "depth": 0.34,
    }
    assert arch.head == bundle.arch.networks[0].head


def test_a_named_student_has_its_own_options_and_its_installed_weights() -> None:
    arch = choose_student(small_bundle(), DistilOptions(student="resnet20", width=0.5))
    assert arch.backbone.args["options"]["width"] == 0.5
    assert arch.backbone.args["options"]["depth"] == 1.0
    assert choose_weights(arch) == "none"
    installed = choose_student(small_bundle(), DistilOptions(student="efficientnet_lite0"))
    assert choose_weights(installed) == "pretrained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "resent20"}, "Did you mean"),
        ({"student": "textcnn"}, "takes tokens"),
        ({"student": "timm/resnet18", "width": 0.5}, "no option width"),
    ],
)
def test_it_says_which_students_it_cannot_make(options: dict[str, object], message: str) -> None:
    with pytest.raises((Refusal, UsageError)) as caught:
        choose_student(small_bundle(), DistilOptions(**options))  # type: ignore[arg-type]
    assert message in f"{caught.value} {caught.value.hint}"


def test_a_closed_form_is_refused(tmp_path: Path) -> None:
    text_run(tmp_path / "001", "logistic", count=60, steps=20)
    with pytest.raises(Refusal, match="closed form"):
        choose_student(Bundle.load(tmp_path / "001/bundle"), DistilOptions())


def test_a_student_follows_its_teacher(
    run: Path, rows: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for export in ("export_onnx", "export_openvino"):
        monkeypatch.setattr(remade, export, lambda folder: None)
    train_rows = rows.rows_with_role("train")
    work = StepContext(run / "bundle", tmp_path / "new", train_rows, rows.rows_with_role("val"))
    plan = "distil(epochs=2, teacher=1, loss=dist)"  # `logits`: tests/compression/test_catalog.py
    with pytest.raises(Refusal, match="a student is smaller"):
        run_steps(ShrinkPlan.from_text("distil(student=resnet20)"), work)
    (row,) = run_steps(ShrinkPlan.from_text(plan), work)
    small, large = Bundle.load(tmp_path / "new"), Bundle.load(run / "bundle")
    example = restore_input(large).make_example(1)
    counts = [profile_network(restore_network(b), example).parameters for b in (large, small)]
    assert row["facts"]["parameters"] == counts
    assert row["facts"]["recovery"]["epochs"] == 2
