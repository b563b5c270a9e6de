"""A run that the same command has finished before: what it left, read back from its folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from skipstone.bundle.files import BUNDLE_JSON
from skipstone.core import storage
from skipstone.core.events import emit_note
from skipstone.core.formatting import relative_path
from skipstone.data.manifest import Manifest
from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.parity import Verification
from skipstone.evaluation.scores import CalibrationGain, Scores
from skipstone.inference.predictor import Evaluation, Failure
from skipstone.report.report_data import REPORT_HTML, load_report_data
from skipstone.report.report_schema import ReportData
from skipstone.tasks.base import ErrorSummary, Task
from skipstone.training.run_directory import RUN, find_finished_run, read_journal


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run has stored.

    Args:
        scored: the journal's entry with the scores.
    """

    path: Path
    scored: Mapping[str, Any]
    report: ReportData

    @property
    def page(self) -> Path:
        return self.path / REPORT_HTML

    @property
    def verification(self) -> Verification:
        return Verification.from_rows(list(self.report.verification["rows"]))

    def restore_scores(self, task: Task) -> Scores:
        """The scores, without the records behind them."""
        stored = self.scored
        unscored = [Failure(row["name"], row["error"]) for row in self.report.unscored]
        errors, calibration = stored["errors"], stored["calibration"]
        return Scores(
            role=stored["role"],
            split=stored["split"],
            seed=stored["seed"],
            metrics={name: restore_estimate(value) for name, value in stored["metrics"].items()},
            evaluation=Evaluation([], unscored),
            headline=task.headline,
            errors=None if errors is None else ErrorSummary(**errors),
            calibration=None if calibration is None else _restore_calibration(calibration),
        )


def restore_estimate(value: Mapping[str, Any]) -> Estimate:
    """What `Estimate.to_json` wrote, where a missing end is infinite."""
    low, high = value["low"], value["high"]
    return Estimate(
        value["value"],
        -float("inf") if low is None else low,
        float("inf") if high is None else high,
        value["n"],
    )


def _restore_calibration(value: Mapping[str, Any]) -> CalibrationGain:
    ends = {name: restore_estimate(value[name]) for name in ("before", "after")}
    return CalibrationGain(**{**value, **ends})


def load_finished_run(
    root: Path, identity: Mapping[str, Any], data: Path, manifest: Manifest, *options: object
) -> FinishedRun | None:
    """The finished run of this command in `root`, with a note; None if there is none, if a file that
    it was made from has changed since it began, or if a part of it is missing.

    Args:
        data: the folder or table that `manifest` was read from.
        options: values of the command's options; some name files.

    Raises:
        DamagedError: the run's journal or report was changed.
    """
    path = find_finished_run(root, identity)
    if path is None:
        return None
    began = datetime.strptime(storage.read_json(path / RUN)["created"], "%Y-%m-%dT%H:%M:%S%z")
    named = [Path(value) for value in options if isinstance(value, str | Path)]
    scored = [entry for entry in read_journal(path) if entry["kind"] == "scored"]
    report = load_report_data(path)
    is_complete = (path / "bundle" / BUNDLE_JSON).is_file() and (path / REPORT_HTML).is_file()
    if (
        not is_complete
        or report is None
        or not scored
        or have_changed((*named, *list_data_files(data, manifest)), began.timestamp())
    ):
        return None
    emit_note(
        f"{relative_path(path)} is finished already: the same command made it from the same files. "
        "To train again, choose another --seed or --out."
    )
    return FinishedRun(path, scored[-1], report)


def list_data_files(data: Path, manifest: Manifest) -> Iterator[Path]:
    """All files in the data's folder; or a table, and what its rows name."""
    if data.is_dir():
        for folder, _, names in os.walk(data):
            yield from (Path(folder, name) for name in names)
        return
    yield data
    if manifest.cells is None:
        for column in ("path", "target"):  # the target may be a mask
            for value in set(map(str, manifest.column_values(column))):
                yield manifest.root / value


def have_changed(files: Iterable[Path], moment: float) -> bool:
    """Whether the content or the name of one of the files may have changed since `moment` (seconds
    since 1970). What is not a file is skipped."""
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            if file.stat().st_ctime >= moment:
                return True
    return False
