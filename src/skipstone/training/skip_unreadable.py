"""Leave unreadable files out of a run; which ones is decided once and listed in its folder."""

from __future__ import annotations

import shlex
from dataclasses import replace

from skipstone.core import events, storage
from skipstone.core.errors import DataError
from skipstone.core.formatting import relative_path
from skipstone.data.manifest import ROLES
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.label_checks import check_train_labels, check_val_tags
from skipstone.datasets.unreadable import (
    ReadReport,
    UnreadableRow,
    exclude_unreadable,
    read_all_rows,
    to_csv,
)
from skipstone.training.plan import TrainPlan
from skipstone.training.run_directory import RunFolder

UNREADABLE_CSV = "unreadable.csv"


def exclude_unreadable_rows(plan: TrainPlan, run: RunFolder, cache: RecordCache) -> TrainPlan:
    """The plan without the unreadable rows; `cache` then holds the records of the others.

    The list of rows is journalled first, so that a resumed run trains on the same rows even if
    files have changed.

    Raises:
        DataError: more rows are unreadable than `--max-bad` allows; or, in a resumed run, a file
            that was readable at the start no longer is.
    """
    cache.set_input(plan.input)
    before = run.find_decision("unreadable")
    manifest = plan.manifest
    if before is not None:
        manifest = exclude_unreadable(manifest, before["ids"])
    total = sum(len(plan.manifest.rows_with_role(role)) for role in ROLES)
    allowed = plan.loading.max_unreadable(total) if before is None else 0
    reading = read_all_rows(manifest, plan.input, plan.task, cache=cache, allowed=allowed)
    if before is None:
        _write_list(run, reading.unreadable)
        if len(reading.unreadable) > allowed:
            raise _too_many(plan, run, reading, allowed)
        ids = [bad.id for bad in reading.unreadable]
        before = run.decide("unreadable", lambda: {"ids": ids, "rows": total})
        manifest = exclude_unreadable(manifest, ids)
    elif reading.unreadable:
        raise DataError(
            f"{reading.unreadable[0].reason} It was readable when {relative_path(run.path)} started, so "
            "the run cannot be resumed exactly.",
            hint="Restore the file, or start a new run: --out DIR",
        )
    if before["ids"]:
        events.emit_warning(
            f"{len(before['ids']):,} of {total:,} files are unreadable and left out, listed in "
            f"{relative_path(run.path / UNREADABLE_CSV)}"
        )
        check_val_tags(manifest)
        if plan.parent is None:  # fine-tuning may continue with a single label
            check_train_labels(manifest)
    return replace(plan, manifest=manifest)


def _write_list(run: RunFolder, bad: tuple[UnreadableRow, ...]) -> None:
    if (
        bad or (run.path / UNREADABLE_CSV).exists()
    ):  # an earlier start may have written another list
        storage.write_text(run.path / UNREADABLE_CSV, to_csv(bad))


def _too_many(plan: TrainPlan, run: RunFolder, reading: ReadReport, allowed: int) -> DataError:
    count, complete = len(reading.unreadable), reading.read == reading.total
    total = f"{reading.total:,} files" if complete else f"the first {reading.read:,} files"
    required = f"{-(-count * 1000 // reading.total) / 10:g}%" if complete else "SHARE"
    return DataError(
        f"{count:,} of {total} are unreadable, more than --max-bad {plan.loading.max_bad} allows "
        f"({allowed:,} of {reading.total:,}); listed in {relative_path(run.path / UNREADABLE_CSV)}. The first: "
        f"{reading.unreadable[0].reason}",
        hint=f"To see the problems: skipstone audit {shlex.quote(str(plan.manifest.root))}. To "
        f"train without these files: the same command with --max-bad {required}",
    )
