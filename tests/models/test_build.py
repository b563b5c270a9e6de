"""A network from its Arch, and strict loading."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core.errors import DamagedError, UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec
from skipstone.inference.restore import restore_input, restore_network
from skipstone.inputs.base import FeatureSpec
from skipstone.models.build import (
    build_network,
    check_tensors_fit,
    export_tensors,
    find_least_side,
    load_tensors,
    reject_small_images,
)
from tests.small_bundles import small_bundle


def test_the_network_has_the_parts_that_the_arch_names() -> None:
    network = restore_network(small_bundle(channels=1))
    assert not network.training
    assert type(network.backbone).__name__ == "ResNet"
    assert network.backbone.get_parameter("conv1.weight").shape[1] == 1
    assert network.head.get_parameter("linear.weight").shape[0] == 3


def test_a_backbone_that_takes_another_input_is_refused_with_a_sentence() -> None:
    bundle = small_bundle()
    BACKBONES.register(BackboneSpec("reader", "m:build", accepts=("text",)))
    try:
        with pytest.raises(UsageError, match="'reader' takes text, and this input gives image"):
            build_network(
                Arch(ComponentConfig("reader", {}), bundle.arch.head), restore_input(bundle)
            )
    finally:
        BACKBONES.unregister("reader")


def test_an_unknown_edit_is_refused() -> None:
    bundle = small_bundle()
    arch = Arch(bundle.arch.backbone, bundle.arch.head, ({"kind": "fold"},))
    with pytest.raises(UsageError, match="'fold'"):
        build_network(arch, restore_input(bundle))


def test_an_unknown_option_names_the_near_one() -> None:
    bundle = small_bundle()
    arch = Arch(ComponentConfig("resnet20", {"options": {"widht": 2}}), bundle.arch.head)
    with pytest.raises(UsageError, match="'width'"):
        build_network(arch, restore_input(bundle))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("head.linear.bias"), r"head\.linear\.bias is missing"),
        (lambda t: t.update(extra=np.zeros(1)), "extra is unknown"),
        (
            lambda t: t.update({"head.linear.bias": np.zeros(4, np.float32)}),
            r"float32 \(4,\), not float32 \(3,\)",
        ),
        (
            lambda t: t.update({"head.linear.bias": np.zeros(3, np.float64)}),
            r"float64 \(3,\), not float32",
        ),
        (
            lambda t: t.update({"head.linear.bias": np.array([0, np.nan, 0], np.float32)}),
            "not finite",
        ),
        (
            lambda t: t.update({"head.linear.bias": np.array([0, np.inf, 0], np.float32)}),
            "not finite",
        ),
    ],
)
def test_loading_is_strict(change: object, says: str) -> None:
    bundle = small_bundle()
    tensors = dict(bundle.tensors)
    change(tensors)  # type: ignore[operator]
    network = build_network(bundle.arch, restore_input(bundle))
    with pytest.raises(DamagedError, match=f"some file.*{says}"):
        load_tensors(network, tensors, where="some file")


def test_tensors_are_copies() -> None:
    network = restore_network(small_bundle())
    tensors = export_tensors(network)
    before = tensors["head.linear.bias"].copy()
    network.head.get_parameter("linear.bias").data.add_(1)
    np.testing.assert_array_equal(tensors["head.linear.bias"], before)


_IMAGE = [e.name for e in BACKBONES if "image" in e.accepts and "*" not in e.name]


@pytest.mark.parametrize("name", _IMAGE)
def test_what_a_bundle_may_name_is_compared_before_it_is_allocated(name: str) -> None:
    """Every backbone builds on the meta device; weights of another network do not fit it."""
    bundle = small_bundle()
    arch = Arch(ComponentConfig(name, {}), bundle.arch.head)
    with pytest.raises(DamagedError, match=r"does not fit|more layers"):
        check_tensors_fit(
            arch, restore_input(bundle).feature_spec(), bundle.tensors, where="weights"
        )


@pytest.mark.parametrize(("kernel", "least"), [(1, 1), (7, 7), (33, 33), (2000, None)])
def test_the_least_side_is_found_by_trying(kernel: int, least: int | None) -> None:
    """A network without padding takes images from its kernel's size on."""
    network = torch.nn.Conv2d(3, 4, kernel)
    assert find_least_side(network, 3) == least  # type: ignore[arg-type]
    assert not next(network.parameters()).is_meta


def test_images_that_are_too_small_are_refused_with_the_least_size() -> None:
    head = small_bundle().arch.head
    arch = Arch(ComponentConfig("timm/inception_v3", {}), head)
    emits = FeatureSpec("image", 3)
    with pytest.raises(UsageError, match="at least 75 x 75 pixels, and these have 64 x 64"):
        reject_small_images(arch, emits, 64)
    reject_small_images(arch, emits, 75)
