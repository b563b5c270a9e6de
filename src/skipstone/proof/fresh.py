"""The checks of `verify`, as they run in its fresh process. See `proof.parity`."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_file, read_record
from skipstone.bundle.format import WEIGHTS
from skipstone.errors import DamagedError, SkipstoneError, UsageError
from skipstone.runtime.goldens import Goldens, compare, digest, fields, meanings, versions
from skipstone.runtime.open import open_runtime
from skipstone.runtime.own_answers import CLOSE, named, other_arithmetic
from skipstone.runtime.parts import input_of
from skipstone.runtime.programs import (
    Program,
    Tolerance,
    beyond,
    capped,
    exact_tolerance,
    own_answers,
    read_programs,
)
from skipstone.runtime.standalone import STANDS_ALONE, answers_of_script, can_stand_alone

Row = dict[str, Any]
NETWORK = Program("torch-f32", "torch", "f32", {})
SCRIPT = "stand-alone script"


def main(folder: str) -> None:
    """Check a bundle and print one JSON object, alone on the true standard output."""
    true_output = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    try:
        answer: dict[str, Any] = {"rows": list(check(Path(folder)))}
    except (UsageError, DamagedError) as error:
        answer = {"usage": error.message, "hint": error.hint}
    sys.stdout.flush()
    os.write(true_output, (json.dumps(answer) + "\n").encode())


def check(folder: Path) -> Iterator[Row]:
    """One row a check. UsageError where there is nothing to check against."""
    row, _ = _guarded("files", lambda: _check_files(folder))
    yield row
    if not row["ok"]:
        return  # no parser opens what is damaged
    goldens = Goldens.load(folder)
    yield _guarded("preprocessing", lambda: _check_preprocessing(goldens))[0]
    yield _guarded("meaning", lambda: _check_meaning(folder, goldens))[0]
    row, programs = _guarded("programs", lambda: read_programs(folder))
    if programs is None:
        yield row
        return
    network = replace(NETWORK, tolerance=exact_tolerance(read_record(folder)))
    rows: dict[str, Row] = {}
    for program in (network, *programs.rows.values()):
        rows[program.name] = row = _check_runtime(folder, goldens, program)
        yield row
    if can_stand_alone(goldens.bundle, programs):
        answered = rows[STANDS_ALONE]
        yield _guarded(SCRIPT, lambda: _check_script(folder, goldens, answered))[0]


def _guarded(name: str, make: Callable[[], Any]) -> tuple[Row, Any]:
    """The row of a check that returns what is wrong, or something else; and what it returned."""
    try:
        found = make()
    except SkipstoneError as error:
        return {"name": name, "ok": False, "problem": str(error)}, None
    problem = found if isinstance(found, str) else ""
    return {"name": name, "ok": not problem, "problem": problem}, found


def _check_files(folder: Path) -> str:
    record = read_record(folder)
    problems = []
    for name in record["files"]:
        try:
            read_file(folder, name, record)
        except DamagedError as error:
            problems.append(str(error))
    return " ".join(problems)


def _check_preprocessing(goldens: Goldens) -> str:
    """Whether the same bytes still become the same arrays, bit by bit."""
    input = input_of(goldens.bundle)
    rows = zip(goldens.record["files"], goldens.sources, strict=True)
    changed = [row["file"] for row, source in rows if digest(input, source) != row["arrays"]]
    if not changed:
        return ""
    then, now = goldens.record["versions"], versions()
    differing = [f"{name} {then.get(name)} then, {now[name]} now" for name in now]
    return (
        f"{len(changed)} of {len(goldens.sources)} goldens are prepared otherwise than when the "
        f"model was made: {', '.join(changed[:3])} ({'; '.join(differing)})"
    )


def _check_meaning(folder: Path, goldens: Goldens) -> str:
    """Whether weights, classes, options and post-processing are those of the goldens."""
    record = read_record(folder)
    found, stored = meanings(record), goldens.record["meaning"]
    changed = [f"{name} in bundle.json" for name in found if found[name] != stored.get(name)]
    if record["files"][WEIGHTS]["sha256"] != goldens.record["weights"]:
        changed.append(WEIGHTS)
    return f"changed since the goldens were stored: {', '.join(changed)}" if changed else ""


def _check_runtime(folder: Path, goldens: Goldens, program: Program) -> Row:
    precision = program.precision
    tolerance = capped(program.tolerance, precision, len(goldens.sources))
    row: Row = {"name": program.name, "ok": False, "problem": "", "tolerance": asdict(tolerance)}
    try:
        own = own_answers(folder, program)
        threads = None if own is None else 1  # as they came about
        runtime = open_runtime(folder, goldens.bundle, program.name, threads=threads)
        measured, answers, _ = compare(goldens, runtime, own)
        found = fields(goldens.predictor(runtime), answers)
    except SkipstoneError as error:
        return {**row, "problem": str(error)}
    excused = measured["flips"] + measured["near_ties"]
    # In low precision what is nearly equal may change places, or be suppressed by another box: how
    # much may change is for the task's `difference` to say. What answers mean is the same code
    # for every program, and compared where the numbers are the same, in float32.
    shown = ""
    if tolerance.relative is not None:
        shown = _compare_fields(goldens.record["predictions"], found, tolerance, excused)
    facts = runtime.facts()
    used = facts["precision"]
    # a processor without bfloat16 computes those programs in float32, which is no fault
    honest = used == precision or (precision == "bf16" and used == "f32")
    told = "" if honest else f"it runs in {used}, not in {precision} as it says"
    itself, held = _compare_own(program, measured, facts)
    problems = [text for text in (beyond(measured, tolerance), shown, told, itself) if text]
    return {
        **row,
        **held,
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
    """What is wrong beside the program's own answers of when it was made, and how it was held to
    them, for the row; nothing of either where it keeps none."""
    if "own" not in measured:
        return "", {}
    other = other_arithmetic(program.measured["facts"], facts)
    if other:
        told = f"held to the network's answers alone, because {other}"
        return "", {"own": {"held": False, "told": told}}
    gap = measured["own"]
    told = (
        f"held to its own answers, on the same kernels ({named(facts['kernels'])}): "
        f"{gap:.1e} of their scale away, allowed {CLOSE:.0e}"
    )
    row = {"held": True, "difference": _finite(gap), "allowed": CLOSE, "told": told}
    problem = (
        f"outputs are {gap:.2g} of their scale away from what this program answered when it was "
        f"made, on the same kernels (allowed {CLOSE:.0e})"
    )
    return ("" if gap <= CLOSE else problem), {"own": row}


def _compare_fields(stored: list[Row], found: list[Row], tolerance: Tolerance, excused: int) -> str:
    """The answers proper (not ranked alternatives, whose order may change on a tie)."""
    changed = [
        (before, after)
        for before, after in zip(stored, found, strict=True)
        if any(not _alike(before[name], after.get(name), tolerance) for name in before)
    ]
    if len(changed) <= excused:
        return ""
    before, after = changed[0]
    return f"{len(changed)} of {len(stored)} predictions read otherwise: {after}, not {before}"


def _alike(before: Any, after: Any, tolerance: Tolerance) -> bool:
    if isinstance(before, float) and isinstance(after, int | float):
        return abs(before - after) <= tolerance.probability
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        if before and isinstance(before[0], dict):
            return _alike_ranked(before, after, tolerance)
        return all(_alike(*pair, tolerance) for pair in zip(before, after, strict=True))
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return all(_alike(before[name], after[name], tolerance) for name in before)
    return bool(before == after)


def _alike_ranked(before: list[Any], after: list[Any], tolerance: Tolerance) -> bool:
    """Alternatives in order of their numbers: names may change places on a tie, numbers may not."""
    return all(
        isinstance(one, dict)
        and isinstance(other, dict)
        and one.keys() == other.keys()
        and all(
            _alike(one[name], other[name], tolerance)
            for name in one
            if isinstance(one[name], float) or isinstance(other[name], float)
        )
        for one, other in zip(before, after, strict=True)
    )


def _check_script(folder: Path, goldens: Goldens, answered: Row) -> str:
    """Whether the script, in a process where skipstone and torch cannot be imported, agrees.

    It runs the program of the row `answered`, and is held to what that one is: answers that changed
    there may read otherwise here. Where numbers are free, names and sizes are not.
    """
    found = answers_of_script(folder, goldens.sources)
    excused = answered.get("flips", 0) + answered.get("near_ties", 0)
    tolerance = Tolerance(**answered["tolerance"])
    return _compare_fields(goldens.record["predictions"], found, tolerance, excused)


def _finite(value: float) -> float:
    """JSON has no infinity."""
    return value if math.isfinite(value) else sys.float_info.max
