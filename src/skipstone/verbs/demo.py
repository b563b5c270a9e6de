"""demo: the whole way on real data that ships with a dependency, in about two minutes.

scikit-learn's handwritten digits (Alpaydin and Kaynak 1998, UCI; 1,797 pictures of 8 x 8 pixels)
are written out as image files, so that the real readers, decoders and the audit run on them.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone import events, storage
from skipstone.proof.parity import Verification
from skipstone.shrink.shrink import ShrinkResult
from skipstone.tasks.base import Prediction
from skipstone.verbs.answer import PredictResult, predict
from skipstone.verbs.audit import AuditResult, audit
from skipstone.verbs.receipts import Table, receipt_table
from skipstone.verbs.ship import VerifyResult, verify
from skipstone.verbs.shrink import shrink
from skipstone.verbs.train import TrainResult, train

#: Enough for digits; more would only keep a newcomer waiting.
EPOCHS = 20


@dataclass(frozen=True)
class DemoResult:
    data: Path
    audited: AuditResult
    trained: TrainResult
    shrunk: ShrinkResult
    verified: VerifyResult
    predicted: PredictResult
    seconds: float

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
        accuracy = self.trained.metrics["accuracy"]
        rows = [
            [
                "accuracy on held-out digits",
                f"{100 * accuracy.value:.1f} % "
                f"(95 %: {100 * accuracy.low:.1f} – {100 * accuracy.high:.1f}, n = {accuracy.n})",
            ],
            *_parity(self.verified.verification),
        ]
        answers = [
            [answer.meta.name, str(answer.fields["label"]), f"{answer.fields['probability']:.3f}"]
            for answer in self.predicted.answers
            if isinstance(answer, Prediction)
        ]
        took = f"Handwritten digits, the whole way, in {self.seconds:.0f} s"
        return [
            (("picture", "answer", "probability"), answers, "A few answers"),
            receipt_table(self.shrunk.receipt),
            (("what", "result"), rows, took),
        ]


def _parity(verification: Verification) -> list[list[str]]:
    """A row a precision: how far what ships is from what was trained."""
    worst: dict[str, tuple[float, int, int]] = {}
    for row in verification.rows:
        if "max_difference" in row:
            far, flips, n = worst.get(row["precision"], (0.0, 0, row["n"]))
            worst[row["precision"]] = (max(far, row["max_difference"]), flips + row["flips"], n)
    state = "ok" if verification.ok else "FAILED"
    return [
        [
            f"parity from raw bytes, {precision}",
            f"{state}: probabilities within {far:.1e}, {flips} of {n} answers changed",
        ]
        for precision, (far, flips, n) in worst.items()
    ]


def demo(*, out: str | Path | None = None, seed: int = 0) -> DemoResult:
    """audit, train, shrink (INT8), verify, predict and report, on handwritten digits."""
    started = time.monotonic()
    root = Path("demo" if out is None else out)
    data = write_digits(root / "digits")
    audited = audit(data)
    events.note(f"Audit: {len(audited.audit.findings)} findings in {data}")
    runs = str(root / "runs")
    trained = train(
        data,
        out=runs,
        seed=seed,
        settings={"epochs": EPOCHS},
        command=["skipstone", "train", str(data), "--out", runs, "--epochs", str(EPOCHS)],
    )
    shrunk = shrink(trained.run, max_drop=1.0, seed=seed)
    verified = verify(shrunk.bundle)
    some = [sorted((data / str(digit)).iterdir())[0] for digit in range(10)]
    predicted = predict(shrunk.bundle, some)
    return DemoResult(
        data, audited, trained, shrunk, verified, predicted, time.monotonic() - started
    )


def write_digits(folder: Path) -> Path:
    """One PNG a digit, in a folder a class; written once, whole or not at all."""
    if folder.is_dir():
        return folder
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.clip(np.round(digits.images * (255 / 16)), 0, 255).astype(np.uint8)
    storage.make_folder(folder.parent)
    with storage.write_folder(folder) as new:
        for number, (picture, digit) in enumerate(zip(pictures, digits.target, strict=True)):
            place = new / str(digit)
            place.mkdir(exist_ok=True)
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "PNG")
            (place / f"{number:04d}.png").write_bytes(content.getvalue())
    return folder
