"""From an `Arch` to a network, and strict loading of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from skipstone.bundle.arch import Arch, Part
from skipstone.errors import DamagedError, UsageError
from skipstone.events import note
from skipstone.inputs.base import Emits, Input
from skipstone.models.backbone import Backbone
from skipstone.models.edits import apply_edits
from skipstone.models.heads.base import Head
from skipstone.models.meta import on_meta
from skipstone.models.network import Network
from skipstone.models.stem import keep_stem_exact
from skipstone.registry import BACKBONES, HEADS, Entry

#: A network that edits made smaller by more than this factor is none of ours, unless it is small.
_MOST_PRUNED, _SMALL = 100, 1 << 26


def build_network(arch: Arch, input: Input) -> Network:
    """A network with fresh weights, on the CPU.

    Raises:
        UsageError: an unknown name or option, a backbone that does not take what this input
            emits, or an edit that this version cannot repeat.
    """
    backbone, head = build_backbone_and_head(arch, input.emits())
    network = Network(front=input.front(), backbone=backbone, head=head)
    apply_edits(network, arch.edits)
    return network


def build_backbone_and_head(arch: Arch, emits: Emits) -> tuple[Backbone, Head]:
    """The two halves that depend on the architecture alone."""
    entry = BACKBONES[arch.backbone.name]
    check_accepts(entry, arch.backbone.name, emits.kind)
    options = entry.make_options(arch.backbone.args.get("options"))
    backbone: Backbone = entry.load()(
        arch.backbone.name,
        options,
        in_channels=emits.channels,
        **arch.backbone.args.get("shape", {}),
    )

    if emits.exact:
        keep_stem_exact(backbone)

    head_entry = HEADS[arch.head.name]
    check_needs(head_entry, entry, arch.backbone.name)
    head: Head = head_entry.load()(
        head_entry.make_options(arch.head.args.get("options")),
        channels=tuple(backbone.channels),
        strides=tuple(backbone.strides),
        **arch.head.args.get("shape", {}),
    )
    return backbone, head


def check_fits(arch: Arch, emits: Emits, tensors: Mapping[str, Any], *, where: str) -> None:
    """DamagedError unless `tensors` are those of the backbone and the head.

    They are built on torch's meta device, which gives shapes and allocates nothing, and with no
    more layers than the tensors can be of: an architecture is only as large as its weights are.
    """
    modules = 1000 + 50 * len(tensors)
    made = 0

    def count(module: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal made
        made += 1
        if made > modules:
            raise DamagedError(
                f"{where} holds {len(tensors)} tensors; the network that it is for has more layers "
                "than that."
            )

    hook = register_module_module_registration_hook(count)
    try:
        with on_meta():
            backbone, head = build_backbone_and_head(arch, emits)
            network = Network(front=nn.Identity(), backbone=backbone, head=head)
            whole = sum(value.numel() for value in network.state_dict().values())
            apply_edits(network, arch.edits)
    finally:
        hook.remove()
    expected = network.state_dict()
    given = {name: value for name, value in tensors.items() if not name.startswith("front.")}
    _refuse_misfits(_misfits(expected, given), where)
    stored = sum(int(np.prod(value.shape)) for value in given.values())
    if whole > _MOST_PRUNED * stored + _SMALL:  # it is built whole before edits make it smaller
        raise DamagedError(
            f"{where} holds {stored:,} numbers, and its network {whole:,} before {len(arch.edits)} "
            "edits; no pruning takes that much away."
        )


def check_accepts(entry: Entry, name: str, *kinds: str) -> None:
    """UsageError when a backbone takes none of what the input emits, or may emit."""
    accepts = list(entry.facts.get("accepts", []))
    if not set(kinds) & set(accepts):
        fitting = [
            other.name for other in BACKBONES if set(kinds) & set(other.facts.get("accepts", []))
        ]
        some = f" such as {', '.join(fitting[:3])}" if fitting else ""
        gives = " or ".join(kinds)
        raise UsageError(
            f"{name!r} takes {' or '.join(accepts) or 'nothing'}, and this input gives {gives}.",
            hint=f"Choose a model that takes {gives}{some}. See: skipstone models",
        )


def check_needs(head: Entry, backbone: Entry, name: str) -> None:
    """UsageError when a head needs what the backbone called `name` does not offer."""
    for need in head.facts.get("needs", []):
        if need not in backbone.facts.get("offers", []):
            fitting = [e.name for e in BACKBONES if need in e.facts.get("offers", [])]
            raise UsageError(
                f"the head {head.name!r} needs {need}, which {name!r} does not offer.",
                hint=f"Choose --model {' or '.join(fitting)}" if fitting else None,
            )


def suited_options(backbone: Entry, name: str, head: Entry, values: Mapping[str, Any]) -> Any:
    """The backbone's options: `values`, and what suits the head where `values` do not say.

    A backbone that cannot do what would suit (some of timm's cannot dilate) stays as it is, and a
    note says so.
    """
    kind = backbone.options_type()
    known = () if kind is None else kind.__dataclass_fields__
    options = backbone.make_options(values)
    taken = dict(values)
    for option, value in head.facts.get("suits", {}).items():
        if option not in known or option in values or getattr(options, option) == value:
            continue
        suited = backbone.make_options({**taken, option: value})
        try:
            with on_meta():
                backbone.load()(name, suited, in_channels=3)
        except UsageError:
            note(f"{name} cannot change its {option}, which stays {getattr(options, option)}.")
            continue
        options, taken[option] = suited, value
    return options


def choose_head(name: str, usual: Part) -> Part:
    """The head called `name` in place of a task's usual one; "auto" is the usual one itself.

    Raises:
        UsageError: there is no such head, or it does not answer what the task asks.
    """
    if name in ("auto", usual.name):
        return usual
    wanted = HEADS[usual.name].facts.get("gives")
    if HEADS[name].facts.get("gives") != wanted or wanted is None:
        fitting = [e.name for e in HEADS if wanted and e.facts.get("gives") == wanted]
        raise UsageError(
            f"the head {name!r} does not answer what this task asks.",
            hint=f"Allowed: {', '.join(fitting or [usual.name])}.",
        )
    return Part(name, usual.args)


def network_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as numpy copies: what a bundle stores."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous().numpy()
        for name, tensor in network.state_dict().items()
    }


def load_tensors(network: nn.Module, tensors: Mapping[str, Any], *, where: str) -> None:
    """Load all tensors strictly: the same names, shapes and types, and finite numbers.

    Args:
        tensors: numpy arrays or tensors by state-dict name.
        where: the file that they are from, for messages.

    Raises:
        DamagedError: anything is missing, left over, of another shape or type, or not finite.
    """
    given = {name: torch.as_tensor(np.array(value)) for name, value in tensors.items()}
    problems = _misfits(network.state_dict(), given)
    for name, tensor in given.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds numbers that are not finite")
    _refuse_misfits(problems, where)
    network.load_state_dict(given, strict=True)


def _misfits(expected: Mapping[str, torch.Tensor], given: Mapping[str, Any]) -> list[str]:
    """What is missing, left over, or of another shape or type."""
    problems = [f"{name} is missing" for name in expected if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in expected]
    for name, value in given.items():
        if name in expected and (kind := _kind(value)) != (right := _kind(expected[name])):
            problems.append(f"{name} is {kind}, not {right}")
    return problems


def _refuse_misfits(problems: list[str], where: str) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DamagedError(
            f"{where} does not fit the network it is for: {'; '.join(problems[:3])}{more}."
        )


def _kind(value: Any) -> str:
    """Type and shape of a tensor or an array."""
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
