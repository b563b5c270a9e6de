"""What a program itself answered when it was made: how a changed weight is told from rounding.

A program of lower precision is held to the network's answers in float32 as far as it was from them,
and a margin for processors that round elsewhere (`runtime.programs`). Many a changed weight fits
into that. So a program whose files no float32 program speaks for keeps its own answers to the
goldens, and is held to them nearly exactly wherever the arithmetic is the one that gave them.

What that is, the runtime says: its version, and the kernels that it chose for this processor.
Sums of 8-bit products are the same in any order; those left in floating point are taken by one
thread, whose order does not depend on how many the machine has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skipstone.tasks.labels import raw_difference

#: Numbers that are kept of each answer; a mask has more, and a changed weight shows in any of them.
KEPT = 4096
#: Of the outputs' scale, beyond what answering one by one and all at once differ by.
SLACK = 1e-4
_ARITHMETIC = ("runtime", "version", "kernels")

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


def arithmetic(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What decides how a program rounds; None where its runtime does not say."""
    return {name: facts[name] for name in _ARITHMETIC} if "kernels" in facts else None


def other_arithmetic(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why two sets of a runtime's facts cannot be held to the same numbers; "" where they can."""
    if arithmetic(now) is None:
        return f"{now.get('runtime', 'the runtime')} does not say which kernels run"
    for name in ("runtime", "version"):
        if then.get(name) != now[name]:
            return f"{now['runtime']} {now['version']} runs it, not {_maker(then)}"
    if then["kernels"] != now["kernels"]:
        return (
            f"this processor runs other kernels ({_differing(now['kernels'], then['kernels'])}; "
            f"then {_differing(then['kernels'], now['kernels'])})"
        )
    return ""


def named(kernels: Mapping[str, int]) -> str:
    """Kernels in words, the commonest first: "6 brgconv_avx512_amx_I8, 2 jit_avx512_FP32"."""
    ranked = sorted(kernels.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in ranked)


def _maker(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('runtime')} {facts.get('version')}"


def _differing(kernels: Mapping[str, int], others: Mapping[str, int]) -> str:
    """Those that the others have not, or not as often."""
    here = {name: count for name, count in kernels.items() if others.get(name) != count}
    return named(here) or "none"
