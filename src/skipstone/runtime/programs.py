"""The programs of a bundle: lowered graphs in `exports/`, one row each in `exports/exports.json`.

A program is added only with proof: it answers the bundle's goldens, and how far it may be from
them later is written down beside it. Float32 has one tolerance for all; a program of lower
precision gets what was measured, and a margin for other processors. Bfloat16, which nothing but
the goldens speaks for, has a cap as well; INT8 is proven on data by the receipt of `shrink`, and
held to its own answers (`runtime.own_answers`), for its weights are in no float32 program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from skipstone.bundle.arch import read_arch
from skipstone.bundle.files import RECORD, add_files, read_file, read_listed_json, read_record
from skipstone.bundle.format import WEIGHTS, read_arrays
from skipstone.errors import DamagedError, Refusal, UsageError
from skipstone.registry import HEADS, RUNTIMES
from skipstone.runtime.base import Runtime
from skipstone.runtime.goldens import Goldens, compare
from skipstone.runtime.own_answers import Kept, tells_arithmetic
from skipstone.tasks.base import TYPICAL

EXPORTS = "exports/exports.json"


@dataclass(frozen=True)
class Tolerance:
    """How far a program's answers to the goldens may be from the network's in float32.

    Args:
        probability: absolute.
        relative: of raw outputs, relative to their scale; None where only probabilities count.
        flips: answers that may change, beyond near ties.
        share: of the parts of answers (pixels of masks) that may; None where nothing is said of
            them, as in float32, where probabilities are close enough for none to change.
        typical: of raw outputs, that most parts keep within (see `Difference`); None where all do.
    """

    probability: float = 1e-4
    relative: float | None = 1e-4
    flips: int = 0
    share: float | None = None
    typical: float | None = None


FLOAT32 = Tolerance()
#: Of float32 programs whose answers jump where numbers differ in their last bits (the fact `jumps`
#: of a head): each place of a maximum that another runtime finds elsewhere moves the answers around
#: it. So it is most pixels that have to agree, and few that may change.
JUMPING = Tolerance(1.0, None, 2, 0.02, 1e-4)
#: What is measured for a lower precision is allowed this much more on other processors, whose
#: arithmetic rounds elsewhere; and one more answer, of those that hang by a hair, may flip.
MARGIN, SLACK, MORE_FLIPS = 1.25, 0.005, 1
#: What bfloat16 may be measured at: a probability, the share of answers that change, and the share
#: of their parts (pixels). Sound networks were found to lie below 0.13, 0.07 and 0.03 on goldens,
#: which are noisier than photos; one whose first layer lost its input's last bits had 0.36 and 0.2.
BF16_PROBABILITY, BF16_ANSWERS, BF16_PARTS = 0.25, 1 / 8, 0.05


@dataclass(frozen=True)
class Program:
    """One way to run the model without torch.

    Args:
        name: "onnxruntime-f32", "openvino-f32", "openvino-bf16", "openvino-int8".
        runtime: a name in RUNTIMES.
        precision: that it runs in.
        files: role -> name in the bundle: {"model": "exports/openvino/model.xml", ...}.
        settings: what else the runtime needs to know, JSON-able.
        weights: SHA-256 of the weights that it was made from.
        tolerance: that `verify` holds it to.
        measured: the differences when it was added, and the runtime's facts.
        own: the file of its own answers to the goldens; "" where the network's say enough.
    """

    name: str
    runtime: str
    precision: str
    files: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    tolerance: Tolerance = FLOAT32
    measured: Mapping[str, Any] = field(default_factory=dict)
    own: str = ""


@dataclass(frozen=True)
class Programs:
    """Programs by name, and which of them answers when nobody chooses ("" for the network)."""

    rows: Mapping[str, Program]
    default: str = ""


def read_programs(folder: Path) -> Programs:
    """The programs of a bundle. DamagedError when one was made from other weights."""
    record = read_record(folder)
    if EXPORTS not in record["files"]:
        return Programs({})
    content = read_listed_json(folder, EXPORTS, record)
    try:
        exact = exact_tolerance(record)
        programs = [_program(row, exact) for row in content["programs"]]
        rows = {program.name: program for program in programs}
        if len(rows) < len(programs):
            raise ValueError("two of them have one name")
        default = content["default"]
        if default not in ("", *rows):
            raise ValueError(f"its default {default!r} is none of them")
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{folder / EXPORTS} lists no programs as we write them: {error}."
        ) from (None)
    for row in rows.values():
        if row.weights != record["files"].get(WEIGHTS, {}).get("sha256"):
            raise DamagedError(
                f"{folder / EXPORTS}: the program {row.name} was made from other weights than "
                f"{WEIGHTS}.",
                hint="Export it again.",
            )
    return Programs(rows, default)


def exact_tolerance(record: Mapping[str, Any]) -> Tolerance:
    """What float32 programs are held to, by the bundle's record."""
    heads = [HEADS[network.head.name] for network in read_arch(record["arch"]).networks]
    return JUMPING if any(head.facts.get("jumps") for head in heads) else FLOAT32


def _program(row: Mapping[str, Any], exact: Tolerance) -> Program:
    """A row of exports.json. What it says of itself is believed only as far as it can be checked:
    a float32 program has the tolerance of all of them, whatever is written there, and the name is
    that of what answers, for programs are opened and verified by it."""
    found = Program(**{**row, "tolerance": Tolerance(**row["tolerance"])})
    words = (found.name, found.runtime, found.precision, found.weights, found.own)
    maps = (found.files, found.settings, found.measured)
    if not all(isinstance(word, str) for word in words):
        raise TypeError("a program's name, runtime, precision, weights and own are words")
    if not all(isinstance(value, dict) for value in maps) or not all(
        isinstance(name, str) for name in found.files.values()
    ):
        raise TypeError(f"{found.name} does not name its files and settings")
    if found.name != f"{found.runtime}-{found.precision}":
        raise ValueError(f"{found.name!r} is the name of a {found.runtime}-{found.precision}")
    if found.runtime in RUNTIMES and not RUNTIMES[found.runtime].facts["program"]:
        raise ValueError(f"{found.name} answers by the network, not by files of its own")
    tolerance = found.tolerance
    numbers = (tolerance.probability, tolerance.flips, tolerance.relative or 0.0)
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise TypeError(f"{found.name} states no tolerance")
    if found.own and not tells_arithmetic(found.measured.get("facts")):
        raise TypeError(f"{found.name} does not say how its own answers came about")
    return replace(found, tolerance=exact) if found.precision == "f32" else found


def program_files(folder: Path, program: Program) -> dict[str, bytes]:
    """The program's files by role, compared with the bundle's list."""
    record = read_record(folder)
    return {role: read_file(folder, name, record) for role, name in program.files.items()}


def own_answers(folder: Path, program: Program) -> Kept | None:
    """What the program answered when it was made; None where that is not kept."""
    if not program.own:
        return None
    found = read_arrays(folder, program.own, read_record(folder))
    return found if all("/" in name for name in found) else None  # once kept of one way alone


def add_program(
    folder: Path,
    program: Program,
    content: Mapping[str, bytes],
    runtime: Runtime,
    *,
    default: bool = False,
) -> Program:
    """Prove a program on the goldens and add it, or replace the one of that name.

    Args:
        folder: the bundle.
        content: file contents by role, as in `program.files`; those of a role that is in the
            bundle already (bfloat16 is a mode of the float32 program) may be left out.
        runtime: ready to run what `content` holds.
        default: whether it answers from now on when nobody chooses a runtime.

    Raises:
        UsageError: the bundle has no goldens.
        Refusal: a float32 program does not answer as the network does, or a bfloat16 one is
            further from it than rounding explains.
    """
    from safetensors.numpy import save

    record = read_record(folder)
    goldens = Goldens.load(folder)
    measured, _, ways = compare(goldens, runtime)
    facts = dict(runtime.facts())
    exact = program.precision == "f32"
    tolerance, told = _held_to(program, measured, facts, record)
    if problem := beyond(measured, capped(tolerance, program.precision, measured["n"])):
        raise Refusal(f"the exported {program.name} is not the same model: {problem}.")
    present = read_programs(folder)
    spoken_for = [row.files for row in present.rows.values() if row.precision == "f32"]
    keeps = not exact and program.files not in spoken_for and tells_arithmetic(facts)
    program = replace(
        program,
        weights=record["files"][WEIGHTS]["sha256"],
        tolerance=tolerance,
        measured={**measured, **told, "facts": facts},
        own=f"golden/{program.name}.safetensors" if keeps else "",
    )
    rows = {**present.rows, program.name: program}
    text = json.dumps(
        {
            "default": program.name if default else present.default,
            "programs": [asdict(row) for row in rows.values()],
        },
        sort_keys=True,
        indent=1,
        allow_nan=False,
    )
    files = {program.files[role]: data for role, data in content.items()}
    missing = [name for name in program.files.values() if name not in {*files, *record["files"]}]
    if missing:
        raise UsageError(f"{folder / RECORD} has no file {missing[0]} for {program.name}.")
    if program.own:
        files[program.own] = save(ways)
    add_files(folder, {**files, EXPORTS: text.encode()})
    return program


def _held_to(
    program: Program,
    measured: Mapping[str, Any],
    facts: Mapping[str, Any],
    record: Mapping[str, Any],
) -> tuple[Tolerance, dict[str, str]]:
    """What a program that was measured so is held to from now on, and what there is to say of it.

    A processor without bfloat16 computes such a program in float32, which measures nothing: those
    that have it hold the program to the cap.
    """
    if program.precision == "f32":
        return exact_tolerance(record), {}
    share, n, used = measured.get("share"), measured["n"], facts.get("precision")
    if program.precision == "bf16" and used != "bf16":
        loosest = Tolerance(1.0, None, n, None if share is None else 1.0)
        told = f"computed in {used}: how far bf16 is away was not measured"
        return capped(loosest, "bf16", n), {"told": told}
    tolerance = Tolerance(
        min(1.0, round(measured["probability"] * MARGIN + SLACK, 6)),
        None,
        measured["flips"] + MORE_FLIPS,
        None if share is None else min(1.0, round(share * MARGIN + SLACK, 6)),
    )
    return tolerance, {}


def capped(tolerance: Tolerance, precision: str, goldens: int) -> Tolerance:
    """What a program may be held to, whatever its row allows itself.

    Args:
        goldens: how many there are.
    """
    if precision != "bf16":
        return tolerance
    return Tolerance(
        min(tolerance.probability, BF16_PROBABILITY),
        tolerance.relative,
        # where answers have parts, nearly every answer has one that changed
        min(tolerance.flips, max(1, int(goldens * BF16_ANSWERS)))
        if tolerance.share is None
        else tolerance.flips,
        None if tolerance.share is None else min(tolerance.share, BF16_PARTS),
    )


def beyond(measured: Mapping[str, Any], tolerance: Tolerance) -> str:
    """What exceeds the tolerance, in words; empty where nothing does."""
    problems = []
    if not measured["probability"] <= tolerance.probability:  # NaN is beyond, too
        problems.append(
            f"probabilities differ by up to {measured['probability']:.2g} "
            f"(allowed {tolerance.probability:.2g})"
        )
    if tolerance.relative is not None and not measured["relative"] <= tolerance.relative:
        problems.append(
            f"outputs differ by up to {measured['relative']:.2g} of their scale "
            f"(allowed {tolerance.relative:.2g})"
        )
    if measured["flips"] > tolerance.flips:
        problems.append(
            f"{measured['flips']} of {measured['n']} answers changed (allowed {tolerance.flips})"
        )
    if tolerance.share is not None and not measured.get("share", 1.0) <= tolerance.share:
        problems.append(
            f"{measured.get('share', 1.0):.2%} of all pixels changed "
            f"(allowed {tolerance.share:.2%})"
        )
    if tolerance.typical is not None and not measured.get("typical", 1.0) <= tolerance.typical:
        problems.append(
            f"outputs of {TYPICAL:.0%} of all pixels differ by up to "
            f"{measured.get('typical', 1.0):.2g} of their scale (allowed {tolerance.typical:.2g})"
        )
    return "; ".join(problems)
