"""An ensemble: several networks answer the same question, and their probabilities are averaged.

    x --front--> arrays of each input --networks--> logits --/ temperature--> probabilities
      --mean--> logarithm: the ensemble's logits

Members that err on different samples correct each other (Hansen and Salamon 1990, IEEE TPAMI
12(10); Lakshminarayanan et al. 2017, arXiv:1612.01474, average probabilities as is done here). It
costs as much as its members together. A solved model's margins are no probabilities, so each
member's logits are divided by the temperature that was fitted for it on rows it did not learn from
(Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from skipstone.bundle.arch import Ensemble
from skipstone.errors import DamagedError
from skipstone.inputs.base import Input
from skipstone.inputs.joined import Joined, inputs_of
from skipstone.models.build import build_backbone_and_head, check_fits
from skipstone.models.edits import apply_edits
from skipstone.models.network import Network

_MEMBERS, _FRONT = "members.", "front."


class Votes(nn.Module):
    """front -> each member's network -> the mean of their probabilities, as logits.

    State-dict names start with `front.` and `members.<number>.`.

    Args:
        front: gives what the members take; a tuple, one for each input, where there are several.
        members: networks without a front.
        takes: the input that each takes; None where all share the one.
        temperatures: one a member.
    """

    def __init__(
        self,
        *,
        front: nn.Module,
        members: Sequence[Network],
        takes: Sequence[int] | None,
        temperatures: Sequence[float],
    ) -> None:
        super().__init__()
        self.front = front
        self.members = nn.ModuleList(members)
        self.takes = takes
        self.temperatures = list(temperatures)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        arrays = self.front(x)
        networks = [cast(Network, member) for member in self.members]
        answers = [
            network.answer(arrays if self.takes is None else arrays[self.takes[at]])
            for at, network in enumerate(networks)
        ]
        return networks[0].head.vote(answers, self.temperatures)


def build_ensemble(arch: Ensemble, input: Input) -> Votes:
    """An ensemble with fresh weights, on the CPU.

    Args:
        input: one that all members take, or a `Joined` one.

    Raises:
        UsageError: as `models.build.build_network`.
    """
    inputs = inputs_of(input)
    members = []
    for member in arch.members:
        backbone, head = build_backbone_and_head(member.arch, inputs[member.input].emits())
        network = Network(front=nn.Identity(), backbone=backbone, head=head)
        apply_edits(network, member.arch.edits)
        members.append(network)
    return Votes(
        front=input.front(),
        members=members,
        takes=[member.input for member in arch.members] if isinstance(input, Joined) else None,
        temperatures=[member.temperature for member in arch.members],
    )


def check_ensemble_fits(
    arch: Ensemble, input: Input, tensors: Mapping[str, Any], *, where: str
) -> None:
    """`check_fits` for each member, and that each takes an input that there is. DamagedError."""
    inputs = inputs_of(input)
    left = {name for name in tensors if not name.startswith(_FRONT)}
    for at, member in enumerate(arch.members):
        if member.input >= len(inputs):
            raise DamagedError(
                f"{where}: member {at} takes the input {member.input} of {len(inputs)}."
            )
        prefix = f"{_MEMBERS}{at}."
        own = {name.removeprefix(prefix): tensors[name] for name in left if name.startswith(prefix)}
        left -= {f"{prefix}{name}" for name in own}
        emits = inputs[member.input].emits()
        check_fits(member.arch, emits, own, where=f"{where}, member {at},")
    if left:
        raise DamagedError(f"{where} holds {sorted(left)[0]}, which is no member's.")


def tensors_of(arch: Ensemble, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state dict of an ensemble from those of its members' networks.

    A front's tensors are kept once for each input, by the first member that takes it.
    """
    several = any(member.input for member in arch.members)
    found: dict[str, Any] = {}
    for at, (member, tensors) in enumerate(zip(arch.members, members, strict=True)):
        front = f"{_FRONT}fronts.{member.input}." if several else _FRONT
        for name, value in tensors.items():
            if name.startswith(_FRONT):
                found.setdefault(front + name.removeprefix(_FRONT), value)
            else:
                found[f"{_MEMBERS}{at}.{name}"] = value
    return found
