"""Tiny bundles for the tests of bundle, runtime and proof: random weights, real parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.bundle.arch import Arch, Part
from skipstone.bundle.files import describe, seal
from skipstone.bundle.format import Bundle
from skipstone.inputs.image import ImageInput
from skipstone.inputs.options import ImageOptions
from skipstone.models.build import build_network, network_tensors
from skipstone.registry import TASKS
from skipstone.runtime.export_openvino import export_openvino
from skipstone.runtime.goldens import store_goldens

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
        Part("resnet20", {"options": {"width": 0.25, "depth": 0.34}}),
        entry.load()(options, schema).head(),
    )
    torch.manual_seed(0)
    network = build_network(arch, input)
    _settle(network, input)
    state, arrays = input.state()
    post = {"temperature": 1.5}
    return Bundle(
        arch=arch,
        input={"name": "image", "options": dataclasses.asdict(input.options), "state": state},
        task={"name": task, "options": dataclasses.asdict(options), "schema": schema},
        post=post if task == "classify" else {**post, "thresholds": [0.4, 0.5, 0.6]},
        lineage={"command": "test", "seed": 0},
        metrics={},
        tensors=network_tensors(network),
        input_arrays=arrays,
    )


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
    (folder / "bundle.json").write_text(json.dumps({**record, "seal": seal(record)}))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in a listed file, as somebody would who recomputes the hashes."""
    (folder / name).write_bytes(data)
    reseal(folder, lambda record: record["files"].update({name: describe(data)}))
