"""What a program itself answered when it was made: how a changed weight is told from rounding.

A program of lower precision is held to the network's answers in float32 as far as it was from them,
and a margin for processors that round elsewhere (`runtime.programs`). Many a changed weight fits
into that. So a program whose files no float32 program speaks for keeps its own answers to the
goldens, and is held to them nearly exactly wherever the arithmetic is the one that gave them.

What that is, the runtime says: its version, the processor's features, and the kernels that it chose
for them. Sums of 8-bit products are the same in any order (without VNNI or AMX they overflow, and
are others); those left in floating point are taken by one thread, whose order does not depend on
how many the machine has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.tasks.labels import raw_difference

#: Numbers that are kept of each answer; a mask has more, and a changed weight shows in any of them.
KEPT = 4096
#: How far own answers may be from those of then, of the outputs' scale, in the same arithmetic.
CLOSE = 1e-4
#: As Linux calls them, of x86 and of ARM.
_FEATURES = {
    *("avx", "avx2", "fma", "avx_vnni", "avx_vnni_int8", "avx512f", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
}

Kept = dict[str, np.ndarray]


def kept(outputs: Mapping[str, np.ndarray]) -> Kept:
    """Outputs (N, ...) as float32 (N, <= KEPT), spread evenly over each answer."""
    found = {}
    for name, value in outputs.items():
        flat = value.reshape(len(value), -1)
        step = -(-flat.shape[1] // KEPT) | 1  # an odd one visits every column of a map
        found[name] = np.ascontiguousarray(flat[:, ::step], np.float32)
    return found


def apart(before: Kept, after: Kept) -> float:
    """Greatest difference, relative to the scale of each output; infinite where there is none."""
    if {n: v.shape for n, v in before.items()} != {n: v.shape for n, v in after.items()}:
        return math.inf
    return max(raw_difference(value, after[name]) for name, value in before.items())


def features() -> list[str]:
    """What this processor has that decides how its kernels round; empty where nothing tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return sorted(_FEATURES.intersection(line.partition(":")[2].split()))


def other_arithmetic(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why two sets of a runtime's facts cannot be held to the same numbers; "" where they can."""
    if not tells_arithmetic(now):
        return f"{now.get('runtime', 'the runtime')} does not say how it computes"
    if _maker(then) != _maker(now):
        return f"{_maker(now)} runs it, not {_maker(then)} as then"
    had, has = then.get("features", []), now.get("features", [])
    if had != has:
        return f"this processor has {_told(has)}; it was {_told(had)} then"
    if then["kernels"] != now["kernels"]:
        return f"{named(now['kernels'])} run here; it was {named(then['kernels'])} then"
    return ""


def named(kernels: Mapping[str, int]) -> str:
    """Kernels in words, the commonest first: "6 brgconv_avx512_amx_I8, 1 brgemm_avx512_I8"."""
    ranked = sorted(kernels.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked) or "no kernels"


def tells_arithmetic(facts: Any) -> bool:
    """Whether a runtime's facts say what decides how it rounds, as `other_arithmetic` takes it."""
    if not isinstance(facts, Mapping):
        return False
    words, counts = facts.get("features", []), facts.get("kernels")
    return (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and isinstance(counts, Mapping)
        and all(type(count) is int for count in counts.values())
    )


def _maker(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('runtime')} {facts.get('version')}"


def _told(words: list[str]) -> str:
    return ", ".join(words) or "nothing that it tells"
