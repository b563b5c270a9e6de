"""demo: the whole way on real data that ships with a dependency, in about two minutes.

What each task shows is in `verbs/demos.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone import events
from skipstone.errors import UsageError
from skipstone.proof.intervals import Estimate
from skipstone.proof.parity import Verification
from skipstone.registry import INPUTS, TASKS, resolve_target
from skipstone.report.words import percent, span
from skipstone.settings import as_flags
from skipstone.shrink.shrink import ShrinkResult
from skipstone.tasks.base import Prediction
from skipstone.verbs.answer import PredictResult, predict
from skipstone.verbs.audit import AuditResult, audit
from skipstone.verbs.baseline import Comparison
from skipstone.verbs.demos import Demonstration, write_once
from skipstone.verbs.receipts import Table, receipt_table
from skipstone.verbs.ship import VerifyResult
from skipstone.verbs.shrink import shrink
from skipstone.verbs.train import TrainResult, train

#: Enough for the 300 rounds that a race has at most, with networks as small as these.
LATENCY_SECONDS = 4.0


@dataclass(frozen=True)
class DemoResult:
    data: Path
    audited: AuditResult
    trained: TrainResult
    shrunk: ShrinkResult
    verified: VerifyResult
    predicted: PredictResult
    seconds: float
    shown: Demonstration

    @property
    def report(self) -> Path:
        return self.trained.report

    @property
    def exit_code(self) -> int:
        """0 when all of it is proven: a refused shrink is an honest end, not a failure."""
        parts = (self.trained, self.verified, self.predicted)
        return max(part.exit_code for part in parts)

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

    def tables(self) -> list[Table]:
        """What the terminal shows at the end."""
        score = next(iter(self.trained.metrics.values()))  # the headline comes first
        rows = [
            [self.shown.figure, _share(score)],
            *_beside(self.trained.baseline),
            *_parity(self.verified.verification),
        ]
        answers = [
            [answer.meta.name, _words(answer.fields["label"]), _words(answer.fields["probability"])]
            for answer in self.predicted.answers
            if isinstance(answer, Prediction)
        ]
        took = f"{self.shown.title}, the whole way, in {self.seconds:.0f} s"
        return [
            ((self.audited.audit.nouns.unit, "answer", "probability"), answers, "A few answers"),
            receipt_table(self.shrunk.receipt),
            (("what", "result"), rows, took),
        ]


def _words(value: Any) -> str:
    """A label or a probability, or several of them."""
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _share(score: Estimate) -> str:
    spread = span(score.low, score.high, as_percent=True).removesuffix(" %")
    return f"{percent(score.value)} (95 %: {spread}, n = {score.n})"


def _beside(baseline: Comparison | None) -> list[list[str]]:
    """A simple model on the same rows, where the input has one."""
    if baseline is None:
        return []
    value, low, high = (
        100 * getattr(baseline.difference, name) for name in ("value", "low", "high")
    )
    return [
        [f"the baseline, {baseline.model}", _share(baseline.value)],
        ["difference to it, paired", f"{value:+.1f} points (95 %: {low:+.1f} – {high:+.1f})"],
    ]


def _parity(verification: Verification) -> list[list[str]]:
    """A row a precision: how far what ships is from what was trained."""
    measured = [row for row in verification.rows if "max_difference" in row]
    state = "ok" if verification.ok else "FAILED"
    found = []
    for precision in dict.fromkeys(row["precision"] for row in measured):
        rows = [row for row in measured if row["precision"] == precision]
        far, flips = max(row["max_difference"] for row in rows), sum(row["flips"] for row in rows)
        changed = f"{flips} of {rows[0]['n']} answers changed"
        if shares := [row["share"] for row in rows if "share" in row]:
            changed += f", {percent(max(shares))} of all pixels"
        told = f"{state}: probabilities within {far:.1e}, {changed}"
        found.append([f"parity from raw bytes, {precision}", told])
    return found


def demo(*, out: str | Path | None = None, seed: int = 0, task: str = "classify") -> DemoResult:
    """audit, train, shrink (INT8), verify, predict and report, on data that is at hand.

    Args:
        out: a folder for data and run, by default "demo".
        seed: of everything random.
        task: "classify" (digits), "segment" (digits and their masks) or "text" (docstrings).

    Raises:
        UsageError: no such task, or one without a demonstration.
    """
    started = time.monotonic()
    shown = demonstration(task)
    root = Path("demo" if out is None else out)
    data = write_once(root / shown.folder, shown.write)
    audited = audit(data)
    events.note(f"Audit: {len(audited.audit.findings)} findings in {data}")
    runs = str(root / "runs")
    flags = as_flags({**shown.settings, **({"seed": seed} if seed else {})})
    choices = dict(shown.settings)
    trained = train(
        data,
        out=runs,
        model=choices.pop("model", "auto"),
        seed=seed,
        settings=choices,
        command=["skipstone", "train", str(data), "--out", runs, *flags],
    )
    shrunk = shrink(trained.run, max_drop=1.0, seed=seed, latency_seconds=LATENCY_SECONDS)
    # what was made was verified when it was made, in a process of its own from raw bytes
    verified = VerifyResult(shrunk.verification or trained.verification)
    predicted = predict(shrunk.bundle, shown.pick(data))
    took = time.monotonic() - started
    return DemoResult(data, audited, trained, shrunk, verified, predicted, took, shown)


def demonstration(task: str) -> Demonstration:
    """What the entry of a task, or of an input, names as its demonstration."""
    entry = INPUTS[task] if task in INPUTS else TASKS[task]
    target = entry.facts.get("demo")
    if target is None:
        having = [entry.name for entry in (*TASKS, *INPUTS) if "demo" in entry.facts]
        raise UsageError(
            f"the task {task!r} has no demonstration.", hint=f"These have: {', '.join(having)}"
        )
    found: Demonstration = resolve_target(target)
    return found
