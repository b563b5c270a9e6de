"""What ``--model auto`` chooses, and that it can be built."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from skipstone.core.registry import BACKBONES
from skipstone.image.auto import choose_model
from skipstone.image.options import ImageOptions


def choose(height, width, channels=3, fit_rows=1000, classes=10):
    return choose_model(
        height=height, width=width, channels=channels, train_rows=fit_rows, classes=classes
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("fit_rows", [60, 3000, 1_000_000])
@pytest.mark.parametrize("size", [(533, 400), (64, 64), (49, 20)])
def test_photos_start_from_pretrained_weights(size, fit_rows, channels):
    choice = choose(*size, channels, fit_rows)
    assert (choice.model, choice.weights) == ("efficientnet_lite0", "pretrained")
    assert choice.input["normalize"] == BACKBONES[choice.model].normalize
    assert 160 <= choice.input["size"] <= BACKBONES[choice.model].input_size
    assert ("grey" in choice.reason) == (channels == 1)


@pytest.mark.parametrize(("side", "size"), [(49, 160), (160, 160), (161, 192), (4000, 192)])
def test_photos_are_enlarged_no_further_than_pretrained_weights_need(side, size):
    assert choose(side, side - 10).input["size"] == size


@pytest.mark.parametrize(("fit_rows", "options"), [(60, {}), (5000, {"width": 2.0}), (60_000, {})])
def test_tiny_pictures_get_a_small_network_of_their_own(fit_rows, options):
    choice = choose(28, 28, 1, fit_rows)
    assert (choice.model, choice.weights, choice.options) == ("resnet20", "none", options)
    assert choice.input["size"] == 28
    assert "28x28" in choice.reason


@pytest.mark.parametrize(("size", "expected"), [((8, 8), 16), ((30, 20), 32), ((48, 48), 48)])
def test_tiny_pictures_keep_about_their_size(size, expected):
    assert choose(*size).input["size"] == expected


def test_other_channels_than_a_photos_start_from_adapted_weights():
    choice = choose(100, 120, channels=8)
    assert (choice.model, choice.weights) == ("efficientnet_lite0", "pretrained")
    assert "adapted to 8 channels" in choice.reason


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("size", [8, 28, 48, 49, 600])
def test_what_is_chosen_can_be_built_and_read(size, channels):
    choice = choose(size, size, channels)
    known = {field.name for field in dataclasses.fields(ImageOptions)}
    assert set(choice.input) <= known
    options = ImageOptions(**choice.input)
    entry = BACKBONES[choice.model]
    with torch.device("meta"):
        maps = {"last_map": "stage"} if size > 48 else {}
        made = entry.make_options({**choice.options, **maps})
        backbone = entry.load()(choice.model, made, in_channels=channels).eval()
        deepest = backbone(torch.zeros(1, channels, options.size, options.size))[-1]
    assert min(deepest.shape[2:]) >= 2


def test_choosing_needs_no_torch():
    code = "import sys, skipstone.image.auto; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
