"""Training on cached outputs of frozen stages gives what the plain loop gives, and resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core.errors import UsageError
from skipstone.core.settings import Settings
from skipstone.datasets.cache import RecordCache
from skipstone.inputs.base import FeatureSpec
from skipstone.models.build import build_backbone_and_head
from skipstone.models.frozen_prefix import FrozenPrefix, PrefixModule, find_prefix
from skipstone.models.network import Network
from skipstone.training import feature_cache, prefix_programs
from skipstone.training.feature_cache import ViewReader, ViewWriter
from skipstone.training.learner import train_by_gradient
from skipstone.training.plan import build_plan
from skipstone.training.prefix_programs import make_prefix_program
from skipstone.training.run_directory import open_or_resume
from skipstone.training.run_manager import RunManager
from skipstone.training.schedules import Phase, enter_phase
from tests.training.tiny import Front

Tensors = dict[str, torch.Tensor]


def make_network(model: str, head: str, **options: Any) -> Network:
    arch = Arch(
        ComponentConfig(model, {"options": options}),
        ComponentConfig(head, {"shape": {"classes": 3}}),
    )
    torch.manual_seed(0)
    backbone, made = build_backbone_and_head(arch, FeatureSpec("image", 3))
    return Network(front=Front(), backbone=backbone, head=made).eval()


def cut_network(network: Network, frozen: int, x: Tensors) -> FrozenPrefix:
    enter_phase(network, Phase("", 1, frozen, "constant"))
    return find_prefix(network, x, label=f"frozen {frozen}")


@pytest.mark.parametrize(
    ("model", "head", "options"),
    [
        ("resnet20", "linear", {}),
        ("resnet18", "unet", {"width": 0.25}),
        ("resnet18", "pyramid", {"width": 0.25}),
        ("timm/test_efficientnet", "linear", {"last_map": "pooled"}),
        ("timm/test_vit", "linear", {"last_map": "pooled"}),
    ],
)
def test_a_cut_network_gives_what_the_whole_one_gives(
    model: str, head: str, options: dict[str, Any]
) -> None:
    network = make_network(model, head, **options)
    x = {"image": torch.randn(3, 3, 64, 64)}
    expected = network(x)
    for frozen in range(1, len(network.backbone.stage_modules()) + 1):
        network.prefix = cut_network(network, frozen, x)
        module = PrefixModule(network, [network.prefix], ["image"])
        with torch.no_grad():
            arrays = dict(zip(network.prefix.array_shapes, module(x["image"]), strict=True))
        for name, shape in network.prefix.array_shapes.items():
            assert arrays[name].shape == (3, *shape)
        for name, value in network(arrays).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_only_what_is_read_is_cached() -> None:
    x = {"image": torch.randn(2, 3, 64, 64)}
    linear = cut_network(make_network("resnet18", "linear", width=0.25), 2, x)
    assert list(linear.array_shapes.values()) == [(16, 16, 16)]  # the last frozen stage
    unet = cut_network(make_network("resnet18", "unet", width=0.25), 2, x)
    assert len(unet.array_shapes) == 2  # the decoder reads the stem, too


def test_what_is_not_cached_is_not_computed() -> None:
    network = make_network("resnet20", "linear")
    x = {"image": torch.randn(2, 3, 32, 32)}
    prefix = cut_network(network, 2, x)
    calls: list[str] = []
    for name, module in network.backbone.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))  # type: ignore[misc]
    PrefixModule(network, [prefix], ["image"])(x["image"])
    assert "layer1" in calls
    assert not any(name.startswith(("layer2", "layer3")) for name in calls)


def test_nothing_frozen_is_refused() -> None:
    with pytest.raises(UsageError, match="frozen stages"):
        cut_network(make_network("resnet20", "linear"), 0, {"image": torch.randn(2, 3, 32, 32)})


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="needs a processor with bf16"
)
def test_openvino_computes_the_same_arrays() -> None:
    network = make_network("resnet20", "linear")
    x = {"image": torch.randn(5, 3, 32, 32)}
    prefixes = [cut_network(network, frozen, x) for frozen in (1, 3)]
    program = make_prefix_program(network, prefixes, x)
    assert program.name == "OpenVINO, bfloat16"
    arrays = program.compute_arrays(x)
    expected = PrefixModule(network, prefixes, ["image"])(x["image"])
    for (name, value), reference in zip(arrays.items(), expected, strict=True):
        assert value.dtype == torch.bfloat16
        scale = reference.abs().max()
        assert (value.float() - reference).abs().max() < 0.03 * scale, name
    alone = program.compute_arrays({"image": x["image"][1:2]})
    for name, value in alone.items():
        assert torch.equal(value, arrays[name][1:2])


def test_a_view_is_read_as_it_was_written(tmp_path: Path) -> None:
    writer = ViewWriter(tmp_path, 3)
    boxes = [torch.rand(2, 5), torch.rand(0, 5), torch.rand(1, 5)]
    features = torch.randn(3, 4, 2, 2).bfloat16()
    labels = torch.tensor([2, 0, 1])
    writer.write_batch({"frozen 1.0": features[:2]}, {"label": labels[:2], "boxes": boxes[:2]})
    writer.write_batch({"frozen 1.0": features[2:]}, {"label": labels[2:], "boxes": boxes[2:]})
    writer.finish()
    x, y = ViewReader(tmp_path, ["frozen 1.0"]).read_rows(np.array([2, 0, 1]))
    order = torch.tensor([2, 0, 1])
    assert torch.equal(x["frozen 1.0"], features.float()[order])
    assert torch.equal(y["label"], labels[order])
    assert all(torch.equal(a, boxes[i]) for a, i in zip(y["boxes"], order, strict=True))


# --- whole trainings ----------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "freeze": 0.5,
    "freeze_epochs": 1,
    "freeze_norm": True,
    "precision": "f32",
    "channels_last": False,
    "size": 32,
    "width": 0.5,
    "dedup": "exact",
    "device": "cpu",
    "threads": 1,
    "checkpoint_every": 1,
    "lr": 0.01,
}


def train_small(data: Path, folder: Path, **options: Any) -> Tensors:
    """The weights after a training, or after the rest of one."""
    settings = Settings({**SMALL, **options})
    plan = build_plan(data, model="resnet20", weights="none", seed=0, settings=settings)
    with pytest.MonkeyPatch.context() as patch, open_or_resume(folder, plan.to_json()) as run:
        patch.setattr(prefix_programs, "bf16_is_native", lambda device: False)
        network = train_by_gradient(plan, run, RecordCache()).network
        assert network.prefix is None
        run.finish()
        assert not run.features.exists()
    return network.state_dict()


def test_the_cache_changes_no_weight(flat_photo_folder: Path, tmp_path: Path) -> None:
    plain = train_small(flat_photo_folder, tmp_path / "plain", augment="none")
    cached = train_small(flat_photo_folder, tmp_path / "cached", augment="none", feature_cache=True)
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-4, atol=1e-6)


class Killed(BaseException):
    """As a process that ends."""


def kill_view(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write = ViewWriter.write_batch
    calls: list[int] = []

    def written(self: ViewWriter, arrays: Any, y: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 7 * number + 2:
            raise Killed
        write(self, arrays, y)

    monkeypatch.setattr(ViewWriter, "write_batch", written)


def kill_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    after = RunManager.after_step

    def stepped(self: RunManager, state: Any, loss: float) -> None:
        after(self, state, loss)
        if state.step == number:
            raise Killed

    monkeypatch.setattr(RunManager, "after_step", stepped)


@pytest.mark.parametrize(
    ("kill", "at"),
    [(kill_view, 0), (kill_view, 1), (kill_step, 2), (kill_step, 7)],
    ids=["view 0", "view 1", "step 2", "step 7"],
)
def test_a_killed_run_ends_the_same(
    kill: Callable[[pytest.MonkeyPatch, int], None],
    at: int,
    whole: Tensors,
    flat_photo_folder: Path,
    tmp_path: Path,
) -> None:
    """In the first or second view, in the head's phase, and in the phase after it."""
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, at)
        with pytest.raises(Killed):
            train_small(flat_photo_folder, tmp_path, feature_cache=True)
    resumed = train_small(flat_photo_folder, tmp_path, feature_cache=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["001"]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.fixture(scope="module")
def whole(flat_photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """The weights of an augmented run that nothing stopped."""
    return train_small(flat_photo_folder, tmp_path_factory.mktemp("whole"), feature_cache=True)


def test_views_are_limited_by_epochs_budget_and_disk() -> None:
    assert feature_cache._views_within(8, 2.0, None) == 8
    assert feature_cache._views_within(8, 2.0, 20.0) == 3
    assert feature_cache._views_within(8, 50.0, 20.0) == 1


def test_what_cannot_be_cached_is_refused(flat_photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before samples are mixed"):
        train_small(flat_photo_folder, tmp_path, feature_cache=True, mixup=0.2)
    with pytest.raises(UsageError, match="no stage of this model is frozen"):
        train_small(flat_photo_folder, tmp_path, feature_cache=True, freeze=0.0, freeze_epochs=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "MAX_BYTES", 100)
        with pytest.raises(UsageError, match=r"needs [\d,]+ bytes, and may take 100"):
            train_small(flat_photo_folder, tmp_path, feature_cache=True)
