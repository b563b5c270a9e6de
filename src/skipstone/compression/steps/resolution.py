"""The step `resolution`: lower the input resolution, then train to recover.

A convolution costs its weights times its output positions, so images with r times the side need r
squared times the multiply-accumulates (the resolution multiplier of Howard et al. 2017, MobileNets,
arXiv:1704.04861, section 3.4). The network's structure is unchanged. The size is part of the
bundle's input, so every runtime, the exported script and later steps use it.

At another resolution objects have sizes that the network was not trained with, and pooled features
other statistics; training at the new size recovers most of the loss (Touvron et al. 2019,
arXiv:1906.06423, sections 3 and 4). Here the whole network is trained, with the run's augmentation.

The teacher is the plan's original model, which gets the same images enlarged to its own size
(`load_teacher`); so a network with a fixed input size can be a teacher, too.
"""

from __future__ import annotations

from typing import Any

import torch

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.options import ResolutionOptions
from skipstone.compression.recover import (
    describe_recovery,
    replace_input,
    save_step_output,
    train_recovery,
)
from skipstone.compression.shrink_plan import StepContext
from skipstone.core import events
from skipstone.core.errors import Refusal, SkipstoneError, UsageError
from skipstone.inference.restore import restore_input, restore_single_network
from skipstone.inputs.base import Input, Resizable
from skipstone.models.network import Network
from skipstone.models.profile import profile_network


def apply_resolution(options: ResolutionOptions, work: StepContext) -> dict[str, Any]:
    """A bundle with a lower input resolution, its exports and goldens.

    Raises:
        UsageError: the size is not below the present one.
        Refusal: the input has no resolution; the network does not accept images of that size; the
            bundle has no training recipe.
    """
    bundle = Bundle.load(work.source)
    arch, input = require_single_network(bundle.arch, "the step resolution"), restore_input(bundle)
    if not isinstance(input, Resizable):
        raise Refusal(
            f"the input {bundle.input['name']!r} has no resolution to lower.",
            hint='Choose another step, such as --plan "int8".',
        )
    network, before = restore_single_network(bundle, "the step resolution"), input.get_resolution()
    stride = max(network.backbone.strides, default=1)
    after = choose_size(options.size, before, stride)
    smaller = input.with_resolution(after)
    made = replace_input(bundle, smaller)
    changed = restore_single_network(made, "the step resolution")
    check_network_accepts(changed, smaller, after)
    macs = [profile_network(network, each.make_example(1)).macs for each in (input, smaller)]
    events.emit_note(
        f"Images of {after} x {after} pixels instead of {before} x {before}: "
        f"{macs[1] / macs[0]:.0%} of the multiply-accumulates remain."
        + describe_rounding(after, stride)
    )
    facts: dict[str, Any] = {"size": [before, after], "macs": macs}
    if options.epochs:
        result = train_recovery(changed, made, work, epochs=options.epochs, teacher=options.teacher)
        facts["recovery"] = describe_recovery(result, options.epochs)
    save_step_output(made, arch, smaller, changed, work)
    return facts


def choose_size(size: int | None, before: int, stride: int) -> int:
    """The given side, or by default three quarters of `before`, rounded down to whole strides.

    Raises:
        UsageError: it is not below `before`.
    """
    default = before * 3 // 4
    default = default - default % stride or default
    side = default if size is None else size
    if not 1 <= side < before:
        raise UsageError(
            f"resolution: size is {side}, but the model's images have {before} x {before} pixels; "
            "allowed: less than that.",
            hint=f"Such as resolution(size={default})." if 1 <= default < before else None,
        )
    return side


def describe_rounding(side: int, stride: int) -> str:
    """A sentence for a side that the network's stride does not divide; else empty."""
    if not side % stride:
        return ""
    padded = -(-side // stride) * stride
    return (
        f" {side} is not a multiple of the network's stride, {stride}: its deepest feature map is "
        f"as large as for {padded}."
    )


def check_network_accepts(network: Network, input: Input, side: int) -> None:
    """Refusal if the network does not accept images of this side."""
    arrays = {name: torch.from_numpy(array) for name, array in input.make_example(1).items()}
    try:
        with torch.no_grad():
            network(arrays)
    except Exception as error:  # a network of a fixed size may raise anything
        reason = error.message if isinstance(error, SkipstoneError) else str(error)
        raise Refusal(
            f"this network does not accept images of {side} x {side} pixels: {reason}",
            hint='Choose another step, such as --plan "int8".',
        ) from error
