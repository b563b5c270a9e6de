"""agreement: do a bundle's programs answer many real files as its network does?

`verify` asks this of a few goldens, each time. This asks it of as many files as there are, once:
every file is decoded once, and every runtime gets the same arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import events
from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import bundle_of
from skipstone.data.sources import Source
from skipstone.errors import DataError, UsageError
from skipstone.runtime.base import Runtime
from skipstone.runtime.open import open_runtime
from skipstone.runtime.parts import input_of, task_of
from skipstone.runtime.predictor import Predictor
from skipstone.runtime.programs import beyond, read_programs

REFERENCE = "torch-f32"
BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """One program against the network in float32.

    Args:
        max_probability: greatest absolute difference.
        max_relative: greatest difference of raw outputs, relative to their scale.
        flips: answers that changed, without near ties (within the tolerance of equality).
        n: files.
        batch: that it answered in.
        problem: what exceeds the program's tolerance, in words; empty where nothing does.
    """

    name: str
    max_probability: float
    max_relative: float
    flips: int
    near_ties: int
    n: int
    batch: int
    problem: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    path: Path | str, sources: Sequence[Source], *, precisions: Sequence[str] = ()
) -> list[Agreement]:
    """Each program of a bundle against its network, on files; one by one and in batches, because
    a program may be compiled apart for a batch of one.

    Args:
        precisions: of the programs; none for all of them.

    Raises:
        UsageError: the bundle has no programs. DataError: no file can be read.
    """
    folder = bundle_of(path)
    bundle, programs = Bundle.load(folder), read_programs(folder)
    if not programs.rows:
        raise UsageError(
            f"{folder} has no programs to compare.", hint="Make them: skipstone export"
        )
    task, input = task_of(bundle), input_of(bundle)
    reference = Predictor(input, open_runtime(folder, bundle, REFERENCE), task, dict(bundle.post))
    arrays, expected = _decoded(reference, sources)
    rows = []
    for program in programs.rows.values():
        if precisions and program.precision not in precisions:
            continue
        runtime = open_runtime(folder, bundle, program.name)
        for batch in (1, BATCH):
            with events.stage(f"{program.name}, batch {batch}"):
                outputs = _outputs(runtime, arrays, batch)
            found = task.difference(expected, outputs, bundle.post)
            measured = {
                "probability": found.max_probability,
                "relative": found.max_relative,
                "flips": found.flips,
                "n": found.n,
            }
            rows.append(
                Agreement(
                    program.name,
                    float(found.max_probability),
                    float(found.max_relative),
                    int(found.flips),
                    int(found.near_ties),
                    int(found.n),
                    batch,
                    beyond(measured, program.tolerance),
                )
            )
    return rows


Arrays = list[dict[str, np.ndarray]]


def _decoded(
    reference: Predictor, sources: Sequence[Source]
) -> tuple[Arrays, dict[str, np.ndarray]]:
    """The arrays of every file that can be read, and what the network answers to them."""
    arrays: Arrays = []
    with events.stage("decoding", total=len(sources), unit="files") as advance:
        for source in sources:
            try:
                arrays.append(reference.encode(source)[0])
            except DataError as error:
                events.warn(str(error))
            advance()
    if not arrays:
        raise DataError(f"none of {len(sources)} files can be read.")
    with events.stage(f"{REFERENCE}"):
        return arrays, _outputs(reference.runtime, arrays, BATCH)


def _outputs(runtime: Runtime, arrays: Arrays, batch: int) -> dict[str, np.ndarray]:
    parts = []
    for start in range(0, len(arrays), batch):
        some = arrays[start : start + batch]
        parts.append(runtime.run({name: np.stack([one[name] for one in some]) for name in some[0]}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
