"""Optimizers over groups of parameters: which decay, and how fast each stage learns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.models.network import Network
from skipstone.training.recipe import Recipe


def parameter_stages(network: Network) -> list[tuple[str, list[nn.Parameter]]]:
    """Parameters from the stem to the head, by stage; each exactly once.

    Raises:
        ValueError: the backbone's `stages()` leaves out a parameter or names one twice.
    """
    groups = [
        (f"stage {index}" if index else "stem", _parameters(modules))
        for index, modules in enumerate(network.backbone.stage_modules())
    ]
    groups.append(("head", _parameters([network.head, network.auxiliary])))
    staged = [id(parameter) for _, group in groups for parameter in group]
    all_names = {id(parameter): name for name, parameter in network.named_parameters()}
    missing = [name for key, name in all_names.items() if key not in set(staged)]
    if missing or len(staged) != len(set(staged)):
        raise ValueError(
            f"{type(network.backbone).__name__}.stage_modules() must hold each parameter exactly once; "
            f"missing: {', '.join(missing) or 'none'}"
        )
    return groups


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over what is trainable.

    Each group holds one stage's weights, or its norms, biases, tokens and position tables (which
    do not decay). `scale` is the group's factor on the learning rate: layer_decay ** distance from the head.
    """
    groups = list(_groups(network, recipe))
    if not groups:
        raise ValueError("no parameter is trainable")
    # One kernel for all tensors where the device has it; MPS takes the foreach form.
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            fused=fused,
        )
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group `lr` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


def clip_gradients(optimizer: torch.optim.Optimizer, greatest: float) -> float:
    """Scale all gradients down to a norm of `greatest` (0: leave them); returns what it was.

    As torch.nn.utils.clip_grad_norm_, which is these two calls.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if greatest:
        torch.nn.utils.clip_grads_with_norm_(parameters, greatest, norm)
    return float(norm)


def gradient_norms(network: Network) -> dict[str, float]:
    """L2 norm of the gradient of each stage that learns, from the stem to the head."""
    norms = {}
    for name, parameters in parameter_stages(network):
        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            norms[name] = float(torch.stack(torch._foreach_norm(gradients)).norm())
    return norms


def _groups(network: Network, recipe: Recipe) -> Iterator[dict[str, Any]]:
    ordered = parameter_stages(network)
    undecayed = {id(parameter) for parameter in network.backbone.undecayed_parameters()}
    for index, (name, parameters) in enumerate(ordered):
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        scale = recipe.layer_decay ** (len(ordered) - 1 - index)
        for decays in (True, False):
            chosen = [p for p in trained if (id(p) not in undecayed and _is_weight(p)) == decays]
            if chosen:
                yield {
                    "params": chosen,
                    "weight_decay": recipe.weight_decay if decays else 0.0,
                    "scale": scale,
                    "stage": name,
                }


def _is_weight(parameter: Tensor) -> bool:
    """Whether a parameter multiplies features: not a bias, a scale of a norm or of a layer
    (C,) or (C, 1, 1), a token (1, 1, C) or a position table (1, L, C)."""
    if parameter.ndim == 3 and (parameter.shape[0] == 1 or parameter.shape[1:] == (1, 1)):
        return False
    return parameter.ndim > 1


def _parameters(modules: list[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


class Ema:
    """average = d * average + (1 - d) * weights after each step, d = min(decay, (1+n)/(10+n)).

    The rising d lets a short training forget its random start (as in TensorFlow's
    ExponentialMovingAverage). Running statistics of norms are averaged like weights, so that they
    belong to the averaged weights; integer buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        live = {name: tensor.detach() for name, tensor in network.state_dict().items()}
        self._names = list(live)
        self._live = list(live.values())
        self._average = [tensor.clone() for tensor in self._live]
        floats = [tensor.is_floating_point() for tensor in self._live]
        self._live_floats = [t for t, is_float in zip(self._live, floats, strict=True) if is_float]
        self._average_floats = [
            t for t, is_float in zip(self._average, floats, strict=True) if is_float
        ]
        self._integers = [
            (average, tensor)
            for average, tensor, is_float in zip(self._average, self._live, floats, strict=True)
            if not is_float
        ]

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self._average_floats, self._live_floats, 1 - decay)
        for average, tensor in self._integers:
            average.copy_(tensor)

    @contextlib.contextmanager
    def use_average(self) -> Iterator[None]:
        """In the block the network has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged state dict (its own tensors, not copies)."""
        return dict(zip(self._names, self._average, strict=True))

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        self.count = count
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(tensors[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, tensor in zip(self._average, self._live, strict=True):
            weights = tensor.clone()
            tensor.copy_(average)
            average.copy_(weights)
