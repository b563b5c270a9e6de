"""shrink: run a plan on a copy of a model, and keep the copy only if it is accurate enough.

    original -> steps -> new bundle -> val decides -> test proves -> verify -> in place

The original is read-only. The new bundle is made in a temporary folder next to its destination and
overwrites nothing. A refusal or an error removes it; after a kill, the run's next owner removes it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone import events, storage
from skipstone.bundle.files import add_files, read_record, write_record
from skipstone.bundle.format import WEIGHTS, Bundle
from skipstone.data.manifest import Manifest
from skipstone.errors import Refusal
from skipstone.proof.parity import Verification, verify
from skipstone.runtime.open import open_model, open_runtime
from skipstone.runtime.parts import input_of
from skipstone.runtime.programs import read_programs
from skipstone.shrink.latency import bind, race, usual_threads
from skipstone.shrink.plan import Plan, Work, carry_out
from skipstone.shrink.receipt import RECEIPT, Receipt, accuracy, figures_of, sizes_of
from skipstone.tasks.base import headline

EAGER = "torch-f32"
FLOATS = ("openvino-f32", "openvino-bf16")


@dataclass(frozen=True)
class ShrinkResult:
    """Args:
    bundle: the smaller model, or the original after a refusal.
    receipt: as `Receipt.to_json` returns it; also in the new bundle, as receipt.json.
    verification: of the new bundle; None after a refusal.
    """

    bundle: Path
    receipt: Mapping[str, Any]
    accepted: bool
    proven: bool
    verification: Verification | None = None

    @property
    def exit_code(self) -> int:
        return 0 if self.accepted else 1

    def __repr__(self) -> str:
        words = f"{'' if self.accepted else 'not '}accepted, {'' if self.proven else 'not '}proven"
        return f"ShrinkResult({words}: {self.bundle})"

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle),
            "receipt": dict(self.receipt),
            "accepted": self.accepted,
            "proven": self.proven,
        }


class _TooMuchLost(Exception):
    """Leaves the block that makes the new bundle, which removes it."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt


def shrink(
    original: Path,
    manifest: Manifest,
    plan: Plan,
    *,
    max_drop: float,
    out: Path,
    seed: int = 0,
    latency_seconds: float = 8.0,
) -> ShrinkResult:
    """Make the new bundle `out`, or keep `original`.

    Args:
        original: a bundle folder.
        manifest: rows with their roles.
        max_drop: allowed drop in points of the headline metric.

    Raises:
        Refusal: the new bundle fails to verify, or a step does not support this model.
    """
    try:
        with storage.write_folder(out, fresh=True) as new:
            receipt, verification = _make(
                original, manifest, plan, max_drop, new, seed, latency_seconds
            )
    except _TooMuchLost as lost:
        return ShrinkResult(original, lost.receipt.to_json(), False, False)
    return ShrinkResult(out, receipt.to_json(), receipt.accepted, receipt.proven, verification)


def _make(
    original: Path,
    manifest: Manifest,
    plan: Plan,
    max_drop: float,
    new: Path,
    seed: int,
    latency_seconds: float,
) -> tuple[Receipt, Verification]:
    fit, select, claim = (manifest.role(role) for role in ("fit", "select", "claim"))
    steps = carry_out(plan, Work(original, new, fit, select, seed))
    before, after = open_model(original, "torch"), open_model(new)
    role, scored = "select", (before.evaluate(select), after.evaluate(select))
    decided = accuracy(before.task, *scored, role=role, seed=seed)
    receipt = Receipt(
        plan=str(plan),
        steps=steps,
        metric=headline(before.task).name,
        title=headline(before.task).title,
        max_drop=max_drop,
        select=decided,
        claim=None,
        sizes=sizes_of(new, original),
        latency=speed(new, original, seconds=latency_seconds),
        made_from=read_record(original)["files"][WEIGHTS]["sha256"],
        versions=_versions(),
    )
    if not receipt.accepted:
        raise _TooMuchLost(receipt)
    if len(claim):
        role, scored = "claim", (before.evaluate(claim), after.evaluate(claim))
        receipt = replace(receipt, claim=accuracy(before.task, *scored, role=role, seed=seed))
    receipt = replace(receipt, figures=figures_of(before.task, *scored, seed=seed))
    _state_figures(new, receipt, role, after.runtime.name)
    add_files(new, {RECEIPT: receipt.to_bytes()})
    with events.stage("verifying from raw bytes"):
        verification = verify(new)
    if not verification.ok:
        raise Refusal(
            "the shrunk model predicts differently in a new process: "
            + "; ".join(verification.problems)
        )
    return receipt, verification


def _state_figures(folder: Path, receipt: Receipt, role: str, runtime: str) -> None:
    """Replace the bundle's metrics by those of the new default program. The gain of calibration is
    dropped: it was not measured again."""
    record = read_record(folder)
    before = record["metrics"]
    after = {
        **before,
        "role": role,
        "split": before.get("split", role) if before.get("role") == role else role,
        "runtime": runtime,
        "metrics": {figure["name"]: figure["after"] for figure in receipt.figures},
        "calibration": None,
    }
    write_record(folder, {**record, "metrics": after})


def speed(new: Path, original: Path, *, seconds: float) -> dict[str, Any]:
    """Latency of the new default program against the original's eager torch and float programs.

    One candidate runs twice, as a control: the ratio of the two is "control", and should be "no
    difference".
    """
    threads = usual_threads()
    bundle, programs = Bundle.load(original), read_programs(original)
    shrunk, default = Bundle.load(new), read_programs(new).default
    arrays = input_of(bundle).example(1)
    floats = [name for name in FLOATS if name in programs.rows]
    calls = {
        name: bind(open_runtime(original, bundle, name, threads=threads), arrays)
        for name in (EAGER, *floats)
    }
    candidate = default or EAGER
    runtime = open_runtime(new, shrunk, candidate, threads=threads)
    if candidate in calls:
        candidate = f"{candidate}, shrunk"
    calls[candidate] = bind(runtime, input_of(shrunk).example(1))
    control = floats[-1] if floats else EAGER
    again = f"{control}, again"
    calls[again] = bind(open_runtime(original, bundle, control, threads=threads), arrays)
    result = race(calls, seconds=seconds, threads=threads)
    control_ratio = result.ratio(again, control)
    if not control_ratio.steady:
        events.warn(
            f"Two equal programs differed ({control_ratio.words}): this machine was too busy for "
            "reliable latencies. Measure again when it is quiet."
        )
    slower = [EAGER, *([result.fastest(*floats)] if floats else [])]
    return {
        **result.to_json(),
        "float_mode": result.fastest(*floats) if floats else None,
        "ratios": [
            {"slow": name, "fast": candidate, **result.ratio(name, candidate).to_json()}
            for name in slower
        ],
        "control": {"slow": again, "fast": control, **control_ratio.to_json()},
        "steady": control_ratio.steady,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "openvino", "nncf", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}
