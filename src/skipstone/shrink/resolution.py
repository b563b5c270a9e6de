"""The step `resolution`: the model looks at smaller pictures, and learns again what they show.

A convolution costs its weights times the places that it visits, so pictures of a share r of the
side leave r squared of the multiply-accumulates (the resolution multiplier of Howard et al. 2017,
MobileNets, arXiv:1704.04861, section 3.4). The network stays as it is, to the last layer. The size
is a part of the bundle's input: whatever prepares pictures for it (a runtime, the exported script,
a later step) makes them so small.

A network does not know things at a size that it has not seen them in, and what it pools has other
statistics; learning at the new size cures most of it (Touvron et al. 2019, arXiv:1906.06423,
sections 3 and 4). Here all of it learns again, with the run's own augmentation.

What it imitates is the model that the plan began with, which sees the same pictures enlarged to its
own size (`recover.teacher_of`); so a network of a fixed size can teach, too.
"""

from __future__ import annotations

from typing import Any

import torch

from skipstone import events
from skipstone.bundle.arch import one_network
from skipstone.bundle.format import Bundle
from skipstone.errors import Refusal, SkipstoneError, UsageError
from skipstone.inputs.base import Input, Resizable
from skipstone.models.network import Network
from skipstone.models.profile import profile
from skipstone.runtime.parts import input_of, one_network_of
from skipstone.shrink.options import Resolution
from skipstone.shrink.plan import Work
from skipstone.shrink.recover import recover
from skipstone.shrink.remade import save_remade, with_input


def apply(options: Resolution, work: Work) -> dict[str, Any]:
    """A bundle whose input gives smaller pictures, its exports and goldens.

    Raises:
        UsageError: the size is not below the present one.
        Refusal: the input has no resolution to lower; the network takes no pictures of that size;
            the model does not say how it was trained.
    """
    bundle = Bundle.load(work.source)
    arch, input = one_network(bundle.arch, "the step resolution"), input_of(bundle)
    if not isinstance(input, Resizable):
        raise Refusal(
            f"the input {bundle.input['name']!r} has no resolution that could be lowered.",
            hint='Choose another step, such as --plan "int8".',
        )
    network, before = one_network_of(bundle, "the step resolution"), input.resolution()
    stride = max(network.backbone.strides, default=1)
    after = chosen(options.size, before, stride)
    smaller = input.resized(after)
    made = with_input(bundle, smaller)
    changed = one_network_of(made, "the step resolution")
    require_accepts(changed, smaller, after)
    macs = [profile(network, each.example(1)).macs for each in (input, smaller)]
    events.note(
        f"Pictures of {after} x {after} pixels in place of {before} x {before}: "
        f"{macs[1] / macs[0]:.0%} of the multiply-accumulates are left." + rounding(after, stride)
    )
    facts: dict[str, Any] = {"size": [before, after], "macs": macs}
    if options.epochs:
        result = recover(changed, made, work, epochs=options.epochs, teacher=options.teacher)
        facts["recovery"] = {"epochs": options.epochs, "steps": result.steps, "kept": result.kept}
    save_remade(made, arch, smaller, changed, work)
    return facts


def chosen(size: int | None, before: int, stride: int) -> int:
    """The side that is asked for, or else three quarters of `before`, down to whole strides.

    Raises:
        UsageError: it is not below `before`.
    """
    usual = before * 3 // 4
    usual = usual - usual % stride or usual
    side = usual if size is None else size
    if not 1 <= side < before:
        raise UsageError(
            f"resolution: size is {side}, and the model sees pictures of {before} x {before} "
            "pixels already; allowed: less than that.",
            hint=f"Such as resolution(size={usual})." if 1 <= usual < before else None,
        )
    return side


def rounding(side: int, stride: int) -> str:
    """What to say of a side that the network's deepest feature map does not divide."""
    if not side % stride:
        return ""
    whole = -(-side // stride)
    return (
        f" {side} is no multiple of the network's stride, {stride}: its deepest feature map is as "
        f"large as for {whole * stride}."
    )


def require_accepts(network: Network, input: Input, side: int) -> None:
    """Refusal unless the network answers pictures of this side."""
    arrays = {name: torch.from_numpy(array) for name, array in input.example(1).items()}
    try:
        with torch.no_grad():
            network(arrays)
    except Exception as error:  # a network of a fixed size fails in its own way
        said = error.message if isinstance(error, SkipstoneError) else str(error)
        raise Refusal(
            f"this network takes no pictures of {side} x {side} pixels: {said}",
            hint='Choose another step, such as --plan "int8".',
        ) from error
