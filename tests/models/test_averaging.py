"""An ensemble answers by the mean of its members' probabilities, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import Tensor

from skipstone.bundle.architecture import (
    Arch,
    ComponentConfig,
    EnsembleArch,
    MemberConfig,
    parse_arch,
    require_single_network,
)
from skipstone.core.errors import DamagedError, Refusal
from skipstone.image.input import make_image_input
from skipstone.image.options import ImageOptions
from skipstone.models.averaging import (
    average_logits,
    build_ensemble,
    check_ensemble_tensors,
    merge_member_tensors,
)
from skipstone.models.build import build_network, load_tensors

CLASSES = 3
_SCALES = pytest.mark.parametrize("scale", [1.0, 300.0])


def drawn(count: int, scale: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(7, CLASSES, generator=generator) * scale for _ in range(count)]


@_SCALES
def test_classes_that_exclude_each_other_get_the_mean_probability(scale: float) -> None:
    logits = drawn(3, scale)
    voted = average_logits(logits, "softmax")
    expected = np.mean([softmax(each.double().numpy(), axis=1) for each in logits], axis=0)
    assert torch.isfinite(voted).all()
    assert np.allclose(softmax(voted.double().numpy(), axis=1), expected, atol=1e-6)


@_SCALES
def test_tags_get_the_mean_probability_each(scale: float) -> None:
    logits = drawn(3, scale)
    voted = average_logits(logits, "sigmoid")
    expected = np.mean([expit(each.double().numpy()) for each in logits], axis=0)
    assert torch.isfinite(voted).all()
    assert np.allclose(expit(voted.double().numpy()), expected, atol=1e-6)


def arch(head: str) -> Arch:
    options = {"options": {"width": 0.25}}
    return Arch(
        ComponentConfig("resnet18", options), ComponentConfig(head, {"shape": {"classes": CLASSES}})
    )


@pytest.fixture(params=["linear", "lraspp"])
def joined(request: pytest.FixtureRequest) -> tuple[EnsembleArch, Any, list[Any], dict[str, Any]]:
    """(ensemble, its input, networks with drawn weights, their tensors together)."""
    input = make_image_input(
        ImageOptions(size=32), {"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}
    )
    torch.manual_seed(0)
    one = arch(request.param)
    networks = [build_network(one, input).eval() for _ in range(2)]
    made = EnsembleArch((MemberConfig(one, 0, 0.5), MemberConfig(one, 0, 2.0)), "softmax")
    tensors = merge_member_tensors(made, [network.state_dict() for network in networks])
    return made, input, networks, tensors


def test_networks_answer_together_also_for_each_pixel(joined: Any) -> None:
    made, input, networks, tensors = joined
    network = build_ensemble(made, input).eval()
    load_tensors(network, tensors, where="a test")
    x = {"image": torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)}
    with torch.no_grad():
        each = [own(x)["logits"].double().numpy() for own in networks]
        voted = network(x)["logits"].double().numpy()
    shares = [softmax(each[0] / 0.5, axis=1), softmax(each[1] / 2.0, axis=1)]
    assert not np.allclose(*shares, atol=1e-3)
    assert np.allclose(softmax(voted, axis=1), np.mean(shares, axis=0), atol=1e-5)


def test_tensors_that_are_not_its_members_are_damage(joined: Any) -> None:
    made, input, _, tensors = joined
    check_ensemble_tensors(made, input, tensors, where="a file")
    name = next(name for name in tensors if name.startswith("members.1."))
    short = {key: value for key, value in tensors.items() if key != name}
    with pytest.raises(DamagedError, match=r"a file, member 1,.*is missing"):
        check_ensemble_tensors(made, input, short, where="a file")
    foreign = {**tensors, "members.2.x": tensors[name]}
    with pytest.raises(DamagedError, match="belongs to no member"):
        check_ensemble_tensors(made, input, foreign, where="a file")
    astray = EnsembleArch((made.members[0], MemberConfig(made.members[1].arch, 1)), "softmax")
    with pytest.raises(DamagedError, match="member 1 takes input 1, and there are 1"):
        check_ensemble_tensors(astray, input, tensors, where="a file")


def test_it_is_data() -> None:
    one, other = arch("linear"), arch("lraspp")
    made = EnsembleArch(
        (MemberConfig(one, 0, 1.5), MemberConfig(one), MemberConfig(other, 1)), "softmax"
    )
    assert parse_arch(made.to_json()) == made
    assert parse_arch(one.to_json()) == one
    assert made.name == "ensemble of 3 resnet18"
    assert require_single_network(one, "pruning") is one
    with pytest.raises(Refusal, match=r"pruning needs a single network, .* ensemble of 3 resnet18"):
        require_single_network(made, "pruning")


@pytest.mark.parametrize(
    "change",
    [
        {"input": -1},
        {"input": 64},
        {"input": "0"},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"arch": {"members": []}},
        {"arch": None},
    ],
)
def test_what_is_no_member_is_refused(change: dict[str, Any]) -> None:
    member = MemberConfig(arch("linear")).to_json()
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_arch({"members": [member, {**member, **change}], "activation": "softmax"})


@pytest.mark.parametrize("count", [0, 1, 65])
def test_ensembles_have_2_to_64_members(count: int) -> None:
    member = MemberConfig(arch("linear")).to_json()
    with pytest.raises(ValueError, match=f"number of ensemble members: {count}"):
        parse_arch({"members": [member] * count, "activation": "softmax"})


@pytest.mark.parametrize("activation", ["relu", None, ["softmax"]])
def test_an_unknown_activation_is_refused(activation: Any) -> None:
    members = [MemberConfig(arch("linear")).to_json()] * 2
    with pytest.raises(ValueError, match="activation"):
        parse_arch({"members": members, "activation": activation})
