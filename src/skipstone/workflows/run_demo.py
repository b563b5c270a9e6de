"""demo: every step on a small real data set, in about two minutes. The data: `workflows/demo_images.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.compression.apply_plan import ShrinkResult
from skipstone.core import events, storage
from skipstone.core.errors import UsageError
from skipstone.core.formatting import pluralize
from skipstone.core.registry import INPUTS, TASKS
from skipstone.core.results import TableResult
from skipstone.core.settings import to_cli_args
from skipstone.core.specs import InputSpec, TaskSpec, resolve_target
from skipstone.workflows.answer import PredictResult, predict
from skipstone.workflows.audit_data import AuditResult, audit
from skipstone.workflows.demo_images import Demonstration
from skipstone.workflows.export_and_verify import VerifyResult
from skipstone.workflows.shrink_model import shrink
from skipstone.workflows.train_model import TrainResult, train

#: Enough for the 300 rounds of a latency benchmark with networks as small as these.
LATENCY_SECONDS = 4.0


@dataclass(frozen=True)
class DemoResult(TableResult):
    """The results of the demo's commands; as a table, the metrics of training."""

    data: Path
    audited: AuditResult
    trained: TrainResult
    shrunk: ShrinkResult
    verified: VerifyResult
    predicted: PredictResult
    seconds: float
    demonstration: Demonstration

    @property
    def report(self) -> Path:
        return self.trained.report

    @property
    def exit_code(self) -> int:
        """0 if everything is verified; a refused shrink is not a failure."""
        return max(part.exit_code for part in (self.trained, self.verified, self.predicted))

    def table_rows(self) -> list[dict[str, Any]]:
        return self.trained.table_rows()

    def to_json(self) -> dict[str, Any]:
        return {
            "data": str(self.data),
            "audit": self.audited.to_json(),
            "train": self.trained.to_json(),
            "shrink": self.shrunk.to_json(),
            "verify": self.verified.to_json(),
            "predict": self.predicted.to_json(),
            "report": str(self.report),
            "seconds": round(self.seconds, 1),
        }


def demo(*, out: str | Path | None = None, seed: int = 0, task: str = "classify") -> DemoResult:
    """audit, train, shrink (INT8), verify, predict and report, on data that needs no download.

    Args:
        out: a folder for data and run, by default "demo".
        seed: of everything random.
        task: "classify" (digits), "segment" (digits and their masks), "detect" (digits and
            their boxes) or "text" (docstrings).

    Raises:
        UsageError: the task is unknown, or has no demo.
    """
    started = time.monotonic()
    shown = find_demo(task)
    root = Path("demo" if out is None else out)
    data, runs = root / shown.folder, str(root / "runs")
    if not data.is_dir():
        storage.make_folder(root)
        with storage.write_folder(data) as folder:
            shown.write_data(folder)
    audited = audit(data)
    events.emit_note(f"Audit: {pluralize(len(audited.audit.findings), 'finding')} in {data}")
    flags = to_cli_args({**shown.settings, **({"seed": seed} if seed else {})})
    settings = dict(shown.settings)
    trained = train(
        data,
        out=runs,
        model=settings.pop("model", "auto"),
        seed=seed,
        settings=settings,
        command=["skipstone", "train", str(data), "--out", runs, *flags],
    )
    shrunk = shrink(trained.run, max_drop=1.0, seed=seed, latency_seconds=LATENCY_SECONDS)
    # train and shrink verified what they made, from raw bytes in a fresh process
    verified = VerifyResult(shrunk.verification or trained.verification)
    predicted = predict(shrunk.bundle, shown.choose_files(data))
    seconds = time.monotonic() - started
    return DemoResult(data, audited, trained, shrunk, verified, predicted, seconds, shown)


def find_demo(task: str) -> Demonstration:
    """The demonstration of a task or an input (`demo` of its spec)."""
    entry: InputSpec | TaskSpec = INPUTS[task] if task in INPUTS else TASKS[task]
    if entry.demo is None:
        names = [entry.name for entry in (*TASKS, *INPUTS) if entry.demo is not None]
        raise UsageError(f"task {task!r} has no demo.", hint=f"These have: {', '.join(names)}")
    shown: Demonstration = resolve_target(entry.demo)
    return shown
