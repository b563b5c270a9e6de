"""Which precision, memory layout and kernels to train with: a few steps of each are timed, once per
machine and network (`core.measurements`)."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.measurements import read_measurement, write_measurement
from skipstone.core.options import has_type
from skipstone.data.samples import Batch
from skipstone.inference.reference_outputs import cpu_features
from skipstone.models.conv_bf16 import autocast_bfloat16, has_slow_depthwise
from skipstone.training.objective import Objective
from skipstone.training.recipe import Recipe

#: bfloat16 changes rounding, so it has to be faster than float32 by at least this factor.
WORTHWHILE = 1.15
#: Seconds that the timing takes at most (and the step that is being timed then) without a budget.
MAX_TIMING = 60.0
#: Steps of each mode that are timed after the first, which also compiles kernels.
REPEATS = 2


@dataclass(frozen=True, slots=True)
class Mode:
    """How a step is computed. Weights and optimizer are float32; bf16 is autocast.

    Args:
        precision: "f32" or "bf16".
        channels_last: whether images and convolution weights lie (N, H, W, C) in memory.
        fast_depthwise: whether gradients of depthwise convolutions take the faster way of
            `models.conv_bf16`.
    """

    precision: str = "f32"
    channels_last: bool = False
    fast_depthwise: bool = False

    def forward_pass(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass that a backward pass follows."""
        if self.precision == "bf16":
            return autocast_bfloat16(device, fast_depthwise=self.fast_depthwise)
        return contextlib.nullcontext()

    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def __str__(self) -> str:
        words = (
            self.precision,
            "channels_last" if self.channels_last else "",
            "fast-depthwise" if self.fast_depthwise else "",
        )
        return " ".join(word for word in words if word)


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there.get(kind, False):
        usable = ", ".join(name for name, is_there in there.items() if is_there)
        raise UsageError(f"--device {name}: there is none here. Usable: auto, {usable}.")
    number = name.removeprefix(kind).removeprefix(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if name != kind and not (number.isdecimal() and int(number) < count):
        raise UsageError(
            f"--device {name}: there is none here. Usable: {kind}"
            + (f", {kind}:0 to {kind}:{count - 1}." if count > 1 else f" or {kind}:0.")
        )
    return torch.device(name)


def bf16_is_native(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def candidate_modes(recipe: Recipe, device: torch.device, network: nn.Module) -> list[Mode]:
    """The modes that the options, device and network allow, the likely fastest first."""
    formats = [recipe.precision] if recipe.precision != "auto" else ["f32"]
    if recipe.precision == "auto" and bf16_is_native(device):
        formats.insert(0, "bf16")
    layouts = [True, False] if recipe.channels_last is None else [recipe.channels_last]
    modes = []
    for precision in formats:
        for layout in layouts:
            mode = Mode(precision, layout)
            # Both ways of depthwise gradients are slower in the other layout.
            offered = device.type == "cpu" and layout == layouts[0]
            if offered and has_slow_depthwise(network, mode.dtype()):
                modes.append(Mode(precision, layout, fast_depthwise=True))
            modes.append(mode)
    return modes


def decide_mode(
    recipe: Recipe,
    objective: Objective,
    batches: Callable[[], Sequence[Batch]],
    limit: float = MAX_TIMING,
) -> dict[str, Any]:
    """{"precision", "channels_last", "fast_depthwise", "seconds": {mode: of a step}}, JSON-able.

    Steps run on a copy; the objective is left as it is. What an earlier command timed for the same
    network, batch and machine is used again.

    Args:
        batches: gives a few batches on the device; asked only where there is a choice.
        limit: seconds after which no other step is timed, and the best mode so far is taken.
    """
    device = next(objective.parameters()).device
    modes = candidate_modes(recipe, device, objective.network)
    seconds: dict[Mode, float] = {}
    if len(modes) > 1:
        examples = batches()
        key = _timing_key(objective, examples[0], device)
        seconds = _read_timing(key, modes)
    if len(modes) > 1 and not seconds:
        name = f"timing {len(modes)} ways to compute a step, for {limit:.0f} s at most"
        with events.progress_stage(name, total=len(modes) * (1 + REPEATS), unit="steps") as advance:
            seconds = time_modes(objective, examples, modes, limit, advance)
        if len(seconds) == len(modes):
            write_measurement(_TIMINGS, key, {str(mode): seconds[mode] for mode in modes})
    chosen = choose_mode(seconds) if seconds else modes[0]
    return {
        **dataclasses.asdict(chosen),
        "seconds": {str(mode): round(value, 5) for mode, value in seconds.items()},
    }


#: The kind of the measurements that are stored.
_TIMINGS = "steps"


def _timing_key(objective: Objective, batch: Batch, device: torch.device) -> dict[str, Any]:
    """What the time of a step depends on, JSON-able."""
    layers = [
        (name, type(module).__name__, [[*tensor.shape] for tensor in module.parameters(False)])
        for name, module in objective.named_modules()
    ]
    cuda = device.type == "cuda"
    return {
        "network": hashlib.sha256(repr(layers).encode()).hexdigest(),
        "batch": {name: [*value.shape] for name, value in batch.x.items()},
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "processor": {"cores": os.cpu_count(), "features": sorted(cpu_features())},
        "threads": torch.get_num_threads(),
    }


def _read_timing(key: Mapping[str, Any], modes: Sequence[Mode]) -> dict[Mode, float]:
    """The stored seconds of all of `modes`; {} where one is not known."""
    stored = read_measurement(_TIMINGS, key) or {}
    seconds = {mode: stored.get(str(mode)) for mode in modes}
    known = {
        mode: float(value)
        for mode, value in seconds.items()
        if value is not None and has_type(float, value) and value > 0
    }
    return known if len(known) == len(modes) else {}


def choose_mode(seconds: Mapping[Mode, float]) -> Mode:
    """The fastest mode; bf16 only where it is faster than float32 by `WORTHWHILE`."""
    scaled = {
        mode: value * (WORTHWHILE if mode.precision == "bf16" and len(seconds) > 1 else 1.0)
        for mode, value in seconds.items()
    }
    return min(scaled, key=lambda mode: scaled[mode])


def time_modes(
    objective: Objective,
    batches: Sequence[Batch],
    modes: Sequence[Mode],
    limit: float = MAX_TIMING,
    advance: Callable[..., None] = lambda *_: None,
) -> dict[Mode, float]:
    """Least seconds of a forward and backward pass in each mode, measured in turns.

    A mode whose first steps take twice the best one's is not timed again, and one whose very
    first, which also compiles kernels, takes four times the best one's never is. After `limit`
    seconds the modes that were timed so far are all. float32 comes first, so that bf16 is never
    taken without a comparison.
    """
    modes = sorted(modes, key=lambda mode: mode.precision == "bf16")
    start = time.perf_counter()
    copies: dict[torch.memory_format, Objective] = {}
    best: dict[Mode, float] = {}
    compiled = dict.fromkeys(modes, math.inf)
    for turn in range(1 + REPEATS):
        for mode in modes:
            is_slow = compiled[mode] > 4 * min(compiled.values()) if turn else False
            if turn > 1:
                is_slow |= best[mode] > 2 * min(best.values())
            if is_slow:
                continue
            if best and time.perf_counter() - start > limit:
                return best
            layout = mode.layout()
            if layout not in copies:
                copies[layout] = _prepared(objective, layout)
            seconds = _time_step(copies[layout], batches[turn % len(batches)], mode)
            advance(1, str(mode))
            if turn == 0:
                compiled[mode] = seconds
            best[mode] = min(best[mode], seconds) if turn > 1 else seconds
    return best


def _prepared(objective: Objective, layout: torch.memory_format) -> Objective:
    twin = copy.deepcopy(objective).train()
    twin.to(memory_format=layout)
    return twin


def _time_step(objective: Objective, batch: Batch, mode: Mode) -> float:
    device = next(objective.parameters()).device
    start = time.perf_counter()
    with mode.forward_pass(device):
        loss = objective(batch.x, batch.y, weight=objective.weight(batch.y))["loss"]
    loss.backward()
    objective.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
