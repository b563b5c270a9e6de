"""`skipstone train` killed after its last step: at bundle, goldens, exports and report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skipstone.core import storage
from tests.mask_data import write_scenes
from tests.photos import write_class_folder
from tests.pipelines.command import SMALL
from tests.text_data import rows, write_csv

#: Kills itself before the given occurrence of (operation, file name); writes what it came past.
_DRIVER = """
import os, signal, sys
from skipstone.core import disk
from skipstone.cli.main import main
operation, name, left, log = sys.argv[1], sys.argv[2], int(sys.argv[3]), open(sys.argv[4], "w")
def fault(what, path):
    global left
    print(what, path.name, file=log, flush=True)
    if (what, path.name) == (operation, name):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
disk.fault = fault
sys.exit(main(sys.argv[5:]))
"""
#: In the order in which a run comes past them.
PLACES = (
    ("rename", "bundle", 1),
    ("rename", "bundle.json", 3),
    ("rename", "model.bin", 1),
    ("open", "report.html", 1),
)


def photos(root: Path) -> Path:
    return write_class_folder(root / "photos", 12)


def scenes(root: Path) -> Path:
    return write_scenes(root / "scenes", 12)


def texts(root: Path) -> Path:
    return write_csv(root / "texts.csv", rows(90))


@dataclass(frozen=True)
class Case:
    """What is trained on what, and whether in steps."""

    data: Callable[[Path], Path]
    flags: list[str]
    in_steps: bool = True


_SHORT = ["--epochs", "2", "--threads", "1", "--precision", "f32"]
MODELS = {
    "photos": Case(photos, [*SMALL, "--epochs", "2"]),
    "masks": Case(
        scenes,
        [
            *("--model", "resnet20", "--weights", "none", "--width", "0.25", "--depth", "0.34"),
            *("--batch-size", "4", "--crf", "off", *_SHORT),
        ],
    ),
    "textcnn": Case(
        texts,
        [
            *("--model", "textcnn", "--embedding", "8", "--maps", "4", "--batch-size", "8"),
            *_SHORT,
        ],
    ),
    "logistic": Case(texts, ["--model", "logistic", "--threads", "1"], in_steps=False),
}


def train(
    data: Path, folder: Path, place: tuple[str, str, int], flags: list[str]
) -> tuple[int, dict[str, Any]]:
    words = ["train", str(data), "--out", str(folder / "runs"), *flags, "--json"]
    log = folder / "operations.log"
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, *map(str, place), str(log), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}


@pytest.mark.proof
@pytest.mark.parametrize("model", MODELS)
def test_a_run_killed_after_its_training_ends_the_same(model: str, tmp_path: Path) -> None:
    case = MODELS[model]
    data, flags = case.data(tmp_path), case.flags
    results = {}
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    for place in PLACES:
        code, _ = train(data, tmp_path / "killed", place, flags)
        assert code == -9, f"{place} was not come past"
    never = ("never", "", 0)
    for name in ("killed", "whole"):
        code, results[name] = train(data, tmp_path / name, never, flags)
        assert code == 0
    assert Path(results["killed"]["run"]).name == "001"
    assert results["killed"]["metrics"] == results["whole"]["metrics"]
    assert results["killed"]["verified"]
    digests = {
        name: storage.file_sha256(Path(value["bundle"], "weights.safetensors"))
        for name, value in results.items()
    }
    assert digests["killed"] == digests["whole"]
    assert list(Path(results["killed"]["run"]).rglob(".skipstone-*")) == []
    if not case.in_steps:
        return
    lines = (tmp_path / "killed/runs/001/journal.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    steps = [row["step"] for row in told if row["kind"] == "resumed"]
    last = max(row["step"] for row in told if row["kind"] == "epoch")
    assert steps == [last] * len(PLACES)  # no step was trained twice
