"""The verbs, as Python calls. They are the command line's, with its flags as keywords.

result = skipstone.train("photos/", epochs=5, width=0.5, seed=1)
result.metrics["accuracy"].low

model = skipstone.load("runs/001")
model.predict(["a.jpg", "b.jpg"])
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from skipstone.errors import UsageError
from skipstone.events import Lines, is_heard, listen
from skipstone.runtime.open import open_model
from skipstone.runtime.predictor import Predictor
from skipstone.settings import as_flags
from skipstone.shrink.shrink import ShrinkResult
from skipstone.verbs import answer, look, ship
from skipstone.verbs import audit as auditing
from skipstone.verbs import compare as comparing
from skipstone.verbs import demo as demonstration
from skipstone.verbs import ensemble as joining
from skipstone.verbs import shrink as shrinking
from skipstone.verbs import train as training

Path_ = str | Path
P = ParamSpec("P")
T = TypeVar("T")


def _told(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, which says what it does where a person has typed it: at Python's prompt and in
    notebooks, which set `sys.ps1`. Who listens already hears everything, and nothing is printed."""

    @functools.wraps(verb)
    def call(*args: P.args, **given: P.kwargs) -> T:
        prompt = hasattr(sys, "ps1") and not is_heard()
        with listen(Lines()) if prompt else contextlib.nullcontext():
            return verb(*args, **given)

    return call


demo = _told(demonstration.demo)
models = look.models


def load(model: Path_, *, runtime: str = "auto") -> Predictor:
    """A model ready to answer: `load("runs/001").predict(["a.jpg"])`.

    Args:
        model: a run folder or a bundle.
        runtime: "torch", "onnxruntime", "openvino", or with a precision "openvino-bf16"; "auto"
            is what the bundle ships.
    """
    return open_model(_path(model), runtime)


@_told
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
        data: a folder or a table; see `train`.
        out: a folder for audit.json, a page with the pictures and an exclude list.
        model: a run or bundle whose features judge the labels.
        seed: of the folds in which they are judged.
        settings: how the data is read: `label_column="kind"`. All of them:
            `skipstone audit --help`.
    """
    given = {"out": out, "model": model, "seed": seed or None, **settings}
    return auditing.audit(
        _path(data),
        out=_maybe(out),
        model=_maybe(model),
        seed=seed,
        settings=settings,
        command=["skipstone", "audit", str(data), *as_flags(given)],
    )


@_told
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
    """Train on labelled data: a run folder with model, proof and report.

    Args:
        data: a folder of class folders (also below train, validation and test), of pictures beside
            masks, or of texts; or a table (CSV, TSV, JSON Lines, Parquet) with a column of paths or
            texts and one of labels.
        out: the folder of runs, by default "runs": this becomes runs/001.
        model: a name of `skipstone.models()`, or "auto": chosen by the data.
        weights: "auto" (pretrained where they are installed), "pretrained", "none", or a file.
        seed: of everything random.
        from_: a model to go on from, with new photos or new classes (the flag `--from`).
        settings: the flags of `skipstone train`, which lists them all with `--help`. Such as
            epochs=5 or budget=600 (in seconds), batch_size=32, lr=0.001, size=160,
            augment="strong", class_weights="effective", early_stop=5, workers=4, device="cuda";
            label_column="kind", group_column="patient", task="tag".

    Returns:
        `run`, `bundle` and `report`, where things are; `metrics` by name, with 95 % intervals, of
        `split`; `verification`. The same call goes on with its unfinished run.

    Raises:
        UsageError: an option or the data cannot be used; the message says what to type.
        Interrupted: a signal came; the same call goes on where it stopped.
    """
    given = {"from": from_, "out": out, "model": model, "weights": weights, "seed": seed}
    given |= settings
    return training.train(
        _path(data),
        out=_maybe(out),
        model=model,
        weights=weights,
        seed=seed,
        settings=settings,
        origin=_maybe(from_),
        command=["skipstone", "train", str(data), *as_flags(given)],
    )


@_told
def evaluate(
    model: Path_,
    data: Path_,
    *,
    split: str | None = None,
    runtime: str = "auto",
    seed: int = 0,
    **settings: Any,
) -> answer.EvaluateResult:
    """Score a model on labelled data; labels match by name.

    Args:
        model: a run folder or a bundle.
        data: a folder or a table; see `train`.
        split: only this part of it: "train", "validation" or "test".
        runtime: as of `load`.
        seed: of the bootstrap.
        settings: how the data is read: `label_column="kind"`.
    """
    return answer.evaluate(
        _path(model), _path(data), split=split, runtime=runtime, seed=seed, settings=settings
    )


@_told
def predict(
    model: Path_,
    sources: Path_ | Iterable[Path_] = (),
    *,
    texts: str | Iterable[str] = (),
    runtime: str = "auto",
    out: Path_ | None = None,
    **settings: Any,
) -> answer.PredictResult:
    """What a model says of files, folders of files, and rows of tables; a bad one is one error row.

    Args:
        model: a run folder or a bundle.
        sources: one or several: files, folders, tables.
        texts: texts as they are.
        runtime: as of `load`.
        out: a `.csv` file for a table of the answers, or a folder for answers that are files
            themselves, such as masks.
        settings: how tables are read: `text_column="body"`.
    """
    return answer.predict(
        _path(model),
        [_path(source) if str(source)[:1] == "~" else source for source in _several(sources)],
        texts=[texts] if isinstance(texts, str) else list(texts),
        runtime=runtime,
        out=_maybe(out),
        settings=settings,
    )


@_told
def ensemble(
    models: Path_ | Iterable[Path_],
    *,
    data: Path_ | None = None,
    out: Path_ | None = None,
    seed: int = 0,
) -> joining.EnsembleResult:
    """One model of several that were trained on the same data: their probabilities are averaged.

    Args:
        models: runs or bundles, two or more.
        data: where the data lies now; None for where it was.
        out: folder of runs.
        seed: of the resamples behind intervals.
    """
    named = _several(models)
    given = as_flags({"data": data, "out": out, "seed": seed or None})
    return joining.ensemble(
        [_path(model) for model in named],
        data=_maybe(data),
        out=_maybe(out),
        seed=seed,
        command=["skipstone", "ensemble", *map(str, named), *given],
    )


@_told
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
    """A smaller, faster model that loses at most `max_drop` points, or an honest refusal.

    Args:
        model: a run folder or a bundle; it is only read.
        max_drop: points of the headline metric.
        plan: steps in order, such as "resolution(size=160), prune(macs=0.7), int8".
        data: where the training data lies now, if it has moved.
        exclude: for a bundle away from its run: the list of rows that training left out.
        out: the new bundle's folder, by default beside the model.
        seed: of the samples and the bootstrap.
    """
    return shrinking.shrink(
        _path(model),
        max_drop=max_drop,
        plan=plan,
        data=_maybe(data),
        exclude=_maybe(exclude),
        out=_maybe(out),
        seed=seed,
    )


@_told
def export(
    model: Path_, *, to: str = "onnx", out: Path_ | None = None, argmax: bool = False
) -> ship.ExportResult:
    """One ONNX file with a stand-alone script, or OpenVINO IR.

    Args:
        model: a run folder or a bundle.
        to: "onnx" or "openvino".
        out: the folder to write, by default export-onnx or export-openvino.
        argmax: of masks: a program that gives each pixel's class instead of logits.
    """
    return ship.export(_path(model), to=to, out=_maybe(out), argmax=argmax)


@_told
def verify(model: Path_) -> ship.VerifyResult:
    """From raw file bytes: does what ships of `model` (a run or a bundle) answer as what was
    trained?"""
    return ship.verify(_path(model))


@_told
def compare(
    models: Path_ | Iterable[Path_],
    *,
    data: Path_ | None = None,
    seed: int = 0,
    latency_seconds: float = 8.0,
    **settings: Any,
) -> comparing.CompareResult:
    """Models side by side: accuracy, size, latency.

    Args:
        models: runs, bundles, or names of untrained models.
        data: all of them are scored on it, where it is given.
        seed: of the bootstrap.
        latency_seconds: how long they race.
        settings: how `data` is read: `text_column="body"`.
    """
    return comparing.compare(
        [str(_path(model)) for model in _several(models)],
        data=_maybe(data),
        seed=seed,
        latency_seconds=latency_seconds,
        settings=settings,
    )


def _several(given: Path_ | Iterable[Path_]) -> list[Path_]:
    """One path is a list of one, though its letters could be walked through, too."""
    return [given] if isinstance(given, str | Path) else list(given)


def _path(given: Path_) -> Path:
    """A path, also below one's home (~)."""
    try:
        return Path(given).expanduser()
    except TypeError:
        kind = type(given).__name__
        hint = "Such as 'photos/' or 'labels.csv'."
        if hasattr(given, "to_csv"):
            hint = "Save it: to_csv('labels.csv', index=False), and give 'labels.csv'."
        message = f"something of the type {kind} was given where a path is meant."
        raise UsageError(message, hint=hint) from None


def _maybe(given: Path_ | None) -> Path | None:
    return None if given is None else _path(given)
