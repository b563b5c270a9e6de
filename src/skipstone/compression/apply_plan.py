"""shrink: run a plan on a copy of a model, and keep the copy only if it is accurate enough.

    original -> steps -> new bundle -> val decides -> test proves -> verify -> in place

The original is read-only. The new bundle is made in a temporary folder next to its destination and
overwrites nothing. A refusal or an error removes it. After a kill, the same call resumes at the last
finished step, which is kept in `<out>.unfinished`.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import add_files, read_bundle_json, write_bundle_json
from skipstone.bundle.format import WEIGHTS_FILE, Bundle
from skipstone.compression.latency import (
    NOT_COMPARABLE,
    default_threads,
    interleaved_benchmark,
    make_timed_call,
)
from skipstone.compression.receipt import (
    RECEIPT_FILE,
    ShrinkReceipt,
    compare_accuracy,
    compare_metrics,
    measure_sizes,
)
from skipstone.compression.rehearsal import fit_without_fold, needs_rehearsal
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.core import events, storage
from skipstone.core.disk import TEMPORARY_PREFIX
from skipstone.core.errors import Interrupted, Refusal, SkipstoneError
from skipstone.core.results import TableResult
from skipstone.data.manifest import Manifest
from skipstone.evaluation.parity import Verification, verify
from skipstone.evaluation.scores import require_readable
from skipstone.inference.open_model import open_model, open_runtime
from skipstone.inference.predictor import Evaluation, Predictor
from skipstone.inference.programs import read_programs, remove_other_programs
from skipstone.inference.restore import restore_input
from skipstone.tasks.base import headline_metric

EAGER_RUNTIME = "torch-f32"
FLOAT_RUNTIMES = ("openvino-f32", "openvino-bf16")


@dataclass(frozen=True)
class ShrinkResult(TableResult):
    """The result of `shrink`; as a table, every metric before and after.

    Args:
    bundle: the smaller model, or the original after a refusal.
    receipt: as `ShrinkReceipt.to_json` returns it; also in the new bundle, as receipt.json.
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

    def table_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "metric": row["name"],
                **{
                    f"{when} {name}": row[when][name]
                    for when in ("before", "after")
                    for name in ("value", "low", "high")
                },
            }
            for row in self.receipt["figures"]
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle),
            "receipt": dict(self.receipt),
            "accepted": self.accepted,
            "proven": self.proven,
        }


def load_result(bundle: Path) -> ShrinkResult:
    """The result that a finished shrink left in `bundle`, verified again."""
    receipt = storage.read_json(bundle / RECEIPT_FILE)
    shutil.rmtree(_unfinished_steps(bundle), ignore_errors=True)  # of a killed process
    return ShrinkResult(bundle, receipt, receipt["accepted"], receipt["proven"], verify(bundle))


def _unfinished_steps(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


class _TooMuchLost(Exception):
    """Leaves the block that makes the new bundle, which removes it."""

    def __init__(self, receipt: ShrinkReceipt) -> None:
        self.receipt = receipt


def shrink(
    original: Path,
    manifest: Manifest,
    plan: ShrinkPlan,
    *,
    max_drop: float,
    out: Path,
    seed: int = 0,
    latency_seconds: float = 8.0,
    origin: str = "",
) -> ShrinkResult:
    """Make the new bundle `out`, or keep `original`.

    Args:
        original: a bundle folder.
        manifest: rows with their roles.
        max_drop: allowed drop in points of the headline metric.
        origin: as for `storage.write_folder`.

    Raises:
        Refusal: the new bundle fails to verify, or a step does not support this model.
    """
    unfinished = _unfinished_steps(out)
    train_rows, val_rows = (manifest.rows_with_role(role) for role in ("train", "val"))
    try:
        with storage.write_folder(out, must_be_new=True, origin=origin) as new:
            work = StepContext(original, new, train_rows, val_rows, seed, unfinished=unfinished)
            receipt, verification = _make(work, plan, manifest, max_drop, latency_seconds)
    except _TooMuchLost as lost:
        shutil.rmtree(unfinished, ignore_errors=True)
        return ShrinkResult(original, lost.receipt.to_json(), False, False)
    except SkipstoneError as error:
        if not isinstance(error, Interrupted):
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(unfinished, ignore_errors=True)
    return ShrinkResult(out, receipt.to_json(), receipt.accepted, receipt.proven, verification)


def _make(
    work: StepContext,
    plan: ShrinkPlan,
    manifest: Manifest,
    max_drop: float,
    latency_seconds: float,
) -> tuple[ShrinkReceipt, Verification]:
    """Make the new bundle, measure it and verify it."""
    if needs_rehearsal(work.source, manifest):
        receipt = _rehearse(work, plan, manifest, max_drop, latency_seconds)
    else:
        steps, test_rows = run_steps(plan, work), manifest.rows_with_role("test")
        receipt = _measure(work, plan, steps, test_rows, max_drop, latency_seconds)
    _state_figures(work.out, receipt, open_model(work.out).runtime.name)
    add_files(work.out, {RECEIPT_FILE: receipt.to_bytes()})
    verification = verify(work.out)
    if not verification.ok:
        raise Refusal(
            "the shrunk model predicts differently in a new process: "
            + "; ".join(verification.problems)
        )
    return receipt, verification


def _rehearse(
    work: StepContext,
    plan: ShrinkPlan,
    manifest: Manifest,
    max_drop: float,
    latency_seconds: float,
) -> ShrinkReceipt:
    """Measure the plan on a model that one fold is new to, then apply it to the model itself."""
    with tempfile.TemporaryDirectory(dir=work.out.parent, prefix=TEMPORARY_PREFIX) as temporary:
        first, second = Path(temporary, "original"), Path(temporary, "shrunk")
        storage.make_folder(second)
        rows = fit_without_fold(work.source, manifest, first, work.seed)
        train_rows, val_rows, test_rows = (
            rows.rows_with_role(role) for role in ("train", "val", "test")
        )
        trial = StepContext(first, second, train_rows, val_rows, work.seed)
        steps = run_steps(plan, trial)
        receipt = _measure(trial, plan, steps, test_rows, max_drop, None, rehearsed=True)
        post = Bundle.load(second).post
        steps = run_steps(plan, replace(work, val_rows=val_rows, post=post))
        remove_other_programs(work.out)
    original, new = work.source, work.out
    return replace(
        receipt,
        steps=steps,
        sizes=measure_sizes(new, original),
        latency=measure_latency(new, original, seconds=latency_seconds),
        made_from=read_bundle_json(original)["files"][WEIGHTS_FILE]["sha256"],
    )


def _measure(
    work: StepContext,
    plan: ShrinkPlan,
    steps: list[dict[str, Any]],
    test_rows: Manifest,
    max_drop: float,
    latency_seconds: float | None,
    *,
    rehearsed: bool = False,
) -> ShrinkReceipt:
    """Compare the new bundle with the original; `_TooMuchLost` if it is not accurate enough."""
    original, new, val_rows, seed = work.source, work.out, work.val_rows, work.seed
    remove_other_programs(new)
    before, after = open_model(original, "torch"), open_model(new)
    scored = _evaluate_both(before, after, val_rows, "val")
    decided = compare_accuracy(before.task, *scored, role="val", seed=seed)
    seconds = latency_seconds
    receipt = ShrinkReceipt(
        plan=str(plan),
        steps=steps,
        metric=headline_metric(before.task).name,
        title=headline_metric(before.task).title,
        max_drop=max_drop,
        val=decided,
        test=None,
        sizes=measure_sizes(new, original),
        latency=None if seconds is None else measure_latency(new, original, seconds=seconds),
        made_from=read_bundle_json(original)["files"][WEIGHTS_FILE]["sha256"],
        versions=_versions(),
        rehearsed=rehearsed,
    )
    if not receipt.accepted:
        raise _TooMuchLost(receipt)
    if len(test_rows):
        scored = _evaluate_both(before, after, test_rows, "test")
        test = compare_accuracy(before.task, *scored, role="test", seed=seed)
        receipt = replace(receipt, test=test)
    return replace(receipt, figures=compare_metrics(before.task, *scored, seed=seed))


def _evaluate_both(
    before: Predictor, after: Predictor, rows: Manifest, role: str
) -> tuple[Evaluation, Evaluation]:
    """DataError if a row can no longer be read: the two would be compared on other rows."""
    both = before.evaluate(rows), after.evaluate(rows)
    for evaluation in both:
        require_readable(evaluation, len(rows), role)
    return both


def _state_figures(folder: Path, receipt: ShrinkReceipt, runtime: str) -> None:
    """Replace the bundle's metrics by those of the new default program. The gain of calibration is
    dropped: it was not measured again."""
    record = read_bundle_json(folder)
    before, role = record["metrics"], (receipt.test or receipt.val).role
    split = before.get("split", role) if before.get("role") == role else role
    if receipt.rehearsed:
        split = "rows that a second model, fitted and shrunk in the same way, was not fitted on"
    after = {
        **before,
        "role": role,
        "split": split,
        "runtime": runtime,
        "metrics": {figure["name"]: figure["after"] for figure in receipt.figures},
        "calibration": None,
    }
    write_bundle_json(folder, {**record, "metrics": after})


def measure_latency(new: Path, original: Path, *, seconds: float) -> dict[str, Any]:
    """Latency of the new default program against the original's eager torch and float programs.

    One candidate runs twice, as a control: the ratio of the two is "control". Unless its interval is
    close to 1, no other ratio is stated. "faster" is the comparison with the fastest float program of
    the original; None if they do not differ or cannot be compared.
    """
    threads = default_threads()
    bundle, programs = Bundle.load(original), read_programs(original)
    shrunk, default = Bundle.load(new), read_programs(new).default
    arrays = restore_input(bundle).make_example(1)
    floats = [name for name in FLOAT_RUNTIMES if name in programs.by_name]
    calls = {
        name: make_timed_call(open_runtime(original, bundle, name, threads=threads), arrays)
        for name in (EAGER_RUNTIME, *floats)
    }
    candidate = default or EAGER_RUNTIME
    runtime = open_runtime(new, shrunk, candidate, threads=threads)
    if candidate in calls:
        candidate = f"{candidate}, shrunk"
    calls[candidate] = make_timed_call(runtime, restore_input(shrunk).make_example(1))
    control = floats[-1] if floats else EAGER_RUNTIME
    again = f"{control}, again"
    calls[again] = make_timed_call(open_runtime(original, bundle, control, threads=threads), arrays)
    result = interleaved_benchmark(calls, seconds=seconds, threads=threads)
    control_ratio = result.speed_ratio(again, control)
    if not control_ratio.is_steady:
        events.emit_warning(
            f"Two equal programs differed ({control_ratio.description}): this machine was too busy for "
            "reliable latencies. Measure again when it is quiet."
        )
    float_mode = result.fastest_of(*floats) if floats else None
    others = [EAGER_RUNTIME, *([float_mode] if float_mode else [])]
    ratios = {name: result.speed_ratio(name, candidate) for name in others}
    last = ratios[others[-1]]
    is_steady = control_ratio.is_steady
    unknown = {"value": None, "low": None, "high": None, "words": NOT_COMPARABLE}
    return {
        **result.to_json(),
        "float_mode": float_mode,
        "ratios": [
            {"slow": name, "fast": candidate, **(ratio.to_json() if is_steady else unknown)}
            for name, ratio in ratios.items()
        ],
        "control": {"slow": again, "fast": control, **control_ratio.to_json()},
        "steady": is_steady,
        "faster": last.value > 1 if is_steady and last.is_different else None,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "openvino", "nncf", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}
