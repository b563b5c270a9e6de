import subprocess
import sys

import torch
from torch import nn

from skipstone.models.meta_device import on_meta

BUILD = """
import sys
from torch import nn
from skipstone.models.meta_device import on_meta
from skipstone.core.registry import BACKBONES

with on_meta():
    nn.init.trunc_normal_(nn.Linear(4, 5).weight)
    for name in ("resnet20", "textcnn", "lstm", "fasttext"):
        entry = BACKBONES[name]
        entry.load()(name, entry.make_options(), in_channels=8)
print([name for name in sys.modules if name == "torch._dynamo"])
"""


def test_what_is_built_has_shapes_and_no_numbers() -> None:
    with on_meta():
        layer = nn.Conv2d(3, 4, 3)
    assert {value.device.type for value in layer.state_dict().values()} == {"meta"}
    assert layer.weight.shape == (4, 3, 3, 3)


def test_numbers_that_exist_are_still_drawn() -> None:
    with on_meta():
        drawn = torch.zeros(100, device="cpu").normal_()
    assert drawn.std() > 0.5


def test_building_imports_no_compiler() -> None:
    """torch._dynamo takes 2 seconds, of every process that opens a model."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
