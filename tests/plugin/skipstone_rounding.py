"""A shrink step as another package brings it, in one file: weights lose their last bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from skipstone.bundle.architecture import require_single_network
from skipstone.bundle.format import Bundle
from skipstone.compression.recover import save_step_output
from skipstone.compression.shrink_plan import StepContext
from skipstone.core.options import check_options, int_range, option
from skipstone.core.specs import StepSpec
from skipstone.inference.restore import restore_input, restore_single_network


@dataclass(frozen=True)
class RoundOptions:
    bits: int = option(8, range=int_range(1, 22), help="bits of each weight's fraction that stay")

    def __post_init__(self) -> None:
        check_options(self)


STEP = StepSpec(
    "round",
    f"{__name__.rpartition('.')[2]}:apply_rounding",
    f"{__name__.rpartition('.')[2]}:RoundOptions",
    summary="round weights, so that they compress better",
)


def apply_rounding(options: RoundOptions, work: StepContext) -> dict[str, Any]:
    bundle = Bundle.load(work.source)
    network = restore_single_network(bundle, "rounding")
    with torch.no_grad():
        for parameter in network.parameters():
            fraction, exponent = torch.frexp(parameter)
            scale = 2**options.bits
            parameter.copy_(torch.ldexp((fraction * scale).round() / scale, exponent))
    arch = require_single_network(bundle.arch, "rounding")
    save_step_output(bundle, arch, restore_input(bundle), network, work)
    return {"bits": options.bits}
