"""Files beside the data that a run reads: they stay what they were, or it does not go on."""

from __future__ import annotations

from skipstone.errors import Refusal
from skipstone.train.runfolder import RunFolder
from skipstone.verbs.plan import Plan
from skipstone.words import shortest


def hold_files(plan: Plan, run: RunFolder) -> None:
    """Journal the hashes of the plan's files, or compare them with those of the run's beginning.

    Raises:
        Refusal: one of them is no longer what it was.
    """
    before = run.decide("files", lambda: {"sha256": plan.files})["sha256"]
    for path, digest in plan.files.items():
        if before.get(path) != digest:
            raise Refusal(
                f"{path} has changed since {shortest(run.path)} began (sha256 {digest[:12]}, not "
                f"{str(before.get(path))[:12]}), so this run cannot go on as it was.",
                hint="Put the file back, or begin anew in another folder: --out DIR",
            )
