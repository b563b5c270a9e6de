"""shrink: carry out a plan on a copy of a model, and keep it only if it holds up.

    original -> steps -> new bundle -> select decides -> claim proves -> verify -> in place

The original is only read. The new bundle is made in a temporary folder beside its place, and
replaces nothing; a refusal or an error leaves nothing of it, a kill what the run's next owner
removes.
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
    bundle: the smaller model, or the original where it was refused.
    receipt: as `Receipt.to_json` gives it; also in the new bundle, as receipt.json.
    verification: of the new bundle; None where it was refused.
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
    """Leaves the block that makes the new bundle, so that nothing of it stays."""

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
    """Make `out`, a bundle where nothing is yet, or keep `original`.

    Args:
        original: a bundle folder.
        manifest: rows with their roles.
        max_drop: points of the headline metric that may be lost.

    Raises:
        Refusal: the new bundle does not verify, or a step cannot work on this model.
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
            "the shrunk model does not answer in a fresh process as it did here: "
            + "; ".join(verification.problems)
        )
    return receipt, verification


def _state_figures(folder: Path, receipt: Receipt, role: str, runtime: str) -> None:
    """The bundle's own figures become those of what answers in it now. What calibration did to the
    network before is none of them, and was not measured again."""
    record = read_record(folder)
    known = record["metrics"]
    figures = {figure["name"]: figure["after"] for figure in receipt.figures}
    stated = {
        **known,
        "role": role,
        "split": known.get("split", role) if known.get("role") == role else role,
        "runtime": runtime,
        "metrics": figures,
        "calibration": None,
    }
    write_record(folder, {**record, "metrics": stated})


def speed(new: Path, original: Path, *, seconds: float) -> dict[str, Any]:
    """Latency of the new default program against the original's eager torch and float programs.

    One candidate runs a second time, as a control: what the machine makes of two equal ones is in
    "control", and should read "no difference".
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
    answers = default or EAGER
    runtime = open_runtime(new, shrunk, answers, threads=threads)
    if answers in calls:
        answers = f"{answers}, shrunk"
    calls[answers] = bind(runtime, input_of(shrunk).example(1))
    control = floats[-1] if floats else EAGER
    again = f"{control}, again"
    calls[again] = bind(open_runtime(original, bundle, control, threads=threads), arrays)
    found = race(calls, seconds=seconds, threads=threads)
    same = found.ratio(again, control)
    if not same.steady:
        events.warn(
            f"Two equal programs seemed to differ ({same.words}): this machine was too busy for "
            "latencies that mean anything. Measure again when it is quiet."
        )
    slower = [EAGER, *([found.fastest(*floats)] if floats else [])]
    return {
        **found.to_json(),
        "float_mode": found.fastest(*floats) if floats else None,
        "ratios": [
            {"slow": name, "fast": answers, **found.ratio(name, answers).to_json()}
            for name in slower
        ],
        "control": {"slow": again, "fast": control, **same.to_json()},
        "steady": same.steady,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "openvino", "nncf", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}
