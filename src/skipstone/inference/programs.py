"""The programs of a bundle: lowered graphs in `exports/`, one row each in `exports/exports.json`.

A program is added only after it was compared with the network on the bundle's goldens, and the
tolerance for later comparisons is stored with it. All float32 programs share one tolerance; one of
lower precision gets what was measured, plus a margin for other processors, and at most the caps of
its precision: a bundle cannot allow itself more. INT8 is checked on data by the receipt of
`shrink`, and has to have its own stored outputs to be compared with, since no float32 program has
its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.architecture import parse_arch
from skipstone.bundle.files import (
    BUNDLE_JSON,
    add_files,
    read_bundle_json,
    read_file,
    read_listed_json,
    remove_files,
)
from skipstone.bundle.format import WEIGHTS_FILE, read_arrays
from skipstone.core.errors import DamagedError, Refusal, UsageError
from skipstone.core.registry import HEADS, RUNTIMES
from skipstone.inference.golden_outputs import Goldens, compare_outputs
from skipstone.inference.predictor import Runtime
from skipstone.inference.reference_outputs import SampledOutputs, reports_kernels
from skipstone.tasks.base import TYPICAL_QUANTILE

EXPORTS_JSON = "exports/exports.json"
MAX_PROGRAMS = 64


@dataclass(frozen=True)
class Tolerance:
    """How far a program may be from the float32 network on the goldens.

    Args:
        probability: greatest absolute difference of probabilities.
        relative: greatest difference of raw outputs, relative to their scale; None if only
            probabilities are compared.
        flips: predictions that may change, near ties not counted.
        share: share of pixels (of masks) whose class may change; None if it is not checked, as in
            float32, where the limit on probabilities already excludes a change.
        typical: limit for the raw outputs of most pixels (see `Difference`); None if `relative`
            limits all of them.
    """

    probability: float = 1e-4
    relative: float | None = 1e-4
    flips: int = 0
    share: float | None = None
    typical: float | None = None


FLOAT32_TOLERANCE = Tolerance()
#: For float32 programs with a head whose outputs jump when inputs differ in their last bits (its
#: spec field `discontinuous`): if another runtime finds a maximum at another pixel, the outputs around it move.
#: So most pixels have to agree, and a few may change.
DISCONTINUOUS = Tolerance(1.0, None, 2, 0.02, 1e-4)
#: Added to what was measured at lower precision, because other processors round differently: a
#: factor, a constant, and one more prediction that may flip.
MARGIN_FACTOR, MARGIN_OFFSET, MARGIN_FLIPS = 1.25, 0.005, 1
#: Caps of a precision: difference in probability, share of predictions and share of pixels that
#: change, whatever the bundle allows. In bfloat16 sound networks measured below 0.13, 0.07 and 0.03
#: on goldens, which are noisier than photos; one whose first layer lost its input's last bits
#: measured 0.36 and 0.2. In INT8 sound ones measured up to 0.49, 5 of 16 and 0.34.
CAPS = {"bf16": (0.25, 1 / 8, 0.05)}
OTHER_CAPS = (0.75, 3 / 8, 0.5)


@dataclass(frozen=True)
class Program:
    """One way to run the model without torch.

    Args:
        name: "onnxruntime-f32", "openvino-f32", "openvino-bf16", "openvino-int8".
        runtime: a name in RUNTIMES.
        precision: the one it runs in.
        files: role -> name in the bundle: {"model": "exports/openvino/model.xml", ...}.
        settings: further settings of the runtime, JSON-able.
        weights: SHA-256 of the weights that it was made from.
        tolerance: the limits that `verify` checks.
        measured: the differences when it was added, and the runtime's facts.
        reference_outputs: the file with its own outputs on the goldens; "" where the network's are enough.
    """

    name: str
    runtime: str
    precision: str
    files: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    tolerance: Tolerance = FLOAT32_TOLERANCE
    measured: Mapping[str, Any] = field(default_factory=dict)
    reference_outputs: str = ""


@dataclass(frozen=True)
class Programs:
    """Programs by name, and which of them is the default ("" for the network in torch)."""

    by_name: Mapping[str, Program]
    default: str = ""


def read_programs(folder: Path) -> Programs:
    """The programs of a bundle. DamagedError if one was made from other weights."""
    record = read_bundle_json(folder)
    if EXPORTS_JSON not in record["files"]:
        return Programs({})
    content = read_listed_json(folder, EXPORTS_JSON, record)
    try:
        exact = float32_tolerance(record)
        if len(content["programs"]) > MAX_PROGRAMS:
            raise ValueError(f"{len(content['programs']):,} programs are more than {MAX_PROGRAMS}")
        programs = [_program(row, exact) for row in content["programs"]]
        rows = {program.name: program for program in programs}
        if len(rows) < len(programs):
            raise ValueError("two programs have the same name")
        default = content["default"]
        if default not in ("", *rows):
            raise ValueError(f"its default {default!r} is not in the list")
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{folder / EXPORTS_JSON} is not a valid list of programs: {error}."
        ) from None
    for row in rows.values():
        if row.weights != record["files"].get(WEIGHTS_FILE, {}).get("sha256"):
            raise DamagedError(
                f"{folder / EXPORTS_JSON}: the program {row.name} was made from other weights than "
                f"{WEIGHTS_FILE}.",
                hint="Export it again.",
            )
    return Programs(rows, default)


def float32_tolerance(record: Mapping[str, Any]) -> Tolerance:
    """The tolerance of float32 programs, by the bundle's record."""
    heads = [HEADS[network.head.name] for network in parse_arch(record["arch"]).networks]
    return DISCONTINUOUS if any(head.discontinuous for head in heads) else FLOAT32_TOLERANCE


def _program(row: Mapping[str, Any], exact: Tolerance) -> Program:
    """A validated row of exports.json. It cannot loosen its own checks: a float32 program always
    gets the tolerance `exact`, and the name must match the runtime and precision, because programs
    are opened and verified by name."""
    program = Program(**{**row, "tolerance": Tolerance(**row["tolerance"])})
    name = program.name
    texts = (name, program.runtime, program.precision, program.weights, program.reference_outputs)
    maps = (program.files, program.settings, program.measured)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a program's name, runtime, precision, weights and own are text")
    if not all(isinstance(value, dict) for value in maps) or not all(
        isinstance(file, str) for file in program.files.values()
    ):
        raise TypeError(f"{name} does not name its files and settings")
    if name != f"{program.runtime}-{program.precision}":
        raise ValueError(f"{name!r} should be named {program.runtime}-{program.precision}")
    if program.runtime in RUNTIMES and not RUNTIMES[program.runtime].needs_program:
        raise ValueError(f"{name} runs the network itself and cannot have files of its own")
    tolerance = program.tolerance
    numbers = (tolerance.probability, tolerance.flips, tolerance.relative or 0.0)
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise TypeError(f"{name} has no valid tolerance")
    if program.reference_outputs and not reports_kernels(program.measured.get("facts")):
        raise TypeError(f"{name} does not say which kernels computed its own outputs")
    return replace(program, tolerance=exact) if program.precision == "f32" else program


def needs_reference_outputs(folder: Path, program: Program) -> bool:
    """Whether the program has weights that no float32 program of the bundle has."""
    if program.precision == "f32":
        return False
    others = read_programs(folder).by_name.values()
    return program.files not in [other.files for other in others if other.precision == "f32"]


def load_program_files(folder: Path, program: Program) -> dict[str, bytes]:
    """The program's files by role, with their hashes checked."""
    record = read_bundle_json(folder)
    return {role: read_file(folder, name, record) for role, name in program.files.items()}


def load_reference_outputs(folder: Path, program: Program) -> SampledOutputs | None:
    """The program's outputs on the goldens when it was made; None where they are not stored."""
    if not program.reference_outputs:
        return None
    outputs = read_arrays(folder, program.reference_outputs, read_bundle_json(folder))
    return outputs if all("/" in name for name in outputs) else None  # older files lack the prefix


def add_program(
    folder: Path,
    program: Program,
    content: Mapping[str, bytes],
    runtime: Runtime,
    *,
    default: bool = False,
) -> Program:
    """Compare a program with the network on the goldens and add it, or replace the one of its name.

    Args:
        folder: the bundle.
        content: file contents by role, as in `program.files`; files that the bundle already has
            (bfloat16 is a mode of the float32 program) may be left out.
        runtime: ready to run what `content` holds.
        default: whether it becomes the bundle's default.

    Raises:
        UsageError: the bundle has no goldens.
        Refusal: a float32 program's outputs differ from the network's, or a bfloat16 program's
            differ by more than rounding explains.
    """
    from safetensors.numpy import save

    record = read_bundle_json(folder)
    goldens = Goldens.load(folder)
    measured, _, outputs = compare_outputs(goldens, runtime)
    facts = dict(runtime.runtime_info())
    tolerance, remark = _tolerance_for(program, measured, facts, record)
    cap = cap_tolerance(tolerance, program.precision, measured["n"])
    if problem := exceeded_tolerances(measured, cap):
        raise Refusal(f"the exported {program.name} differs from the model: {problem}.")
    others = read_programs(folder)
    store_outputs = reports_kernels(facts) and needs_reference_outputs(folder, program)
    program = replace(
        program,
        weights=record["files"][WEIGHTS_FILE]["sha256"],
        tolerance=tolerance,
        measured={**measured, **remark, "facts": facts},
        reference_outputs=f"golden/{program.name}.safetensors" if store_outputs else "",
    )
    rows = {**others.by_name, program.name: program}
    exports = {
        "default": program.name if default else others.default,
        "programs": [asdict(row) for row in rows.values()],
    }
    text = json.dumps(exports, sort_keys=True, indent=1, allow_nan=False)
    files = {program.files[role]: data for role, data in content.items()}
    missing = [name for name in program.files.values() if name not in {*files, *record["files"]}]
    if missing:
        raise UsageError(f"{folder / BUNDLE_JSON} has no file {missing[0]} for {program.name}.")
    if program.reference_outputs:
        files[program.reference_outputs] = save(outputs)
    add_files(folder, {**files, EXPORTS_JSON: text.encode()})
    return program


def remove_other_programs(folder: Path) -> None:
    """Keep the default program alone, if it has weights of its own: the float32 programs, which can be
    exported again from the network's weights, do not ship."""
    programs = read_programs(folder)
    default = programs.by_name.get(programs.default)
    if default is None or not needs_reference_outputs(folder, default):
        return
    others = [row for row in programs.by_name.values() if row is not default]
    exports = {"default": default.name, "programs": [asdict(default)]}
    text = json.dumps(exports, sort_keys=True, indent=1, allow_nan=False)
    add_files(folder, {EXPORTS_JSON: text.encode()})
    unused = {name for row in others for name in (*row.files.values(), row.reference_outputs)}
    remove_files(folder, unused - {*default.files.values(), default.reference_outputs, ""})


def _tolerance_for(
    program: Program,
    measured: Mapping[str, Any],
    facts: Mapping[str, Any],
    record: Mapping[str, Any],
) -> tuple[Tolerance, dict[str, str]]:
    """The tolerance of a program with these measurements, and a remark to store with them.

    A processor without bfloat16 runs such a program in float32, so the measurement says nothing;
    processors that have it then check the program against the cap.
    """
    if program.precision == "f32":
        return float32_tolerance(record), {}
    share, n, used = measured.get("share"), measured["n"], facts.get("precision")
    if program.precision == "bf16" and used != "bf16":
        loosest = Tolerance(1.0, None, n, None if share is None else 1.0)
        remark = f"it ran in {used}: the difference of bf16 was not measured"
        return cap_tolerance(loosest, "bf16", n), {"remark": remark}
    tolerance = Tolerance(
        min(1.0, round(measured["probability"] * MARGIN_FACTOR + MARGIN_OFFSET, 6)),
        None,
        measured["flips"] + MARGIN_FLIPS,
        None if share is None else min(1.0, round(share * MARGIN_FACTOR + MARGIN_OFFSET, 6)),
    )
    return tolerance, {}


def cap_tolerance(tolerance: Tolerance, precision: str, goldens: int) -> Tolerance:
    """The tolerance, limited by the caps of its precision.

    Args:
        goldens: number of goldens.
    """
    if precision == "f32":  # its tolerance is a constant
        return tolerance
    probability, predictions, pixels = CAPS.get(precision, OTHER_CAPS)
    if tolerance.share is not None and precision not in CAPS:
        probability = 1.0  # of thousands of pixels or boxes, one may change entirely
    return Tolerance(
        min(tolerance.probability, probability),
        tolerance.relative,
        # of predictions per pixel, nearly every golden has a pixel that changed
        min(tolerance.flips, max(1, int(goldens * predictions)))
        if tolerance.share is None
        else tolerance.flips,
        None if tolerance.share is None else min(tolerance.share, pixels),
    )


def exceeded_tolerances(measured: Mapping[str, Any], tolerance: Tolerance) -> str:
    """A description of what exceeds the tolerance; "" if nothing does."""
    problems = []
    if not measured["probability"] <= tolerance.probability:  # NaN exceeds it, too
        problems.append(
            f"probabilities differ by up to {measured['probability']:.2g} "
            f"(allowed {tolerance.probability:.2g})"
        )
    if tolerance.relative is not None and not measured["relative"] <= tolerance.relative:
        problems.append(
            f"outputs differ by up to {measured['relative']:.2g} of their scale "
            f"(allowed {tolerance.relative:.2g})"
        )
    all_changed = measured["flips"] >= measured["n"] > 0 and "share" not in measured
    if measured["flips"] > tolerance.flips or all_changed:
        problems.append(
            f"{measured['flips']} of {measured['n']} predictions changed "
            f"(allowed {tolerance.flips})"
        )
    if tolerance.share is not None and not measured.get("share", 1.0) <= tolerance.share:
        problems.append(
            f"{measured.get('share', 1.0):.2%} of all pixels or boxes changed "
            f"(allowed {tolerance.share:.2%})"
        )
    if tolerance.typical is not None and not measured.get("typical", 1.0) <= tolerance.typical:
        problems.append(
            f"outputs of {TYPICAL_QUANTILE:.0%} of all pixels differ by up to "
            f"{measured.get('typical', 1.0):.2g} of their scale (allowed {tolerance.typical:.2g})"
        )
    return "; ".join(problems)
