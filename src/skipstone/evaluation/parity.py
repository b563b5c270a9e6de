"""verify: check that every exported program gives the same predictions as the trained network.

The bundle holds the network's predictions for its goldens. A new process predicts the goldens again
from their raw bytes, with every runtime: the network in torch, each program in exports/, and the
stand-alone script. The bundle states the tolerance of each. A program with weights of its own is
also compared with its own stored outputs (`reference_outputs`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.bundle.format import WEIGHTS_FILE
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events
from skipstone.core.errors import DamagedError, SkipstoneError, UsageError
from skipstone.core.strict_json import JsonFields
from skipstone.inference.export.script import SCRIPT_PROGRAM, find_script_program, run_script
from skipstone.inference.golden_outputs import (
    Goldens,
    compare_outputs,
    input_digest,
    meaning_digests,
    predict_goldens,
    prediction_fields,
    runtime_versions,
)
from skipstone.inference.open_model import open_runtime
from skipstone.inference.programs import (
    Program,
    Tolerance,
    cap_tolerance,
    exceeded_tolerances,
    float32_tolerance,
    load_reference_outputs,
    needs_reference_outputs,
    read_programs,
)
from skipstone.inference.reference_outputs import (
    MAX_RELATIVE_ERROR,
    format_kernels,
    kernel_mismatch_reason,
    reports_kernels,
)
from skipstone.inference.restore import restore_input


@dataclass(frozen=True)
class Verification(JsonFields):
    """The result of `verify`.

    Args:
        ok: every check passed.
        max_difference: greatest difference in probability over all runtimes.
        flips: predictions that changed, over all runtimes, without near ties.
        rows: one per check: {"name", "ok", "problem"}. Rows of runtimes also have "max_difference",
            "max_relative", "flips", "near_ties", "n", "tolerance", "precision". Rows of programs
            with stored outputs of their own have "own": {"compared": whether they were compared,
            "remark": a sentence}, with "difference" and "allowed", relative to their scale, if so.
    """

    ok: bool
    max_difference: float
    flips: int
    rows: list[dict[str, Any]]

    @property
    def problems(self) -> list[str]:
        """The failed checks, one sentence each."""
        return [f"{row['name']}: {row['problem']}" for row in self.rows if not row["ok"]]

    @staticmethod
    def from_rows(rows: list[dict[str, Any]]) -> Verification:
        measured = [row for row in rows if "max_difference" in row]
        return Verification(
            all(row["ok"] for row in rows) and bool(measured),
            max((row["max_difference"] for row in measured), default=0.0),
            sum(row["flips"] for row in measured),
            rows,
        )


#: Run by a new interpreter that ignores the environment (-I); it gets this process's `sys.path`, so
#: that it finds the same plugins, and a line later the model's folder.
_FRESH = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
from skipstone.evaluation.parity import main
if folder := sys.stdin.readline():
    main(json.loads(folder))
"""


class VerifyingProcess:
    """A new process that verifies a model. It imports what it needs while this one goes on, so it may
    be started before the model is complete."""

    def __enter__(self) -> VerifyingProcess:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _FRESH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._write_line(sys.path)
        return self

    def __exit__(self, *_: object) -> None:
        with self._errors, self._process:
            self._process.kill()  # nothing that it still does counts

    def verify(self, path: Path | str) -> Verification:
        """Predict the goldens again and compare; once.

        Raises:
            UsageError: not a model, no goldens, or a missing plugin.
        """
        folder = resolve_bundle(path).absolute()
        self._write_line(str(folder))
        assert self._process.stdout is not None
        lines = []
        with events.progress_stage(
            "verifying from raw bytes", total=_count_checks(folder), unit="checks"
        ) as advance:
            for line in self._process.stdout:
                lines.append(line)
                advance()
            code = self._process.wait()
        try:
            *rows, last = map(json.loads, lines)
        except ValueError:
            rows, last = [], {}
        if "usage" in last:
            raise UsageError(last["usage"], hint=last["hint"])
        if last != {"checks": len(rows)}:
            self._errors.seek(0)
            ending = "\n".join(self._errors.read().strip().splitlines()[-3:])
            raise SkipstoneError(
                f"the process that verifies {folder} ended with code {code}: {ending}"
            )
        return Verification.from_rows(rows)

    def _write_line(self, value: Any) -> None:
        """Nothing is written to a process that has ended; `verify` says so."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()


def verify(path: Path | str) -> Verification:
    """Predict the goldens of a model again in a new process, and compare.

    Raises:
        UsageError: not a model, no goldens, or a missing plugin.
    """
    with VerifyingProcess() as process:
        return process.verify(path)


def _count_checks(folder: Path) -> int | None:
    """The lines that the process prints for a sound bundle; None for one that cannot be read."""
    try:
        return 6 + len(read_programs(folder).by_name)
    except SkipstoneError:
        return None


Row = dict[str, Any]
NETWORK = Program("torch-f32", "torch", "f32", {})
SCRIPT = "stand-alone script"


def main(folder: str) -> None:
    """Check a bundle and print a JSON object per check, and at last their number, or why there are
    none; alone on standard output."""
    true_output = os.dup(1)
    os.dup2(2, 1)  # what libraries print goes to standard error

    def write(value: dict[str, Any]) -> None:
        os.write(true_output, (json.dumps(value) + "\n").encode())

    count = 0
    try:
        for row in run_checks(Path(folder)):
            write(row)
            count += 1
    except (UsageError, DamagedError) as error:
        write({"usage": error.message, "hint": error.hint})
        return
    write({"checks": count})


def run_checks(folder: Path) -> Iterator[Row]:
    """One row per check. UsageError if the bundle has no goldens."""
    row, _ = _guarded("files", lambda: _check_files(folder))
    yield row
    if not row["ok"]:
        return  # never parse a damaged file
    goldens = Goldens.load(folder)
    yield _guarded("preprocessing", lambda: _check_preprocessing(goldens))[0]
    yield _guarded("meaning", lambda: _check_meaning(folder, goldens))[0]
    row, programs = _guarded("programs", lambda: read_programs(folder))
    if programs is None:
        yield row
        return
    network = replace(NETWORK, tolerance=float32_tolerance(read_bundle_json(folder)))
    rows: dict[str, Row] = {}
    for program in (network, *programs.by_name.values()):
        rows[program.name] = row = _check_runtime(folder, goldens, program)
        yield row
    if (name := find_script_program(goldens.bundle, programs)) is not None:
        yield _guarded(SCRIPT, lambda: _check_script(folder, goldens, name, rows[name]))[0]


def _guarded(name: str, make: Callable[[], Any]) -> tuple[Row, Any]:
    """The row of a check, and the value that it returned; a string is a problem."""
    try:
        value = make()
    except SkipstoneError as error:
        return {"name": name, "ok": False, "problem": str(error)}, None
    problem = value if isinstance(value, str) else ""
    return {"name": name, "ok": not problem, "problem": problem}, value


def _check_files(folder: Path) -> str:
    record = read_bundle_json(folder)
    problems = []
    for name in record["files"]:
        try:
            read_file(folder, name, record)
        except DamagedError as error:
            problems.append(str(error))
    return " ".join(problems)


def _check_preprocessing(goldens: Goldens) -> str:
    """Check that the same bytes are still decoded to the same arrays, bit by bit."""
    input = restore_input(goldens.bundle)
    rows = zip(goldens.record["files"], goldens.sources, strict=True)
    changed = [row["file"] for row, source in rows if input_digest(input, source) != row["arrays"]]
    if not changed:
        return ""
    stored, current = goldens.record["versions"], runtime_versions()
    packages = [f"{name} {stored.get(name)} then, {current[name]} now" for name in current]
    return (
        f"preprocessing of {len(changed)} of {len(goldens.sources)} goldens differs from when the "
        f"model was made: {', '.join(changed[:3])} ({'; '.join(packages)})"
    )


def _check_meaning(folder: Path, goldens: Goldens) -> str:
    """Check that weights, classes, options and post-processing are those of the goldens."""
    record = read_bundle_json(folder)
    current, stored = meaning_digests(record), goldens.record["meaning"]
    changed = [f"{name} in bundle.json" for name in current if current[name] != stored.get(name)]
    if record["files"][WEIGHTS_FILE]["sha256"] != goldens.record["weights"]:
        changed.append(WEIGHTS_FILE)
    return f"changed since the goldens were stored: {', '.join(changed)}" if changed else ""


def _check_runtime(folder: Path, goldens: Goldens, program: Program) -> Row:
    precision = program.precision
    tolerance = cap_tolerance(program.tolerance, precision, len(goldens.sources))
    row: Row = {"name": program.name, "ok": False, "problem": "", "tolerance": asdict(tolerance)}
    try:
        reference = load_reference_outputs(folder, program)
        threads = None if reference is None else 1  # as when they were stored
        runtime = open_runtime(folder, goldens.bundle, program.name, threads=threads)
        measured, answers, _ = compare_outputs(goldens, runtime, reference)
        predictions = prediction_fields(goldens.make_predictor(runtime), answers)
    except SkipstoneError as error:
        return {**row, "problem": str(error)}
    excused = measured["flips"] + measured["near_ties"]
    # In low precision near ties may swap, or another box may be suppressed; `Task.difference` says
    # how much may change. Decoding is the same code for every program, so its result is compared
    # only in float32, where the outputs are equal.
    decoding = ""
    if tolerance.relative is not None:
        decoding = _compare_fields(goldens.record["predictions"], predictions, tolerance, excused)
    facts = runtime.runtime_info()
    used = facts["precision"]
    # a processor without bfloat16 computes bf16 programs in float32, which is allowed
    is_honest = used == precision or (precision == "bf16" and used == "f32")
    mismatch = "" if is_honest else f"it runs in {used}, not in {precision} as stated"
    drift, own_row = _compare_own(program, measured, facts)
    if reference is None and reports_kernels(facts) and needs_reference_outputs(folder, program):
        drift = "its own outputs are not stored, so changed weights could not be noticed"
    problems = [
        text
        for text in (exceeded_tolerances(measured, tolerance), decoding, mismatch, drift)
        if text
    ]
    return {
        **row,
        **own_row,
        "ok": not problems,
        "problem": "; ".join(problems),
        "precision": used,
        "max_difference": _finite(measured["probability"]),
        "max_relative": _finite(measured["relative"]),
        "flips": measured["flips"],
        "near_ties": measured["near_ties"],
        "n": measured["n"],
        **({"share": measured["share"]} if "share" in measured else {}),
    }


def _compare_own(
    program: Program, measured: Row, facts: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The problem and the entry "own" of the row of a program that stores outputs of its own; both
    empty for other programs."""
    if "own" not in measured:
        return "", {}
    mismatch = kernel_mismatch_reason(program.measured["facts"], facts)
    if mismatch:
        sentence = f"compared with the network's outputs only, because {mismatch}"
        return "", {"own": {"compared": False, "remark": sentence}}
    gap = measured["own"]
    sentence = (
        f"compared with its own stored outputs, on the same kernels ({format_kernels(facts['kernels'])}): "
        f"they differ by {gap:.1e} of their scale, allowed {MAX_RELATIVE_ERROR:.0e}"
    )
    row = {
        "compared": True,
        "difference": _finite(gap),
        "allowed": MAX_RELATIVE_ERROR,
        "remark": sentence,
    }
    problem = (
        f"outputs differ by {gap:.2g} of their scale from those of this program when it was made, "
        f"on the same kernels (allowed {MAX_RELATIVE_ERROR:.0e})"
    )
    return ("" if gap <= MAX_RELATIVE_ERROR else problem), {"own": row}


def _compare_fields(
    stored: list[Row], predictions: list[Row], tolerance: Tolerance, excused: int
) -> str:
    """The problem if more than `excused` predictions differ; a tie may reorder alternatives."""
    changed = [
        (before, after)
        for before, after in zip(stored, predictions, strict=True)
        if any(not _is_close(before[name], after.get(name), tolerance) for name in before)
    ]
    if len(changed) <= excused:
        return ""
    before, after = changed[0]
    return f"{len(changed)} of {len(stored)} predictions differ: {after}, not {before}"


def _is_close(before: Any, after: Any, tolerance: Tolerance) -> bool:
    if isinstance(before, float) and isinstance(after, int | float):
        # numbers above 1 are coordinates, whose rounding grows with them
        return abs(before - after) <= tolerance.probability * max(1.0, abs(before))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        if before and isinstance(before[0], dict):
            return _is_close_ranked(before, after, tolerance)
        return all(_is_close(*pair, tolerance) for pair in zip(before, after, strict=True))
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return all(_is_close(before[name], after[name], tolerance) for name in before)
    return bool(before == after)


def _is_close_ranked(before: list[Any], after: list[Any], tolerance: Tolerance) -> bool:
    """Alternatives in the order of their numbers: on a tie names may swap, numbers may not."""
    return all(
        isinstance(one, dict)
        and isinstance(other, dict)
        and one.keys() == other.keys()
        and all(
            _is_close(one[name], other[name], tolerance)
            for name in one
            if isinstance(one[name], float) or isinstance(other[name], float)
        )
        for one, other in zip(before, after, strict=True)
    )


def _check_script(folder: Path, goldens: Goldens, name: str, program_row: Row) -> str:
    """Check the predictions of the script, in a process that cannot import skipstone and torch.

    The script runs the program `name` of `program_row` and has its tolerance: as many predictions
    may differ as there. Numbers may differ within the tolerance, names and sizes may not. Another
    program than the float32 one is compared with its own predictions in this process.
    """
    predictions = run_script(folder, goldens.sources, name)
    expected = goldens.record["predictions"]
    tolerance = Tolerance(**program_row["tolerance"])
    if name != SCRIPT_PROGRAM:
        predictor = goldens.make_predictor(open_runtime(folder, goldens.bundle, name))
        expected = prediction_fields(
            predictor, predict_goldens(predictor, goldens.sources, batch_size=1)
        )
    excused = program_row.get("flips", 0) + program_row.get("near_ties", 0)
    return _compare_fields(expected, predictions, tolerance, excused)


def _finite(value: float) -> float:
    """JSON has no infinity."""
    return value if math.isfinite(value) else sys.float_info.max
