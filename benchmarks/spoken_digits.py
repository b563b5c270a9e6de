"""Spoken digits: known voices, new voices, and how fast a model hears.

known voices   `skipstone train FOLDER` with no flag, scored on the validation folder
new voices     each voice in turn is the test part, and all other recordings train: --model auto,
               the baseline (mfcc-svm) and a plain convolutional network (resnet20)
real time      1,000 recordings of one second, from the bytes of their files to predictions, on one
               core, with each runtime; how many times faster than they last
int8           shrink to 8 bits: accepted with its figures, or refused

A voice is the first word of a file's name. Validation recordings are scored only; every choice was
made on parts of the training recordings (docs/audio.md).

Bars: 98.5 % of known voices within 5 minutes; new voices 90 % on average and 80 % for each, all five
within 30 minutes; 200 times real time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.runs import NO_DATA, Results, arguments_for, data_of, shown, skipped, skipstone

#: Flags of the models that new voices are predicted with.
MODELS: dict[str, tuple[str, ...]] = {
    "auto": (),
    "mfcc-svm": ("--model", "mfcc-svm"),
    "resnet20": ("--model", "resnet20", "--width", "0.5", "--epochs", "12"),
}
KNOWN_BAR, MEAN_BAR, WORST_BAR, SPEED_BAR = 0.985, 0.9, 0.8, 200.0
KNOWN_SECONDS, NEW_SECONDS = 300.0, 1800.0
CLIPS = 1000


def parser() -> argparse.ArgumentParser:
    made = arguments_for("spoken-digits", __doc__)
    made.add_argument("--models", default=",".join(MODELS), help="for new voices")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (root := data_of(given)) is None:
        return skipped(NO_DATA)
    data, out = root / "spoken-digits", Path(given.out)
    results, met = Results(out), True
    short = ("--steps", "2", "--width", "0.25") if given.smoke else ()
    known = results.get("known") or results.add("known", _train(data, out / "known", ()))
    met &= _report(
        f"known voices: {shown(known['accuracy'])} in {known['seconds']:.0f} s ({known['model']})",
        known["accuracy"]["value"] >= KNOWN_BAR and known["seconds"] <= KNOWN_SECONDS,
    )
    tables = write_voice_tables(data, out / "voices")
    for name in given.models.split(","):
        flags = (*MODELS[name], *(short if name == "resnet20" else ()))
        rows = {
            voice: results.get(f"{name}-{voice}")
            or results.add(f"{name}-{voice}", _train(table, out / f"{name}-{voice}", flags))
            for voice, table in list(tables.items())[: 1 if given.smoke else None]
        }
        values = {voice: row["accuracy"]["value"] for voice, row in rows.items()}
        seconds = sum(row["seconds"] for row in rows.values())
        mean, worst = sum(values.values()) / len(values), min(values.values())
        each = ", ".join(f"{voice} {value:.1%}" for voice, value in values.items())
        good = mean >= MEAN_BAR and worst >= WORST_BAR and seconds <= NEW_SECONDS
        text = f"new voices, {name}: mean {mean:.1%}, worst {worst:.1%} in {seconds:.0f} s ({each})"
        met &= _report(text, good if name == "auto" else None)
    small = results.get("int8") or results.add("int8", _shrink(known["run"], out / "int8"))
    print(f"int8: {small['verdict']}", flush=True)
    bundle = small["bundle"] or known["run"]
    speeds = results.get("speed") or results.add("speed", _measure(bundle, data, given.smoke))
    text = ", ".join(f"{name} {value:,.0f}x" for name, value in speeds["times"].items())
    met &= _report(f"real time, one core: {text}", max(speeds["times"].values()) >= SPEED_BAR)
    print("bar met" if met else "bar NOT met")
    return 0 if met or given.smoke else 1


def _report(text: str, good: bool | None) -> bool:
    print(text + {True: " - bar met", False: " - bar NOT met", None: ""}[good], flush=True)
    return good is not False


def _train(data: Path, out: Path, flags: tuple[str, ...]) -> dict[str, Any]:
    run = skipstone("train", str(data), "--out", str(out), *flags)
    arch = json.loads((Path(run["bundle"]) / "bundle.json").read_text())["arch"]["backbone"]
    return {
        "accuracy": run["metrics"]["accuracy"],
        "baseline": run["baseline"],
        "seconds": run["wall_seconds"],
        "model": arch["name"],
        "run": run["run"],
    }


def write_voice_tables(data: Path, out: Path) -> dict[str, Path]:
    """{voice: a table in which that voice is the test part}, of the training folder only."""
    by_voice: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((data / "train").rglob("*.wav")):
        by_voice[file.name.partition("_")[0]].append(file.absolute())
    out.mkdir(parents=True, exist_ok=True)
    tables = {}
    for voice in by_voice:
        tables[voice] = out / f"{voice}.csv"
        with tables[voice].open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "label", "split"])
            for other, files in by_voice.items():
                split = "test" if other == voice else "train"
                writer.writerows([str(file), f"digit {file.parent.name}", split] for file in files)
    return tables


def _shrink(run: str, out: Path) -> dict[str, Any]:
    answer = skipstone("shrink", run, "--max-drop", "1", "--out", str(out))
    receipt = answer["receipt"]
    verdict = receipt["verdict"] if "verdict" in receipt else str(answer["accepted"])
    return {
        "verdict": f"{'accepted' if answer['accepted'] else 'refused'}: {verdict}",
        "bundle": str(out) if answer["accepted"] else None,
        "receipt": receipt,
    }


def _measure(bundle: str, data: Path, smoke: bool) -> dict[str, Any]:
    """How many times faster than real time each runtime is, in a process with one core."""
    count = 20 if smoke else CLIPS
    code = (
        "import sys; from benchmarks.spoken_digits import measure_speed; "
        "measure_speed(*sys.argv[1:])"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, bundle, str(data), str(count)]
    done = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=True)
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"times": times, "clips": count}


def measure_speed(bundle: str, data: str, count: str) -> None:
    """Print {runtime: times real time} as JSON; the process is bound to its first core."""
    import numpy as np
    import torch

    from skipstone.audio.decode import fit_length, read_samples
    from skipstone.audio.goldens import write_wav
    from skipstone.bundle.locate import resolve_bundle
    from skipstone.data.sources import Inline
    from skipstone.inference.open_model import open_model
    from skipstone.inference.programs import read_programs

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    files = sorted((Path(data) / "train").rglob("*.wav"))
    clips = []
    for file in (files * (int(count) // len(files) + 1))[: int(count)]:
        samples, rate = read_samples(file.read_bytes())
        second = fit_length(np.ascontiguousarray(samples[:, 0]), rate)
        clips.append(Inline(write_wav(second, rate), file.name))
    times = {}
    names = ["torch-f32", *read_programs(resolve_bundle(bundle)).by_name]
    for name in names:
        model = open_model(bundle, name)
        model.predict(clips[:64])  # compiles
        begin = time.perf_counter()
        answers = model.predict(clips)
        seconds = time.perf_counter() - begin
        assert len(answers) == len(clips)
        times[name] = round(len(clips) / seconds, 1)
    print(json.dumps(times))
