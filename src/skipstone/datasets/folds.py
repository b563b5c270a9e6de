"""Folds of the training rows, for models that are solved at once.

Cross-validation scores them, and the model that ships is then fitted on all of these rows, so that
none is wasted. Rows of one group, copies and near duplicates share a fold.

    rows            folds
    under 1,000     each row is held out three times, in three divisions into 5 folds
    under 20,000    each row is held out once
    more            one fold of 5 is held out; its two halves stand for two folds
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.data.manifest import Manifest
from skipstone.datasets.stratify import RowUnit, stratify_units

#: The column with the folds of each row: a list with one number per repeat, empty for rows that are
#: never held out.
FOLDS = "folds"
SMALL_DATA, LARGE_DATA, REPEATS = 1_000, 20_000, 3


class FoldFit(NamedTuple):
    """One fit of cross-validation: positions of the rows that it is fitted on and of those that it
    predicts, and the fold of each of the latter."""

    train: np.ndarray
    held_out: np.ndarray
    folds: np.ndarray


def assign_folds(manifest: Manifest, units: Sequence[RowUnit], folds: int) -> tuple[Manifest, str]:
    """The manifest with the column `FOLDS`, and a note about it.

    Args:
        units: of the rows to train on; they are not divided.
        folds: at most so many; fewer where there are fewer units.

    Raises:
        UsageError: fewer than two units.
    """
    rows = sum(len(unit.rows) for unit in units)
    folds, is_large = min(folds, len(units)), rows >= LARGE_DATA
    if folds < 2:
        raise UsageError(
            f"{manifest.root}: {pluralize(rows, 'training row')} in {pluralize(len(units), 'unit')} "
            "that cannot be divided (a group, copies, near duplicates): too few for two folds.",
            hint="Add samples: 20 of each class is a start, 100 is better.",
        )
    repeats = REPEATS if rows < SMALL_DATA else 1
    shares = [1 - 1 / folds, 0.5 / folds, 0.5 / folds] if is_large else [1 / folds] * folds
    column: list[list[int]] = [[] for _ in range(len(manifest))]
    for repeat in range(repeats):
        salt = bytes([repeat])
        keyed = [
            replace(unit, key=hashlib.blake2b(unit.key, digest_size=16, salt=salt).digest())
            for unit in units
        ]
        for unit, part in zip(units, stratify_units(keyed, shares), strict=True):
            for row in unit.rows:
                column[row] += [part] if not is_large else [part - 1] if part else []
    table = manifest.table.append_column(FOLDS, pa.array(column, pa.list_(pa.int32())))
    how = f"{folds} folds" if not is_large else f"one fold of {folds}, as there are so many rows"
    note = (
        f"The score comes from cross-validation of {rows:,} rows ({how}"
        f"{f', {repeats} times' if repeats > 1 else ''}); the model is then fitted on all of them."
    )
    return replace(manifest, table=table), note


def has_folds(manifest: Manifest) -> bool:
    """Whether the rows have folds."""
    return FOLDS in manifest.table.column_names


def list_fold_fits(manifest: Manifest) -> list[list[FoldFit]]:
    """The fits of each repeat; positions are those in `manifest`, which has training rows only."""
    folds: list[list[int]] = manifest.column_values(FOLDS)
    is_large = min(map(len, folds)) == 0
    repeats = []
    for repeat in range(max(map(len, folds))):
        number = np.array([row[repeat] if row else -1 for row in folds])
        parts = [number >= 0] if is_large else [number == fold for fold in np.unique(number)]
        repeats.append(
            [FoldFit(np.flatnonzero(~part), np.flatnonzero(part), number[part]) for part in parts]
        )
    return repeats
