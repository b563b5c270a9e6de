"""Texts: what `skipstone train texts.csv` gives with no flag, from the start of the process.

    python -m benchmarks text-default --data ../data --out runs/benchmarks/text-default

Stratified 5-fold over all rows of the questions and of the film reviews. Of each fold the training
part is a table of its own, and everything is chosen inside it: skipstone, scikit-learn's linear
models on TF-IDF and, where it is installed, fastText learn from the same rows, one after the other
in the same run. The test fold is scored once.

Bars: questions >= 89.5 %, film reviews >= 80 %, a model within 60 s of the start of the process.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import skipstone
from benchmarks import runs
from benchmarks.runs import NO_DATA, Results, arguments_for, data_of, skipped
from benchmarks.text import fit_peers
from benchmarks.text_rows import paired, read_rows, score, write_table

FOLDS = 5
BARS = {"questions": 0.895, "movie-reviews": 0.80}
MAX_SECONDS = 60.0
#: Joulin et al. 2016, section 3.1: pairs of words; rate and epochs are their first choice.
FASTTEXT = {"lr": 0.5, "epoch": 25, "wordNgrams": 2, "dim": 100, "thread": 2, "verbose": 0}


def parser() -> argparse.ArgumentParser:
    return arguments_for("text-default", __doc__)


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    results, met = Results(Path(given.out)), True
    for name, bar in BARS.items():
        rows = read_rows(data / "text" / f"{name}.csv")
        met &= _compare(name, rows[:400] if given.smoke else rows, results, bar, smoke=given.smoke)
    print("bars met" if met else "bars NOT met")
    return 0 if met or given.smoke else 1


def _compare(
    name: str, rows: list[tuple[str, str]], results: Results, bar: float, *, smoke: bool
) -> bool:
    from sklearn.model_selection import StratifiedKFold

    labels = [label for _, label in rows]
    right: dict[str, list[tuple[int, bool]]] = {}
    seconds: dict[str, list[float]] = {}
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels)
    for fold, (train, test) in enumerate(folds):
        if smoke and fold:
            break
        key = f"{name}-{fold}" + ("-smoke" if smoke else "")
        row = results.get(key) or results.add(key, _fit_fold(rows, train, test))
        for model, answers in row["right"].items():
            right.setdefault(model, []).extend(zip(map(int, test), answers, strict=True))
            seconds.setdefault(model, []).append(row["seconds"].get(model, float("nan")))
    for model, answers in sorted(right.items()):
        print(f"  {name}: {model:<34} {score(answers)}, {np.mean(seconds[model]):.1f} s")
    peers = [model for model in right if model != "skipstone"]
    best = max(peers, key=lambda model: np.mean([good for _, good in right[model]]))
    gap, low, high = paired(right["skipstone"], right[best])
    print(f"  against {best}: {100 * gap:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f})")
    value = float(np.mean([good for _, good in right["skipstone"]]))
    return value >= bar and max(seconds["skipstone"]) <= MAX_SECONDS


def _fit_fold(rows: list[tuple[str, str]], train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    right: dict[str, list[bool]] = {}
    seconds: dict[str, float] = {}
    texts, labels = [rows[at][0] for at in test], [rows[at][1] for at in test]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "texts.csv")
        write_table(table, [rows[at] for at in train], [])
        began = time.monotonic()
        run = runs.skipstone("train", str(table), "--out", str(Path(folder, "runs")))
        seconds["skipstone"] = time.monotonic() - began
        answers = skipstone.load(run["bundle"]).predict([text.encode() for text in texts])
        right["skipstone"] = [
            answer.fields["label"] == label  # type: ignore[union-attr]
            for answer, label in zip(answers, labels, strict=True)
        ]
        if importlib.util.find_spec("fasttext") is not None:
            began = time.monotonic()
            right["fastText"] = _fit_fasttext(Path(folder), rows, train, texts, labels)
            seconds["fastText"] = time.monotonic() - began
    right |= fit_peers(rows, train, test)
    return {"right": right, "seconds": seconds}


def _fit_fasttext(
    folder: Path,
    rows: list[tuple[str, str]],
    train: np.ndarray,
    texts: list[str],
    labels: list[str],
) -> list[bool]:
    import fasttext

    lines = [f"__label__{rows[at][1]} {' '.join(rows[at][0].lower().split())}" for at in train]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = fasttext.train_supervised(str(folder / "train.txt"), **FASTTEXT)
    answers, _ = model.predict([" ".join(text.lower().split()) for text in texts])
    return [answer[0] == f"__label__{label}" for answer, label in zip(answers, labels, strict=True)]
