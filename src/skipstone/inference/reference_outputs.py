"""Reference outputs of a low-precision program: they tell a changed weight from rounding.

A low-precision program may differ from the float32 network by what was measured when it was made,
plus a margin for processors that round differently (`programs`). A changed weight can hide
in that tolerance. So a program that shares no files with a float32 program stores its own outputs
on the goldens, and `verify` compares with those nearly exactly wherever the arithmetic is the same.

It is the same if the runtime reports the same version, processor features and kernels. Sums of
8-bit products do not depend on their order (without VNNI or AMX they overflow, which gives other
sums). Floating-point layers run in one thread, so their order does not depend on the number of
cores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.tasks.labels import max_relative_difference

#: Values stored per sample and output. A mask has more, but a changed weight shows in any of them.
MAX_SAMPLED_VALUES = 4096
#: Greatest difference from the stored outputs, relative to their scale, in the same arithmetic.
MAX_RELATIVE_ERROR = 1e-4
#: Processor features that decide which kernels run; Linux's names, for x86 and for ARM.
_FEATURES = {
    *("avx", "avx2", "fma", "avx_vnni", "avx_vnni_int8", "avx512f", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
}

SampledOutputs = dict[str, np.ndarray]


def sample_outputs(outputs: Mapping[str, np.ndarray]) -> SampledOutputs:
    """Outputs (N, ...) as float32 (N, <= KEPT): evenly spaced values of each sample."""
    sampled = {}
    for name, value in outputs.items():
        flat = value.reshape(len(value), -1)
        step = (
            -(-flat.shape[1] // MAX_SAMPLED_VALUES) | 1
        )  # an odd step visits every column of a map
        sampled[name] = np.ascontiguousarray(flat[:, ::step], np.float32)
    return sampled


def max_relative_error(before: SampledOutputs, after: SampledOutputs) -> float:
    """Greatest difference, relative to each output's scale; infinite if the shapes differ."""
    if {n: v.shape for n, v in before.items()} != {n: v.shape for n, v in after.items()}:
        return math.inf
    return max(max_relative_difference(value, after[name]) for name, value in before.items())


def cpu_features() -> list[str]:
    """This processor's features that decide how its kernels round; empty where unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return sorted(_FEATURES.intersection(line.partition(":")[2].split()))


def kernel_mismatch_reason(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why a runtime's facts `now` and `then` (when the program was made) may round differently;
    "" if the arithmetic is the same."""
    if not reports_kernels(now):
        return f"{now.get('runtime', 'the runtime')} does not report its kernels"
    if _runtime_version(then) != _runtime_version(now):
        return f"it runs in {_runtime_version(now)}; it was made with {_runtime_version(then)}"
    had, has = then.get("features", []), now.get("features", [])
    if had != has:
        return f"this processor has {_join(has)}; it was made on one with {_join(had)}"
    if then["kernels"] != now["kernels"]:
        return f"it runs {format_kernels(now['kernels'])}; it was made with {format_kernels(then['kernels'])}"
    return ""


def format_kernels(kernels: Mapping[str, int]) -> str:
    """Kernels as text, the most frequent first: "6 brgconv_avx512_amx_I8, 1 brgemm_avx512_I8"."""
    ranked = sorted(kernels.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked) or "no kernels"


def reports_kernels(facts: Any) -> bool:
    """Whether a runtime's facts hold what `kernel_mismatch_reason` compares: features and kernels."""
    if not isinstance(facts, Mapping):
        return False
    names, counts = facts.get("features", []), facts.get("kernels")
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and isinstance(counts, Mapping)
        and all(type(count) is int for count in counts.values())
    )


def _runtime_version(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('runtime')} {facts.get('version')}"


def _join(names: list[str]) -> str:
    return ", ".join(names) or "no known features"
