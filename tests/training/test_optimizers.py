"""Parameter groups and optimizers."""

from __future__ import annotations

import pytest
import torch

from skipstone.models.image_backbone_options import TimmOptions
from skipstone.models.resnet import build_resnet
from skipstone.models.timm_backbone import build_timm
from skipstone.training.optimizers import (
    gradient_norms,
    make_optimizer,
    parameter_stages,
    set_rates,
)
from skipstone.training.schedules import Phase, enter_phase, plan_phases
from tests.training.tiny import TinyHead, recipe_of, tiny_network


def test_norms_and_biases_do_not_decay() -> None:
    network = tiny_network()
    names = {id(p): name for name, p in network.named_parameters()}
    optimizer = make_optimizer(network, recipe_of(weight_decay=0.3))
    decay = {
        names[id(p)]: group["weight_decay"]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert set(decay) == set(names.values())
    for name, value in decay.items():
        assert value == (0.3 if name.endswith("weight") and "norm" not in name else 0.0)


@pytest.mark.parametrize(
    ("name", "undecayed"),
    [
        ("vit_tiny_patch16_224", {"cls_token", "pos_embed"}),
        ("vit_tiny_r_s16_p8_224", {"cls_token", "pos_embed"}),
        ("poolformer_s12", set()),  # scales (C,) of layers
        ("tiny_vit_5m_224", {"attention_biases"}),
    ],
)
def test_tokens_and_position_tables_do_not_decay(name: str, undecayed: set[str]) -> None:
    network = tiny_network()
    network.backbone = build_timm(f"timm/{name}", TimmOptions(last_map="pooled"), in_channels=3)
    names = {id(p): n for n, p in network.backbone.net.named_parameters()}
    decay = {
        names[id(p)]: bool(group["weight_decay"])
        for group in make_optimizer(network, recipe_of(weight_decay=0.3)).param_groups
        for p in group["params"]
        if id(p) in names
    }
    of_tables = {n for n, p in network.backbone.net.named_parameters() if p.ndim > 1}
    of_tables = {n for n in of_tables if not decay[n]}
    assert {n.rpartition(".")[2] for n in of_tables} - {"gamma"} == undecayed
    assert any(decay.values())


def test_rates_fall_towards_the_stem() -> None:
    optimizer = make_optimizer(tiny_network(), recipe_of(layer_decay=0.5))
    set_rates(optimizer, 0.8)
    rates = {group["stage"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"stem": 0.1, "stage 1": 0.2, "stage 2": 0.4, "head": 0.8})


def test_frozen_stages_are_left_out() -> None:
    network = tiny_network()
    enter_phase(network, Phase("x", 1, 2, "cosine"))
    optimizer = make_optimizer(network, recipe_of())
    assert {group["stage"] for group in optimizer.param_groups} == {"stage 2", "head"}
    enter_phase(network, Phase("x", 1, 0, "cosine"))
    assert len(make_optimizer(network, recipe_of()).param_groups) > len(optimizer.param_groups)


def test_stages_cover_every_parameter_once() -> None:
    network = tiny_network()
    network.backbone = build_resnet("resnet20")
    network.head = TinyHead()
    found = [id(p) for _, group in parameter_stages(network) for p in group]
    assert sorted(found) == sorted(id(p) for p in network.parameters())
    network.backbone.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"missing: backbone\.extra\.weight"):
        parameter_stages(network)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_equal_the_plain_optimizer(name: str) -> None:
    """Three steps against torch's own loop (not fused, one group a kind)."""
    ours, theirs = tiny_network(), tiny_network()
    recipe = recipe_of(optimizer=name, lr=0.05, weight_decay=0.1)
    optimizer = make_optimizer(ours, recipe)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        reference: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=0.05, momentum=0.9, nesterov=True, foreach=False
        )
    else:
        reference = torch.optim.AdamW(groups, lr=0.05, foreach=False)
    for step in range(3):
        set_rates(optimizer, 0.05)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(step))
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_gradient_norms_by_stage() -> None:
    network = tiny_network()
    for parameter in network.backbone.stem.parameters():
        parameter.grad = torch.ones_like(parameter)
    count = sum(p.numel() for p in network.backbone.stem.parameters())
    assert gradient_norms(network) == {"stem": pytest.approx(count**0.5)}


def test_phases_add_up() -> None:
    recipe = recipe_of(epochs=6, freeze_epochs=2, unfreeze="gradual")
    phases = plan_phases(recipe, stages=3, steps_per_epoch=10, total=60)
    assert [(p.name, p.steps, p.frozen) for p in phases] == [
        ("head", 20, 3),
        ("from stage 2", 10, 2),
        ("from stage 1", 10, 1),
        ("all", 20, 0),
    ]
    short = plan_phases(recipe, stages=3, steps_per_epoch=10, total=25)
    assert [(p.name, p.steps) for p in short] == [("head", 20), ("from stage 2", 5)]
