"""agreement: do a bundle's programs answer many real files as its network does?

`verify` asks this of a few goldens, each time. This asks it of as many files as there are, once:
every file is decoded once, and every runtime gets the same arrays, so many at a time as memory
holds. Files may have several shapes.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from skipstone.runtime.predictor import Predictor, joined, stacked
from skipstone.runtime.programs import Program, beyond, read_programs
from skipstone.tasks.base import Difference

REFERENCE = "torch-f32"
#: One by one, because a program may be compiled apart for a batch of one; and several at once.
BATCHES = (1, 16)
#: Numbers of answers that are compared at once, about: logits of pixels are many.
MOST = 1 << 24
#: Bytes of decoded files that are held at once, about.
HELD = 1 << 30

Arrays = list[dict[str, np.ndarray]]
Outputs = Mapping[str, np.ndarray]


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
        share: of the parts of all answers (pixels of masks), how much changed, without near ties;
            None for answers that are of one piece.
    """

    name: str
    max_probability: float
    max_relative: float
    flips: int
    near_ties: int
    n: int
    batch: int
    problem: str
    share: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    path: Path | str, sources: Sequence[Source], *, precisions: Sequence[str] = ()
) -> list[Agreement]:
    """Each program of a bundle against its network, on files; one by one and in batches.

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
    chosen = [
        row for row in programs.rows.values() if row.precision in precisions or not precisions
    ]
    runtimes = {row.name: open_runtime(folder, bundle, row.name) for row in chosen}
    found: dict[tuple[str, int], list[tuple[Difference, int]]] = defaultdict(list)
    compared = 0
    with events.stage("comparing", total=len(sources), unit="files") as advance:
        for part, expected in _parts(reference.runtime, _decoded(reference, sources)):
            numbers = sum(value.size for value in expected.values())
            for name, runtime in runtimes.items():
                for batch in BATCHES:
                    outputs = _answers(runtime, part, batch)
                    difference = task.difference(expected, outputs, bundle.post)
                    found[name, batch].append((difference, numbers))
            advance(len(part))
            compared += len(part)
    if not compared:
        raise DataError(f"none of {len(sources)} files can be read.")
    return [
        _row(program, batch, found[program.name, batch]) for program in chosen for batch in BATCHES
    ]


def _row(program: Program, batch: int, found: Sequence[tuple[Difference, int]]) -> Agreement:
    """The differences of all parts together; each comes with how many numbers were compared."""
    each = [difference for difference, _ in found]
    measured: dict[str, Any] = {
        "probability": max(float(difference.max_probability) for difference in each),
        "relative": max(float(difference.max_relative) for difference in each),
        "flips": sum(int(difference.flips) for difference in each),
        "n": sum(int(difference.n) for difference in each),
    }
    shares = [(item.share, numbers) for item, numbers in found if item.share is not None]
    if shares:
        changed = sum(share * numbers for share, numbers in shares)
        measured["share"] = float(changed / sum(numbers for _, numbers in shares))
    typical = [float(item.typical) for item in each if item.typical is not None]
    measured |= {"typical": max(typical)} if typical else {}
    return Agreement(
        program.name,
        measured["probability"],
        measured["relative"],
        measured["flips"],
        sum(int(difference.near_ties) for difference in each),
        measured["n"],
        batch,
        beyond(measured, program.tolerance),
        measured.get("share"),
    )


def _decoded(reference: Predictor, sources: Sequence[Source]) -> Iterator[Arrays]:
    """The arrays of every file that can be read: those of one shape together, as many as HELD
    allows."""
    block: Arrays = []
    size = 0
    for source in sources:
        try:
            block.append(reference.encode(source)[0])
        except DataError as error:
            events.warn(str(error))
            continue
        size += sum(array.nbytes for array in block[-1].values())
        if size >= HELD:
            yield from _by_shape(block)
            block, size = [], 0
    yield from _by_shape(block)


def _by_shape(arrays: Arrays) -> Iterator[Arrays]:
    for _, alike in itertools.groupby(sorted(arrays, key=_shapes), key=_shapes):
        yield list(alike)


def _parts(network: Runtime, decoded: Iterable[Arrays]) -> Iterator[tuple[Arrays, Outputs]]:
    """Files of one shape with what the network answers, until that is MOST numbers or more."""
    for alike in decoded:
        part: Arrays = []
        answers: list[Outputs] = []
        for some in _several(alike, BATCHES[-1]):
            part += some
            answers.append(network.run(stacked(some)))
            if sum(value.size for outputs in answers for value in outputs.values()) >= MOST:
                yield part, joined(answers)
                part, answers = [], []
        if part:
            yield part, joined(answers)


def _answers(runtime: Runtime, arrays: Arrays, batch: int) -> Outputs:
    return joined([runtime.run(stacked(some)) for some in _several(arrays, batch)])


def _shapes(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, arrays[name].shape) for name in sorted(arrays)]


def _several(arrays: Arrays, count: int) -> list[Arrays]:
    return [arrays[start : start + count] for start in range(0, len(arrays), count)]
