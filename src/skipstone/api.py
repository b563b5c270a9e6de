"""The verbs, as Python calls. They are the command line's, with its flags as keywords.

result = skipstone.train("photos/", epochs=5, width=0.5, seed=1)
result.metrics["accuracy"].low

model = skipstone.load("runs/001")
model.predict(["a.jpg", "b.jpg"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skipstone.runtime.open import open_model
from skipstone.runtime.predictor import Predictor
from skipstone.settings import as_flags
from skipstone.shrink.shrink import ShrinkResult
from skipstone.verbs import answer, look, ship
from skipstone.verbs import audit as auditing
from skipstone.verbs import compare as comparing
from skipstone.verbs import demo as demonstration
from skipstone.verbs import shrink as shrinking
from skipstone.verbs import train as training

Path_ = str | Path

demo = demonstration.demo
models = look.models


def load(model: Path_, *, runtime: str = "auto") -> Predictor:
    """A model ready to answer: `load("runs/001").predict(["a.jpg"])`.

    Args:
        model: a run folder or a bundle.
        runtime: "torch", "onnxruntime", "openvino", or with a precision "openvino-bf16"; "auto"
            is what the bundle ships.
    """
    return open_model(Path(model), runtime)


def audit(
    data: Path_,
    *,
    out: Path_ | None = None,
    model: Path_ | None = None,
    seed: int = 0,
    **settings: Any,
) -> auditing.AuditResult:
    """What is in the data and what is wrong with it; nothing is changed.

    Args:
        out: a folder for audit.json, a page with the pictures and an exclude list.
        model: a run or bundle whose features judge the labels.
    """
    given = {"out": out, "model": model, "seed": seed or None, **settings}
    return auditing.audit(
        Path(data),
        out=out,
        model=model,
        seed=seed,
        settings=settings,
        command=["skipstone", "audit", str(data), *as_flags(given)],
    )


def train(
    data: Path_,
    *,
    out: Path_ | None = None,
    model: str = "auto",
    weights: str = "auto",
    seed: int = 0,
    from_: Path_ | None = None,
    **settings: Any,
) -> training.TrainResult:
    """Train on labelled data. `settings` are the flags of `skipstone train`: `epochs=5`.

    `from_` is `--from`: a model to go on from, with new photos or new classes.

    Raises:
        UsageError: an option or the data cannot be used; the message says what to type.
        Interrupted: a signal came; the same call goes on where it stopped.
    """
    given = {"from": from_, "out": out, "model": model, "weights": weights, "seed": seed}
    given |= settings
    return training.train(
        Path(data),
        out=out,
        model=model,
        weights=weights,
        seed=seed,
        settings=settings,
        origin=from_,
        command=["skipstone", "train", str(data), *as_flags(given)],
    )


def evaluate(
    model: Path_,
    data: Path_,
    *,
    split: str | None = None,
    runtime: str = "auto",
    seed: int = 0,
    **settings: Any,
) -> answer.EvaluateResult:
    """Score a model on labelled data; labels match by name."""
    return answer.evaluate(
        Path(model), Path(data), split=split, runtime=runtime, seed=seed, settings=settings
    )


def predict(
    model: Path_,
    sources: Sequence[Path_] = (),
    *,
    texts: Sequence[str] = (),
    runtime: str = "auto",
    out: Path_ | None = None,
    **settings: Any,
) -> answer.PredictResult:
    """What a model says of files, folders of files, and rows of tables; a bad one is one error row.

    `texts` are texts as they are. `out` is a `.csv` file for a table of the answers, or a folder
    for answers that are files themselves, such as masks. `settings` say how tables are read:
    `text_column="body"`.
    """
    return answer.predict(
        Path(model), sources, texts=texts, runtime=runtime, out=out, settings=settings
    )


def shrink(
    model: Path_,
    *,
    max_drop: float = 1.0,
    plan: str = "int8",
    data: Path_ | None = None,
    exclude: Path_ | None = None,
    out: Path_ | None = None,
    seed: int = 0,
) -> ShrinkResult:
    """A smaller, faster model that loses at most `max_drop` points, or an honest refusal."""
    return shrinking.shrink(
        Path(model),
        max_drop=max_drop,
        plan=plan,
        data=data,
        exclude=exclude,
        out=out,
        seed=seed,
    )


def export(
    model: Path_, *, to: str = "onnx", out: Path_ | None = None, argmax: bool = False
) -> ship.ExportResult:
    """One ONNX file with a stand-alone script, or OpenVINO IR; with `argmax` a program that gives
    each pixel's class instead of logits."""
    return ship.export(Path(model), to=to, out=out, argmax=argmax)


def verify(model: Path_) -> ship.VerifyResult:
    """From raw file bytes: does what ships answer as what was trained?"""
    return ship.verify(Path(model))


def compare(
    models: Sequence[str | Path],
    *,
    data: Path_ | None = None,
    seed: int = 0,
    latency_seconds: float = 8.0,
    **settings: Any,
) -> comparing.CompareResult:
    """Models side by side: runs, bundles, or names of untrained models. `settings` say how `data`
    is read: `text_column="body"`."""
    return comparing.compare(
        [str(model) for model in models],
        data=data,
        seed=seed,
        latency_seconds=latency_seconds,
        settings=settings,
    )
