"""Tiny detectors for tests: any head on a small network, which learns generated scenes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.format import Bundle
from skipstone.core.registry import BACKBONES, HEADS, TASKS
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.inputs.base import DecodedSample
from skipstone.models.build import build_network, export_tensors, recommend_options
from skipstone.training.objective import Objective, criterion_for
from tests.box_data import make_scenes
from tests.small_bundles import bundle_of

NAMES = ("square", "disc")


def box_bundle(head: str, *, side: int = 64, **head_options: Any) -> Bundle:
    """A small network, drawn with seed 0, for boxes of two classes in pictures of `side` pixels."""
    regions = 60 if HEADS[head].regions else 0
    input = ImageInput(ImageOptions(size=side, channels=3, resize="squash", regions=regions))
    task = TASKS["detect"]
    options, schema = task.make_options(), {"classes": list(NAMES)}
    usual = task.load()(options, schema).default_head()
    name, shape = "resnet18", {"width": 0.25, "depth": 0.5}
    built = recommend_options(BACKBONES[name], name, HEADS[head], shape)
    arch = Arch(
        ComponentConfig(name, {"options": dataclasses.asdict(built)}),
        ComponentConfig(head, {**usual.args, "options": head_options}),
    )
    torch.manual_seed(0)
    network = build_network(arch, input).eval()
    record = {"name": "detect", "options": dataclasses.asdict(options), "schema": schema}
    return bundle_of(network, arch, input, record, {})


def taught_boxes(bundle: Bundle, *, steps: int = 40, scenes: int = 12, side: int = 64) -> Bundle:
    """The same bundle after some steps on generated scenes."""
    views = list(make_scenes(scenes, side=side).values())
    input = restore_input(bundle)
    encoded = [input.encode(DecodedSample(scene.picture, (side, side))) for scene in views]
    x = {name: torch.from_numpy(np.stack([each[name] for each in encoded])) for name in encoded[0]}
    boxes = [torch.tensor([box for _, box in scene.objects], dtype=torch.float) for scene in views]
    labels = [torch.tensor([NAMES.index(name) for name, _ in scene.objects]) for scene in views]
    y = {
        "boxes": boxes,
        "labels": labels,
        "ignored": [torch.zeros(len(each), dtype=torch.bool) for each in labels],
    }
    network = restore_network(bundle).train()
    objective = Objective(network, criterion_for(network, restore_task(bundle)))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    torch.manual_seed(0)  # samples of regions
    for _ in range(steps):
        optimizer.zero_grad()
        losses = objective(x, y, weight=objective.weight(y))
        losses["loss"].backward()
        optimizer.step()
    return dataclasses.replace(bundle, tensors=export_tensors(network.eval()))
