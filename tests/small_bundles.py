"""Tiny bundles for the tests of bundle, runtime and proof: random weights, real parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.files import compute_seal, describe_file
from skipstone.bundle.format import Bundle
from skipstone.core.registry import BACKBONES, HEADS, TASKS
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.inference.export.openvino_export import export_openvino
from skipstone.inference.golden_outputs import store_goldens
from skipstone.inference.restore import restore_network, restore_task
from skipstone.models.build import build_network, export_tensors, recommend_options
from skipstone.models.network import Network
from skipstone.training.objective import Objective
from tests.mask_data import NAMES, make_scene

CLASSES = ["bishop", "knight", "rook"]


def small_bundle(task: str = "classify", size: int = 24, channels: int = 3) -> Bundle:
    """A resnet20 of quarter width and depth, drawn with seed 0, for `size` x `size` pictures."""
    input = ImageInput(
        ImageOptions(size=size, channels=channels, interpolation="bilinear")  # type: ignore[arg-type]
    )
    entry = TASKS[task]
    options = entry.make_options()
    schema = {"classes": CLASSES}
    arch = Arch(
        ComponentConfig("resnet20", {"options": {"width": 0.25, "depth": 0.34}}),
        entry.load()(options, schema).default_head(),
    )
    torch.manual_seed(0)
    network = build_network(arch, input)
    _settle(network, input)
    post: dict[str, Any] = {"temperature": 1.5}
    if task != "classify":
        post["thresholds"] = [0.4, 0.5, 0.6]
    record = {"name": task, "options": dataclasses.asdict(options), "schema": schema}
    return bundle_of(network, arch, input, record, post)


def bundle_of(
    network: Network, arch: Arch, input: ImageInput, task: dict[str, Any], post: dict[str, Any]
) -> Bundle:
    """An unsaved bundle of these parts; `task` is its record: name, options and schema."""
    state, arrays = input.get_state()
    return Bundle(
        arch=arch,
        input={"name": "image", "options": dataclasses.asdict(input.options), "state": state},
        task=task,
        post=post,
        lineage={"command": "test", "seed": 0},
        metrics={},
        tensors=export_tensors(network),
        input_arrays=arrays,
    )


def mask_bundle(
    head: str = "lraspp",
    backbone: str = "resnet20",
    *,
    pad: int = 32,
    shape: dict[str, Any] | None = None,
    **head_options: Any,
) -> Bundle:
    """A small network, drawn with seed 0, for masks of three classes; pictures keep their shape.

    Args:
        shape: options of the backbone (a quarter of its width where nothing is said).
        head_options: options of the head.
    """
    input = ImageInput(ImageOptions(size=128, channels=3, resize="keep", pad=pad))
    task = TASKS["segment"]
    options, schema = task.make_options(), {"classes": list(NAMES)}
    usual = task.load()(options, schema).default_head()
    built = recommend_options(BACKBONES[backbone], backbone, HEADS[head], shape or {"width": 0.25})
    arch = Arch(
        ComponentConfig(backbone, {"options": dataclasses.asdict(built)}),
        ComponentConfig(head, {**usual.args, "options": head_options}),
    )
    torch.manual_seed(0)
    network = build_network(arch, input).eval()
    record = {"name": "segment", "options": dataclasses.asdict(options), "schema": schema}
    return bundle_of(network, arch, input, record, {"temperature": 1.0})


def taught_masks(
    bundle: Bundle, *, steps: int = 40, scenes: int = 8, size: tuple[int, int] = (64, 96)
) -> Bundle:
    """The same bundle after a few steps on generated scenes: its answers are no coin tosses."""
    pictures, masks = zip(*(make_scene(seed, *size) for seed in range(scenes)), strict=True)
    x = {"image": torch.from_numpy(np.stack(pictures))}
    y = {"mask": torch.from_numpy(np.stack(masks).astype(np.int64))}
    network = restore_network(bundle).train()
    objective = Objective(network, restore_task(bundle).criterion())
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    torch.manual_seed(0)  # dropout
    for _ in range(steps):
        optimizer.zero_grad()
        objective(x, y, weight=objective.weight(y))["loss"].backward()
        optimizer.step()
    return dataclasses.replace(bundle, tensors=export_tensors(network.eval()))


def _settle(network: torch.nn.Module, input: ImageInput) -> None:
    """Norm statistics of real-looking values, and a head that answers differently by picture."""
    network.train()
    with torch.no_grad():
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            shape = (16, input.options.size, input.options.size, input.channels)
            network({"image": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)})
        network.head.linear.weight.mul_(6)  # type: ignore[union-attr, operator]
    network.eval()


def write_small(folder: Path, task: str = "classify", *, goldens: bool = True) -> Path:
    """Save a small bundle, with goldens."""
    small_bundle(task).save(folder)
    if goldens:
        store_goldens(folder)
    return folder


_EXPORTED: list[Path] = []


def exported_small(factory: pytest.TempPathFactory) -> Path:
    """A small bundle with every program, made once a process. Copy it before changing it."""
    if not _EXPORTED:
        folder = write_small(factory.mktemp("exported") / "bundle")
        export_openvino(folder)
        _EXPORTED.append(folder)
    return _EXPORTED[0]


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change bundle.json as somebody would who recomputes its seal."""
    record = json.loads((folder / "bundle.json").read_text())
    change(record)
    (folder / "bundle.json").write_text(json.dumps({**record, "seal": compute_seal(record)}))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in a listed file, as somebody would who recomputes the hashes."""
    (folder / name).write_bytes(data)
    reseal(folder, lambda record: record["files"].update({name: describe_file(data)}))
