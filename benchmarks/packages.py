"""The large set of `benchmarks.text`: descriptions of Debian packages by section.

    python -m benchmarks.packages TABLE auto|peer

is the process whose whole time counts.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runs import Results, skipped
from benchmarks.text_rows import paired, score, write_table

BAR, BAR_SECONDS = 0.787, 20.0


def packages(results: Results, out: Path, *, smoke: bool, peer: bool) -> bool:
    """The large set: a fresh process reads, learns and answers; its whole time counts."""
    found = _described()
    if found is None:
        return not skipped("packages: apt-cache dumpavail gives nothing here", known=True)
    random.Random(0).shuffle(found)
    found = found[:3000] if smoke else found
    cut = len(found) // 10
    table = out / ("packages-smoke.csv" if smoke else "packages.csv")
    write_table(table, found[cut:], found[:cut])
    print(f"  packages: {len(found):,} texts, {len({label for _, label in found})} sections")
    rows = {}
    for model in ("auto", "peer") if peer else ("auto",):
        key = f"packages-{model}" + ("-smoke" if smoke else "")
        rows[model] = row = results.get(key) or results.add(key, _timed(table, model))
        shown = score(list(enumerate(row["right"])))
        print(
            f"  packages: {model:<5} {shown} of {len(row['right']):,} texts in "
            f"{row['seconds']:.1f} s from the start of the process ({row['parts']})",
            flush=True,
        )
    if peer:
        gap, low, high = paired(*(list(enumerate(rows[m]["right"])) for m in ("auto", "peer")))
        print(
            f"  packages: auto against the peer: {100 * gap:+.2f} points ({100 * low:+.2f} to "
            f"{100 * high:+.2f}, paired over texts)"
        )
    ours = rows["auto"]
    return smoke or (np.mean(ours["right"]) >= BAR and ours["seconds"] <= BAR_SECONDS)


def _described() -> list[tuple[str, str]] | None:
    """(description, section) of every package that the system knows, sections of 10 or more."""
    try:
        process = subprocess.run(
            ["apt-cache", "dumpavail"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    rows = []
    for record in process.stdout.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in record.split("\n"):
            if line[:1] == " " and name:
                fields[name] += line
            elif ": " in line:
                name, _, value = line.partition(": ")
                fields[name] = value
        text = fields.get("Description", fields.get("Description-en", ""))
        section = fields.get("Section", "").rpartition("/")[2]
        if text and section:
            rows.append((" ".join(text.split()), section))
    rows = list(dict.fromkeys(rows))
    counts = Counter(section for _, section in rows)
    return [row for row in rows if counts[row[1]] >= 10] or None


def _timed(table: Path, model: str) -> dict[str, Any]:
    """What `_worker` prints in a process of its own, and the seconds of all of it."""
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.packages", str(table), model],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - began
    return {**json.loads(process.stdout.splitlines()[-1]), "seconds": round(seconds, 1)}


def _worker(table: Path, model: str) -> None:
    """Read a table, learn and answer its test rows; one JSON object: "right", "parts"."""
    began = time.monotonic()
    parts: dict[str, float] = {}

    def done(part: str) -> None:
        parts[part] = time.monotonic() - began

    right = (_peer_answers if model == "peer" else _our_answers)(table, done)
    shown = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
    print(json.dumps({"right": right, "parts": shown}))


def _our_answers(table: Path, done: Callable[[str], None]) -> list[bool]:
    """The model that `--model auto` takes."""
    from skipstone.core.registry import BACKBONES
    from skipstone.core.specs import resolve_target
    from skipstone.data.read import read_manifest
    from skipstone.models.backbone import ClosedFormProblem
    from skipstone.text.auto import choose_text_model
    from skipstone.text.input import TextInput
    from skipstone.text.options import TextOptions

    manifest = read_manifest(table)
    done("read")
    fit, test = manifest.filter_rows("split", "train"), manifest.filter_rows("split", "test")
    classes = sorted(set(manifest.column_values("target")))
    choice = choose_text_model(
        model="auto", weights="none", state={}, rows=len(fit), classes=len(classes)
    )
    made = TextInput(TextOptions(**choice.input)).fit(fit.list_sources())
    done("vocabulary")
    code = {name: number for number, name in enumerate(classes)}
    matrix, _ = made.make_feature_matrix(fit.list_sources())
    done("features")
    targets = np.array([code[name] for name in fit.column_values("target")])
    entry = BACKBONES[choice.model]
    assert entry.solver is not None
    solve = resolve_target(entry.solver)
    solution = solve(
        entry.make_options(),
        ClosedFormProblem(matrix, targets, len(classes), 0, made.feature_groups),
    )
    done("solved")
    held, _ = made.make_feature_matrix(test.list_sources())
    logits = held @ solution.tensors["weight.weight"][1:] + solution.tensors["bias"]
    truth = np.array([code[name] for name in test.column_values("target")])
    done("answered")
    return [bool(right) for right in logits.argmax(axis=1) == truth]


def _peer_answers(table: Path, done: Callable[[str], None]) -> list[bool]:
    """scikit-learn's logistic regression on TF-IDF of words; its features are those with which
    58 classes fit into a laptop's memory."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    done("read")
    fit, test = ([row for row in rows if row["split"] == part] for part in ("train", "test"))
    features = TfidfVectorizer(sublinear_tf=True)
    matrix = features.fit_transform([row["text"] for row in fit])
    done("features")
    model = LogisticRegression(C=10, max_iter=1000).fit(matrix, [row["label"] for row in fit])
    done("solved")
    answers = model.predict(features.transform([row["text"] for row in test]))
    done("answered")
    return [bool(found == row["label"]) for found, row in zip(answers, test, strict=True)]


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), sys.argv[2])
