"""Rows that cannot be read: found before training begins, named, and left out of every role.

Each row is read once, the fit role first, and what was decoded stays in the cache that training
goes on with: so knowing costs no second decode. Rows that the look for near duplicates has decoded
(`prepare/look.py`) are in the cache already.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skipstone import events
from skipstone.data.manifest import ROLES, Manifest
from skipstone.data.samples import Meta
from skipstone.errors import DataError
from skipstone.inputs.base import Input
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.loader import Batching, Loader, ahead
from skipstone.tasks.base import Task

#: The role of a row that is left out.
UNREADABLE = "unreadable"
#: Once too many are bad, the rest is still read where it is no more than this many rows, so that
#: the list is complete.
READ_ON = 2_000
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be read: its id, file, role, and why."""

    id: int
    path: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Args:
    bad: in the order of the manifest's roles.
    read: rows that were read; less than `total` where it was given up early.
    """

    bad: tuple[Bad, ...]
    read: int
    total: int


def read_every_row(
    manifest: Manifest, input: Input, task: Task, *, cache: RecordCache, allowed: int
) -> Reading:
    """Read source and target of every row that has a role.

    Stops early once more than `allowed` are bad and more than `READ_ON` rows are left.
    """
    roles = manifest.table["role"].to_numpy(zero_copy_only=False)
    rows = np.concatenate([np.flatnonzero(roles == role) for role in ROLES])
    bad: list[Bad] = []
    read = 0
    for found in _found(manifest, rows, input, task, cache):
        read += 1
        if found is not None:
            bad.append(found)
        if len(bad) > allowed and len(rows) - read > READ_ON:
            break
    return Reading(tuple(bad), read, len(rows))


def _found(
    manifest: Manifest, rows: np.ndarray, input: Input, task: Task, cache: RecordCache
) -> Iterator[Bad | None]:
    if not len(rows):
        return
    batching = Batching(batch_size=1, seed=0, shuffle=False)
    loader = Loader(manifest, input, task, batching, cache=cache)
    targets, ids = manifest.column("target"), manifest.table["id"].to_numpy()
    paths, roles = manifest.column("path"), manifest.column("role")
    opened = task.opener(manifest)

    def look(row: np.int64) -> Bad | None:
        at = int(row)
        try:
            if not task.places and cache.has_read(manifest.source(at).name):
                if task.knows(targets[at]):
                    task.target(opened(targets[at]), Meta(int(ids[at])))
            elif task.knows(targets[at]):
                loader.sample(at)
            else:
                cache.decode(manifest.source(at), input)
        except DataError as error:
            return Bad(int(ids[at]), paths[at], roles[at], str(error))
        return None

    reading = ahead(look, list(rows), _THREADS, window=64)
    yield from events.track(reading, "reading every file", total=len(rows), unit="files")


def leave_out(manifest: Manifest, ids: Sequence[int]) -> Manifest:
    """The same rows, where those of these ids have the role UNREADABLE.

    Raises:
        DataError: nothing is left to train on, or to decide by.
    """
    if not ids:
        return manifest
    left_out = set(ids)
    roles = [
        UNREADABLE if row_id in left_out else role
        for row_id, role in zip(manifest.column("id"), manifest.column("role"), strict=True)
    ]
    good = manifest.with_column("role", roles)
    for role, what in (("fit", "to train on"), ("select", "to choose the best epoch by")):
        if len(manifest.role(role)) and not len(good.role(role)):
            raise DataError(
                f"no row is left {what}: every file of the role {role} is unreadable.",
                hint="See what is wrong with them: skipstone audit "
                f"{shlex.quote(str(manifest.root))}",
            )
    sentence = f"{len(left_out):,} of {len(manifest):,} files are unreadable and left out."
    return replace(good, notes=(*good.notes, sentence))


def as_csv(bad: Sequence[Bad]) -> str:
    """A table for people and spreadsheets: path, role, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "role", "reason"])
    writer.writerows([row.path, row.role, row.reason] for row in bad)
    return text.getvalue()
