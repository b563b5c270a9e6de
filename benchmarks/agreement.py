"""agreement: compare the predictions of a bundle's programs with its network's on many real files.

`verify` compares them on a few goldens. Here every file is decoded once, and every runtime gets the
same arrays, in blocks that fit the memory. Files may differ in shape.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.bundle.format import Bundle
from skipstone.bundle.locate import resolve_bundle
from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.data.sources import Source
from skipstone.inference.open_model import open_runtime
from skipstone.inference.predictor import Predictor, Runtime, concatenate_outputs, stack_arrays
from skipstone.inference.programs import Program, cap_tolerance, exceeded_tolerances, read_programs
from skipstone.inference.restore import restore_input, restore_task
from skipstone.tasks.base import Difference

REFERENCE = "torch-f32"
#: One, because a program may be compiled separately for a batch of one, and several.
BATCH_SIZES = (1, 16)
#: Output values compared at once, approximately; logits of pixels are many.
MAX_OUTPUT_VALUES = 1 << 24
#: Bytes of decoded files in memory, approximately.
MAX_DECODED_BYTES = 1 << 30

Arrays = list[dict[str, np.ndarray]]
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ProgramAgreement:
    """One program against the network in float32.

    Args:
        max_probability: greatest absolute difference.
        max_relative: greatest difference of raw outputs, relative to their scale.
        flips: predictions that changed, without near ties (within the tolerance of equality).
        n: files.
        batch: the batch size.
        problem: a sentence on what exceeds the program's tolerance; empty if nothing does.
        share: changed share of all pixels of masks, without near ties; None for predictions
            that have no parts.
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


def measure_agreement(
    path: Path | str, sources: Sequence[Source], *, precisions: Sequence[str] = ()
) -> list[ProgramAgreement]:
    """Each program of a bundle against its network, on files, for every batch size of BATCHES.

    Args:
        precisions: of the programs to compare; empty for all.

    Raises:
        UsageError: the bundle has no programs. DataError: no file can be read.
    """
    folder = resolve_bundle(path)
    bundle, programs = Bundle.load(folder), read_programs(folder)
    if not programs.by_name:
        raise UsageError(
            f"{folder} has no programs to compare.", hint="Make them: skipstone export"
        )
    task, input = restore_task(bundle), restore_input(bundle)
    reference = Predictor(input, open_runtime(folder, bundle, REFERENCE), task, dict(bundle.post))
    selected = [
        row for row in programs.by_name.values() if row.precision in precisions or not precisions
    ]
    runtimes = {row.name: open_runtime(folder, bundle, row.name) for row in selected}
    differences: dict[tuple[str, int], list[tuple[Difference, int]]] = defaultdict(list)
    compared = 0
    with events.progress_stage("comparing", total=len(sources), unit="files") as advance:
        for arrays, expected in _blocks(reference.runtime, _decoded(reference, sources)):
            size = sum(value.size for value in expected.values())
            for name, runtime in runtimes.items():
                for batch in BATCH_SIZES:
                    outputs = _run_in_batches(runtime, arrays, batch)
                    difference = task.compare_outputs(expected, outputs, bundle.post)
                    differences[name, batch].append((difference, size))
            advance(len(arrays))
            compared += len(arrays)
    if not compared:
        raise DataError(f"none of {len(sources)} files can be read.")
    return [
        _merge(program, batch, differences[program.name, batch])
        for program in selected
        for batch in BATCH_SIZES
    ]


def _merge(
    program: Program, batch: int, blocks: Sequence[tuple[Difference, int]]
) -> ProgramAgreement:
    """One row of the differences of all blocks, each with the number of values compared."""
    differences = [difference for difference, _ in blocks]
    measured: dict[str, Any] = {
        "probability": max(float(difference.max_probability) for difference in differences),
        "relative": max(float(difference.max_relative) for difference in differences),
        "flips": sum(int(difference.flips) for difference in differences),
        "n": sum(int(difference.n) for difference in differences),
    }
    shares = [(item.share, size) for item, size in blocks if item.share is not None]
    if shares:
        changed = sum(share * size for share, size in shares)
        measured["share"] = float(changed / sum(size for _, size in shares))
    typical = [float(item.typical) for item in differences if item.typical is not None]
    measured |= {"typical": max(typical)} if typical else {}
    return ProgramAgreement(
        program.name,
        measured["probability"],
        measured["relative"],
        measured["flips"],
        sum(int(difference.near_ties) for difference in differences),
        measured["n"],
        batch,
        exceeded_tolerances(
            measured, cap_tolerance(program.tolerance, program.precision, measured["n"])
        ),
        measured.get("share"),
    )


def _decoded(reference: Predictor, sources: Sequence[Source]) -> Iterator[Arrays]:
    """The arrays of every readable file, grouped by shape, in blocks of about HELD bytes."""
    block: Arrays = []
    size = 0
    for source in sources:
        try:
            block.append(reference.encode(source)[0])
        except DataError as error:
            events.emit_warning(str(error))
            continue
        size += sum(array.nbytes for array in block[-1].values())
        if size >= MAX_DECODED_BYTES:
            yield from _by_shape(block)
            block, size = [], 0
    yield from _by_shape(block)


def _by_shape(arrays: Arrays) -> Iterator[Arrays]:
    for _, group in itertools.groupby(sorted(arrays, key=_shapes), key=_shapes):
        yield list(group)


def _blocks(network: Runtime, decoded: Iterable[Arrays]) -> Iterator[tuple[Arrays, Outputs]]:
    """Files of one shape with the network's outputs, in blocks of at least MOST output values."""
    for group in decoded:
        block: Arrays = []
        outputs: list[Outputs] = []
        for chunk in _chunks(group, BATCH_SIZES[-1]):
            block += chunk
            outputs.append(network.run(stack_arrays(chunk)))
            if (
                sum(value.size for batch in outputs for value in batch.values())
                >= MAX_OUTPUT_VALUES
            ):
                yield block, concatenate_outputs(outputs)
                block, outputs = [], []
        if block:
            yield block, concatenate_outputs(outputs)


def _run_in_batches(runtime: Runtime, arrays: Arrays, batch: int) -> Outputs:
    return concatenate_outputs(
        [runtime.run(stack_arrays(chunk)) for chunk in _chunks(arrays, batch)]
    )


def _shapes(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, arrays[name].shape) for name in sorted(arrays)]


def _chunks(arrays: Arrays, count: int) -> list[Arrays]:
    return [arrays[start : start + count] for start in range(0, len(arrays), count)]
