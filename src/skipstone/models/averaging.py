"""An ensemble that averages the probabilities of several networks.

    x --front--> arrays of each input --networks--> logits --/ temperature--> probabilities
      --mean--> logarithm: the ensemble's logits

Members with different errors correct each other (Hansen and Salamon 1990, IEEE TPAMI 12(10);
averaging as in Lakshminarayanan et al. 2017, arXiv:1612.01474). It costs as much as all members.
Margins of closed-form models are not calibrated, so each member's logits are divided by a
temperature fitted on rows that it was not trained on (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.bundle.architecture import EnsembleArch
from skipstone.core.errors import DamagedError
from skipstone.inputs.base import Input
from skipstone.inputs.multi_input import MultiInput, list_inputs
from skipstone.models.build import build_backbone_and_head, check_tensors_fit
from skipstone.models.edits import apply_edits
from skipstone.models.network import Network

_MEMBERS, _FRONT = "members.", "front."


class AveragingEnsemble(nn.Module):
    """front -> each member's network -> the mean of their probabilities, as logits.

    State-dict names start with `front.` and `members.<number>.`.

    Args:
        front: preprocesses for the members; returns a tuple where there are several inputs.
        members: networks without a front.
        input_indices: the index of each member's input; None where all share one.
        temperatures: one per member.
        activation: how logits become probabilities, "softmax" or "sigmoid".
    """

    def __init__(
        self,
        *,
        front: nn.Module,
        members: Sequence[Network],
        takes: Sequence[int] | None,
        temperatures: Sequence[float],
        activation: str,
    ) -> None:
        super().__init__()
        self.front = front
        self.members = nn.ModuleList(members)
        self.input_indices = takes
        self.temperatures = list(temperatures)
        self.activation = activation

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        arrays = self.front(x)
        networks = [cast(Network, member) for member in self.members]
        outputs = [
            network.predict_arrays(
                arrays if self.input_indices is None else arrays[self.input_indices[at]]
            )
            for at, network in enumerate(networks)
        ]
        logits = [
            each["logits"] / temperature
            for each, temperature in zip(outputs, self.temperatures, strict=True)
        ]
        return {"logits": average_logits(logits, self.activation)}


def average_logits(logits: Sequence[Tensor], activation: str) -> Tensor:
    """Logits (N, K, ...) of the mean of the probabilities that each of `logits` stands for.

    Computed without leaving logarithms: log p of the mean p for "softmax", log(p / (1 - p)) of the
    mean p of each tag for "sigmoid".
    """
    if activation == "softmax":
        log_p = torch.stack([F.log_softmax(each.float(), dim=1) for each in logits])
        return torch.logsumexp(log_p, dim=0) - math.log(len(logits))
    log_p = torch.stack([F.logsigmoid(each.float()) for each in logits])
    log_not_p = torch.stack([F.logsigmoid(-each.float()) for each in logits])
    return torch.logsumexp(log_p, dim=0) - torch.logsumexp(log_not_p, dim=0)


def build_ensemble(arch: EnsembleArch, input: Input) -> AveragingEnsemble:
    """An ensemble with fresh weights, on the CPU.

    Args:
        input: shared by all members, or a `MultiInput` one.

    Raises:
        UsageError: as `models.build.build_network`.
    """
    inputs = list_inputs(input)
    members = []
    for member in arch.members:
        backbone, head = build_backbone_and_head(member.arch, inputs[member.input].feature_spec())
        network = Network(front=nn.Identity(), backbone=backbone, head=head)
        apply_edits(network, member.arch.edits)
        members.append(network)
    return AveragingEnsemble(
        front=input.preprocessing_module(),
        members=members,
        takes=[member.input for member in arch.members] if isinstance(input, MultiInput) else None,
        temperatures=[member.temperature for member in arch.members],
        activation=arch.activation,
    )


def check_ensemble_tensors(
    arch: EnsembleArch, input: Input, tensors: Mapping[str, Any], *, where: str
) -> None:
    """`check_tensors_fit` for each member.

    Raises:
        DamagedError: also for a tensor of no member, and a member whose input does not exist.
    """
    inputs = list_inputs(input)
    unused = {name for name in tensors if not name.startswith(_FRONT)}
    for at, member in enumerate(arch.members):
        if member.input >= len(inputs):
            raise DamagedError(
                f"{where}: member {at} takes input {member.input}, and there are {len(inputs)}."
            )
        prefix = f"{_MEMBERS}{at}."
        names = {name for name in unused if name.startswith(prefix)}
        unused -= names
        emits = inputs[member.input].feature_spec()
        member_tensors = {name.removeprefix(prefix): tensors[name] for name in names}
        check_tensors_fit(member.arch, emits, member_tensors, where=f"{where}, member {at},")
    if unused:
        raise DamagedError(f"{where} holds {sorted(unused)[0]}, which belongs to no member.")


def merge_member_tensors(
    arch: EnsembleArch, members: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The state dict of an ensemble from those of its members.

    The front of each input is stored once, from the first member that takes the input.
    """
    has_several_inputs = any(member.input for member in arch.members)
    merged: dict[str, Any] = {}
    for at, (member, tensors) in enumerate(zip(arch.members, members, strict=True)):
        front = f"{_FRONT}fronts.{member.input}." if has_several_inputs else _FRONT
        for name, value in tensors.items():
            if name.startswith(_FRONT):
                merged.setdefault(front + name.removeprefix(_FRONT), value)
            else:
                merged[f"{_MEMBERS}{at}.{name}"] = value
    return merged
