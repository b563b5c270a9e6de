"""What a run does about files that cannot be read: decided once, listed in its folder."""

from __future__ import annotations

import shlex
from dataclasses import replace

from skipstone import events, storage
from skipstone.data.manifest import ROLES
from skipstone.errors import DataError
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.enough import check_labels_to_learn, check_tags_to_decide
from skipstone.prepare.quarantine import Bad, Reading, as_csv, leave_out, read_every_row
from skipstone.train.runfolder import RunFolder
from skipstone.verbs.plan import Plan
from skipstone.words import shortest

LIST = "unreadable.csv"


def quarantine(plan: Plan, run: RunFolder, cache: RecordCache) -> Plan:
    """The plan without the rows that cannot be read; `cache` holds the records of the others.

    Which rows those are is journalled before it acts, so a resumed run trains on the same ones,
    whatever has become of the files since.

    Raises:
        DataError: there are more than `--max-bad` allows; or, in a resumed run, a file that was
            readable when it began no longer is.
    """
    cache.serve(plan.input)
    before = run.decided("unreadable")
    manifest = plan.manifest
    if before is not None:
        manifest = leave_out(manifest, before["ids"])
    total = sum(len(plan.manifest.role(role)) for role in ROLES)
    allowed = plan.loading.bad_allowed(total) if before is None else 0
    reading = read_every_row(manifest, plan.input, plan.task, cache=cache, allowed=allowed)
    if before is None:
        _write_list(run, reading.bad)
        if len(reading.bad) > allowed:
            raise _too_many(plan, run, reading, allowed)
        ids = [bad.id for bad in reading.bad]
        before = run.decide("unreadable", lambda: {"ids": ids, "rows": total})
        manifest = leave_out(manifest, ids)
    elif reading.bad:
        raise DataError(
            f"{reading.bad[0].reason} It was readable when {shortest(run.path)} began, so this "
            "run cannot go on as it was.",
            hint="Put the file back, or begin anew in another folder: --out DIR",
        )
    if before["ids"]:
        events.warn(
            f"{len(before['ids']):,} of {total:,} files are unreadable and left out, listed in "
            f"{shortest(run.path / LIST)}"
        )
        check_tags_to_decide(manifest)
        if plan.origin is None:  # which may go on with one of its labels
            check_labels_to_learn(manifest)
    return replace(plan, manifest=manifest)


def _write_list(run: RunFolder, bad: tuple[Bad, ...]) -> None:
    if bad or (run.path / LIST).exists():  # an earlier start may have listed others
        storage.write_text(run.path / LIST, as_csv(bad))


def _too_many(plan: Plan, run: RunFolder, reading: Reading, allowed: int) -> DataError:
    count, complete = len(reading.bad), reading.read == reading.total
    of = f"{reading.total:,} files" if complete else f"the first {reading.read:,} files"
    enough = f"{-(-count * 1000 // reading.total) / 10:g}%" if complete else "SHARE"
    return DataError(
        f"{count:,} of {of} are unreadable, more than --max-bad {plan.loading.max_bad} allows "
        f"({allowed:,} of {reading.total:,}); listed in {shortest(run.path / LIST)}. The first: "
        f"{reading.bad[0].reason}",
        hint=f"What is wrong with them: skipstone audit "
        f"{shlex.quote(str(plan.manifest.root))}; to train without them: the same command with "
        f"--max-bad {enough}",
    )
