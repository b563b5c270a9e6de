"""Unreadable rows: found before training begins, named, and excluded from every role.

Each row is read once, training rows first; its record stays in the cache that training uses, so
there is no second decode. Rows that the scan for near duplicates has decoded
(`datasets/row_scan.py`) are in the cache already.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.core.formatting import format_cell
from skipstone.data.manifest import ROLES, Manifest
from skipstone.data.samples import SampleMeta
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.loader import Batching, Loader, prefetch
from skipstone.inputs.base import Input
from skipstone.tasks.base import Task

#: The role of an unreadable row.
UNREADABLE = "unreadable"
#: With too many unreadable rows, up to so many more are still read, so that the list is complete.
READ_ON = 2_000
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """Its id, file and role, and why it cannot be read."""

    id: int
    path: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """Which of the rows could be read.

    Args:
        unreadable: in the order of the manifest's roles.
        read: rows that were read; less than `total` where reading stopped early.
    """

    unreadable: tuple[UnreadableRow, ...]
    read: int
    total: int


def read_all_rows(
    manifest: Manifest, input: Input, task: Task, *, cache: RecordCache, allowed: int
) -> ReadReport:
    """Read source and target of every row that has a role.

    Stops early with more than `allowed` unreadable rows and more than `READ_ON` rows to go.
    """
    roles = manifest.table["role"].to_numpy(zero_copy_only=False)
    rows = np.concatenate([np.flatnonzero(roles == role) for role in ROLES])
    unreadable: list[UnreadableRow] = []
    read = 0
    for problem in _read_rows(manifest, rows, input, task, cache):
        read += 1
        if problem is not None:
            unreadable.append(problem)
        if len(unreadable) > allowed and len(rows) - read > READ_ON:
            break
    return ReadReport(tuple(unreadable), read, len(rows))


def _read_rows(
    manifest: Manifest, rows: np.ndarray, input: Input, task: Task, cache: RecordCache
) -> Iterator[UnreadableRow | None]:
    if not len(rows):
        return
    batching = Batching(batch_size=1, seed=0, shuffle=False)
    loader = Loader(manifest, input, task, batching, cache=cache)
    targets, ids = manifest.column_values("target"), manifest.table["id"].to_numpy()
    paths, roles = manifest.column_values("path"), manifest.column_values("role")
    opened = task.target_loader(manifest)

    def read_row(row: np.int64) -> UnreadableRow | None:
        at = int(row)
        try:
            if not task.spatial_targets and cache.has_decoded(manifest.source_at(at).name):
                if task.accepts_target(targets[at]):
                    task.encode_target(opened(targets[at]), SampleMeta(int(ids[at])))
            elif task.accepts_target(targets[at]):
                loader.load_sample(at)
            else:
                cache.decode(manifest.source_at(at), input)
        except DataError as error:
            return UnreadableRow(int(ids[at]), paths[at], roles[at], str(error))
        return None

    reading = prefetch(read_row, list(rows), _THREADS, window=64)
    yield from events.track_progress(reading, "reading every file", total=len(rows), unit="files")


def exclude_unreadable(manifest: Manifest, ids: Sequence[int]) -> Manifest:
    """The same rows; those of these ids get the role UNREADABLE.

    Raises:
        DataError: no training row or no validation row is left.
    """
    if not ids:
        return manifest
    excluded = set(ids)
    roles = [
        UNREADABLE if row_id in excluded else role
        for row_id, role in zip(
            manifest.column_values("id"), manifest.column_values("role"), strict=True
        )
    ]
    readable = manifest.with_column("role", roles)
    for role, use in (("train", "to train on"), ("val", "to choose the best epoch by")):
        if len(manifest.rows_with_role(role)) and not len(readable.rows_with_role(role)):
            raise DataError(
                f"no row is left {use}: every file of the role {role} is unreadable.",
                hint="See what is wrong with them: skipstone audit "
                f"{shlex.quote(str(manifest.root))}",
            )
    sentence = f"{len(excluded):,} of {len(manifest):,} files are unreadable and left out."
    return replace(readable, notes=(*readable.notes, sentence))


def to_csv(rows: Sequence[UnreadableRow]) -> str:
    """A table for people and spreadsheets: path, role, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "role", "reason"])
    writer.writerows([format_cell(row.path), row.role, format_cell(row.reason)] for row in rows)
    return text.getvalue()
