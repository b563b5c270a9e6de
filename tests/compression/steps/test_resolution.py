"""The step `resolution`: sizes, who refuses, what the teacher sees, and the whole way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from skipstone.bundle.architecture import Arch
from skipstone.bundle.format import Bundle
from skipstone.compression import recover as recover_module
from skipstone.compression.apply_plan import shrink
from skipstone.compression.options import ResolutionOptions
from skipstone.compression.recover import load_teacher, replace_input
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps import resolution
from skipstone.compression.steps.resolution import (
    check_network_accepts,
    choose_size,
    describe_rounding,
)
from skipstone.compression.steps.vocabulary import remove_entries
from skipstone.core.errors import Refusal, UsageError
from skipstone.data.manifest import Manifest
from skipstone.image.input import ImageInput
from skipstone.inference.open_model import open_model
from skipstone.inference.restore import restore_input, restore_network
from skipstone.inputs.base import Input
from skipstone.models.build import export_tensors
from skipstone.models.network import Network
from skipstone.models.profile import profile_network
from skipstone.text.input import TextInput
from tests.text_bundles import text_run


def work_on(source: Path, rows: Manifest, out: Path) -> StepContext:
    return StepContext(source, out, rows.rows_with_role("train"), rows.rows_with_role("val"))


# --- the size -----------------------------------------------------------------------------------


@given(st.integers(2, 1024), st.sampled_from([1, 4, 8, 16, 32]))
def test_the_usual_size_is_smaller_and_of_whole_strides(before: int, stride: int) -> None:
    side = choose_size(None, before, stride)
    assert 1 <= side < before
    assert side <= 0.75 * before
    if before * 3 // 4 >= stride:
        assert side % stride == 0
        assert side + stride > 0.75 * before - 1  # the nearest one below


@pytest.mark.parametrize("size", [224, 300])
def test_pictures_do_not_become_larger(size: int) -> None:
    with pytest.raises(UsageError, match=r"images have 224 x 224 pixels") as caught:
        choose_size(size, 224, 32)
    assert caught.value.hint == "Such as resolution(size=160)."
    assert choose_size(223, 224, 32) == 223


def test_a_side_that_the_stride_does_not_divide_says_what_it_costs() -> None:
    assert describe_rounding(192, 32) == ""
    assert "as large as for 192" in describe_rounding(176, 32)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 96.5}, "size is 96.5"),
        ({"teacher": 2}, "teacher is 2"),
        ({"epochs": -1, "size": -3}, "size is -3.*epochs is -1"),
    ],
    ids=str,
)
def test_options_are_checked_together(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ResolutionOptions(**values)


# --- who refuses --------------------------------------------------------------------------------


def test_texts_have_no_resolution(tmp_path: Path) -> None:
    _, rows = text_run(tmp_path / "run", "textcnn", steps=1)
    with pytest.raises(Refusal, match="'text' has no resolution") as caught:
        run_steps(
            ShrinkPlan.from_text("resolution"),
            work_on(tmp_path / "run/bundle", rows, tmp_path / "new"),
        )
    assert "--plan" in str(caught.value.hint)
    assert not (tmp_path / "new").exists()


def test_pictures_of_their_own_size_are_refused(run: Path, rows: Manifest, tmp_path: Path) -> None:
    bundle = Bundle.load(run / "bundle")
    bundle.input = {**bundle.input, "options": {**bundle.input["options"], "resize": "keep"}}
    bundle.save(tmp_path / "kept")
    with pytest.raises(Refusal, match="at their own size"):
        run_steps(
            ShrinkPlan.from_text("resolution"), work_on(tmp_path / "kept", rows, tmp_path / "new")
        )


class Flattening(nn.Module):
    """A network whose classifier reads every pixel of its map: it has one size."""

    strides = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        answers: torch.Tensor = self.net(x["image"].permute(0, 3, 1, 2).float())
        return answers


def test_a_network_of_one_size_is_refused_before_it_learns(run: Path) -> None:
    input = restore_input(Bundle.load(run / "bundle"))
    assert isinstance(input, ImageInput)
    network: Any = Flattening().eval()
    check_network_accepts(network, input, 24)
    with pytest.raises(Refusal, match="does not accept images of 16 x 16 pixels"):
        check_network_accepts(network, input.with_resolution(16), 16)


@pytest.fixture
def _no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step saves its bundle without exporting it, which takes most of its time here."""

    def save(bundle: Bundle, arch: Arch, input: Input, network: Network, work: StepContext) -> None:
        dataclasses.replace(bundle, tensors=export_tensors(network)).save(work.out)

    monkeypatch.setattr(resolution, "save_step_output", save)


# --- what the teacher sees ----------------------------------------------------------------------


def test_the_teacher_sees_what_pillow_would_enlarge(run: Path) -> None:
    """Pillow's bilinear filter enlarges by the same formula."""
    input = restore_input(Bundle.load(run / "bundle"))
    assert isinstance(input, ImageInput)
    small = (np.add.outer(np.arange(16), 2 * np.arange(16)) * 5).astype(np.uint8)
    record = np.stack([small, small[::-1], small.T], axis=2)
    bands = [Image.fromarray(record[..., band].astype(np.float32)) for band in range(3)]
    large = np.stack([b.resize((24, 24), Image.Resampling.BILINEAR) for b in bands], axis=2)
    front, enlarging = input.preprocessing_module(), input.upsampling_module()
    seen = enlarging({"image": torch.from_numpy(record)[None]})
    wanted = front({"image": torch.from_numpy(large)[None]})
    assert seen.shape == (1, 3, 24, 24)
    torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-4)


def test_pictures_of_its_own_size_reach_the_teacher_unchanged(run: Path) -> None:
    input = restore_input(Bundle.load(run / "bundle"))
    assert isinstance(input, ImageInput)
    arrays = {"image": torch.from_numpy(input.make_example(2)["image"])}
    torch.testing.assert_close(
        input.upsampling_module()(arrays), input.preprocessing_module()(arrays)
    )


def test_the_teacher_is_the_model_that_the_plan_began_with(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    """Whatever a step before has made of it; it answers what it answered to such pictures."""
    before, small = Bundle.load(run / "bundle"), tmp_path / "small"
    input = restore_input(before)
    assert isinstance(input, ImageInput)
    worse = {name: 0 * value for name, value in before.tensors.items()}
    made = dataclasses.replace(replace_input(before, input.with_resolution(16)), tensors=worse)
    made.save(small)
    work = dataclasses.replace(work_on(small, rows, tmp_path / "new"), original=run / "bundle")
    records = torch.from_numpy(input.with_resolution(16).make_example(2)["image"])
    whole = F.interpolate(records.permute(0, 3, 1, 2).float(), (24, 24), mode="bilinear")
    answers = restore_network(before)({"image": whole.permute(0, 2, 3, 1)})["logits"]
    taught = load_teacher(Bundle.load(small), work)({"image": records})["logits"]
    torch.testing.assert_close(taught, answers)
    # without a step before it is the step's own source
    alone = load_teacher(before, work_on(run / "bundle", rows, tmp_path / "new"))
    for name, value in alone.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before.tensors[name])
    assert type(alone.front) is type(input.preprocessing_module())


def test_ids_of_another_vocabulary_go_to_the_network_that_knows_them(tmp_path: Path) -> None:
    bundle, rows = text_run(tmp_path / "run", "textcnn", steps=1)
    input = restore_input(bundle)
    assert isinstance(input, TextInput)
    kept = np.array(input.removable_ids())[::2]
    remove_entries(bundle, input, restore_network(bundle), kept).bundle.save(tmp_path / "fewer")
    work = work_on(tmp_path / "fewer", rows, tmp_path / "new")
    fewer = Bundle.load(tmp_path / "fewer")
    taught = load_teacher(fewer, dataclasses.replace(work, original=tmp_path / "run/bundle"))
    for name, value in taught.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), fewer.tensors[name])


@pytest.mark.usefixtures("_no_programs")
@pytest.mark.parametrize("teacher", [0.0, 1.0])
def test_steps_learn_from_it_by_the_share_that_was_asked_for(
    run: Path, rows: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: float
) -> None:
    seen: list[Any] = []
    whole = recover_module.Distillation

    def distillation(student: Any, criterion: Any, taught_by: Any, **options: Any) -> Any:
        seen.append((taught_by, options["share"]))
        return whole(student, criterion, taught_by, **options)

    monkeypatch.setattr(recover_module, "Distillation", distillation)
    again = f"resolution(size=12, epochs=1, teacher={teacher})"
    plan = ShrinkPlan.from_text(f"resolution(size=16, epochs=0), {again}")
    run_steps(plan, work_on(run / "bundle", rows, tmp_path / "new"))
    before, after = Bundle.load(run / "bundle"), Bundle.load(tmp_path / "new")
    changed = [n for n, v in after.tensors.items() if not np.array_equal(v, before.tensors[n])]
    assert len(changed) > len(after.tensors) / 2
    if not teacher:
        assert seen == []
        return
    ((network, share),) = seen
    assert share == 1.0
    assert network.front.side == 24
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before.tensors[name])


# --- the whole way ------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_programs")
def test_without_learning_only_the_size_changes(run: Path, rows: Manifest, tmp_path: Path) -> None:
    (fact,) = run_steps(
        ShrinkPlan.from_text("resolution(size=20, epochs=0)"),
        work_on(run / "bundle", rows, tmp_path / "new"),
    )
    before, after = Bundle.load(run / "bundle"), Bundle.load(tmp_path / "new")
    assert after.arch == before.arch
    assert after.tensors.keys() == before.tensors.keys()
    for name, value in after.tensors.items():
        np.testing.assert_array_equal(value, before.tensors[name])
    assert after.input["state"] == before.input["state"]
    assert after.input["options"] == {**before.input["options"], "size": 20}
    assert fact["facts"]["size"] == [24, 20]
    assert "recovery" not in fact["facts"]


@pytest.fixture(scope="module")
def small(run: Path, rows: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller pictures, fewer channels and 8 bits: the plan that people want."""
    out = tmp_path_factory.mktemp("resolution") / "small"
    steps = (
        "resolution(epochs=3)",
        "prune(macs=0.8, multiple=2, epochs=3, batches=4)",
        "int8(samples=8)",
    )
    plan = ShrinkPlan.from_text(", ".join(steps))
    result = shrink(run / "bundle", rows, plan, max_drop=100, out=out, latency_seconds=0.4)
    assert result.accepted
    assert result.verification is not None
    assert result.verification.ok
    return out


def test_the_chain_gives_a_bundle_that_verifies(small: Path, run: Path, rows: Manifest) -> None:
    before, after = Bundle.load(run / "bundle"), Bundle.load(small)
    assert after.input["options"]["size"] == 16  # three quarters of 24 are 18; the stride is 4
    predictor = open_model(small)
    assert predictor.runtime.name == "openvino-int8"
    source = rows.list_sources()[0]
    assert predictor.encode(source)[0]["image"].shape == (16, 16, 3)
    scores = [
        np.mean(
            [
                r["correct"]
                for r in open_model(folder).evaluate(rows.rows_with_role("train")).records
            ]
        )
        for folder in (run / "bundle", small)
    ]
    assert scores[1] >= scores[0] - 0.25
    macs = [
        profile_network(restore_network(b), restore_input(b).make_example(1)).macs
        for b in (before, after)
    ]
    assert macs[1] < 0.8 * (16 / 24) ** 2 * macs[0] * 1.1


def test_the_receipt_says_what_each_step_left(small: Path, run: Path) -> None:
    receipt = json.loads((small / "receipt.json").read_text())
    first, second, _ = (step["facts"] for step in receipt["steps"])
    assert first["size"] == [24, 16]
    # all but the linear layer costs by the pixel
    assert first["macs"][1] == pytest.approx((16 / 24) ** 2 * first["macs"][0], rel=0.01)
    assert second["macs"][0] == first["macs"][1]  # prune counts at the smaller size
    assert {ratio["fast"] for ratio in receipt["latency"]["ratios"]} == {"openvino-int8"}


@pytest.mark.usefixtures("_no_programs")
def test_learning_again_helps(run: Path, rows: Manifest, tmp_path: Path) -> None:
    """At half the side, on the rows that it learns from."""
    wrong = []
    for epochs in (0, 6):
        out = tmp_path / str(epochs)
        plan = ShrinkPlan.from_text(f"resolution(size=12, epochs={epochs})")
        run_steps(plan, work_on(run / "bundle", rows, out))
        records = open_model(out, "torch").evaluate(rows.rows_with_role("train")).records
        wrong.append(np.mean([not r["correct"] for r in records]))
    assert wrong[1] < wrong[0]
