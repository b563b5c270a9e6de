"""16-bit pictures of five channels, whose labels lie in the low byte, through the whole chain."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skipstone.evaluation.parity import verify
from skipstone.inference.open_model import open_model
from tests.high_depth_pictures import stripes, write_stripes
from tests.pipelines.command import Answer, ask

TINY = ("--model", "resnet20", "--width", "0.25", "--depth", "0.34", "--size", "32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("deep") / "cells", 40)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    out = tmp_path_factory.mktemp("out") / "runs"
    answer = ask("train", data, "--out", out, *TINY, "--epochs", "8", "--batch-size", "8")
    assert answer.code == 0, answer
    return answer


def test_the_low_byte_is_learnt(trained: Answer) -> None:
    assert trained.value["verified"]
    assert trained.value["metrics"]["accuracy"]["value"] >= 0.9


def test_in_8_bits_there_is_nothing_to_learn(data: Path, tmp_path: Path) -> None:
    """Were the low byte lost on the way, the test above could not pass."""
    import tifffile
    from PIL import Image

    for file in sorted(data.rglob("*.tif")):
        grey = (tifffile.imread(file) >> 8).astype(np.uint8)[..., 0]
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        Image.fromarray(grey).save(tmp_path / file.parent.name / f"{file.stem}.png")
    flat = [np.asarray(Image.open(file)).std() == 0 for file in tmp_path.rglob("*.png")]
    assert len(flat) == 80
    assert all(flat)


def test_the_audit_says_what_they_are(data: Path) -> None:
    found = ask("audit", data).value
    assert found["counts"]["modes"] == {"5 channels of 16 bits": 80}
    assert found["counts"]["unreadable"] == 0
    kinds = {finding["kind"] for finding in found["findings"]}
    assert not kinds & {"unreadable", "mixed_pixels", "not_read"}


def test_every_runtime_answers_files_of_users_alike(trained: Answer, data: Path) -> None:
    run = Path(trained.value["run"])
    checks = {row["name"]: row for row in verify(run).rows}
    assert {"torch-f32", "onnxruntime-f32", "openvino-f32", "openvino-bf16"} <= set(checks)
    assert all(row["ok"] for row in checks.values()), checks
    assert checks["stand-alone script"]["ok"]
    files = sorted(data.rglob("*.tif"))[::4]
    wanted = [answer.fields["label"] for answer in open_model(run, "torch").predict(files)]  # type: ignore[union-attr]
    assert wanted == [file.parent.name for file in files]
    for runtime in ("onnxruntime", "openvino-f32", "openvino-bf16"):
        found = [answer.fields["label"] for answer in open_model(run, runtime).predict(files)]  # type: ignore[union-attr]
        assert found == wanted, runtime


def test_int8_keeps_the_low_byte_or_refuses(trained: Answer, data: Path) -> None:
    small = ask("shrink", trained.value["run"], "--max-drop", "2")
    receipt = small.value["receipt"]
    if small.code == 1:
        assert not small.value["accepted"]
        return
    assert receipt["latency"]["rows"]
    files = sorted(data.rglob("*.tif"))
    model = open_model(small.value["bundle"])
    assert model.runtime.name == "openvino-int8"
    assert model.runtime.runtime_info()["layers"]["f32"] == 1  # the stem
    found = [answer.fields["label"] for answer in model.predict(files)]  # type: ignore[union-attr]
    right = sum(a == file.parent.name for a, file in zip(found, files, strict=True))
    assert right >= 0.9 * len(files)


def test_int8_that_loses_the_low_byte_is_refused(
    trained: Answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sabotage: pixels reach the program in steps of 256, as an 8-bit layer would see them."""
    from skipstone.inference.backends.openvino_backend import OpenVinoRuntime

    real = OpenVinoRuntime.run

    def coarse(self: OpenVinoRuntime, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.name == "openvino-int8":
            arrays = {name: value & 0xFF00 for name, value in arrays.items()}
        return real(self, arrays)

    monkeypatch.setattr(OpenVinoRuntime, "run", coarse)
    answer = ask("shrink", trained.value["run"], "--max-drop", "2", "--out", tmp_path / "small")
    assert answer.code == 1
    assert not answer.value.get("accepted", False)


def test_the_script_alone_answers_the_same(trained: Answer, data: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    answer = ask("export", trained.value["run"], "--to", "onnx", "--out", shipped)
    assert answer.code == 0, answer
    files = [str(file) for file in sorted(data.rglob("*.tif"))[::16]]
    done = subprocess.run(
        [sys.executable, "-I", str(shipped / "predict.py"), "--json", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)["predictions"]
    ours = ask("predict", trained.value["run"], *files).value["predictions"]
    for one, other in zip(alone, ours, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_arrays_in_hand_evaluate_and_the_report(trained: Answer, data: Path) -> None:
    run = Path(trained.value["run"])
    predictor = open_model(run, "torch")
    (found,) = predictor.predict([stripes(901, 4)])
    assert found.fields["label"] == "fine"  # type: ignore[union-attr]
    (wrong,) = predictor.predict([stripes(901, 4).astype(np.float32)])
    assert "it has 5 channels of 32-bit numbers" in wrong.error  # type: ignore[union-attr]
    scored = ask("evaluate", run, data)
    assert scored.value["metrics"]["accuracy"]["value"] >= 0.9
    page = (run / "report.html").read_text()
    assert "5 channels of 16 bits" in page
    assert "detail is faint" in page


def test_a_table_of_them_too(data: Path, tmp_path: Path) -> None:
    """What the reader is does not matter; one step is enough to see that it goes through."""
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for path in sorted(data.rglob("*.tif")):
            writer.writerow([path, path.parent.name])
    answer = ask(
        *("train", tmp_path / "cells.csv", "--out", tmp_path / "runs", *TINY, "--steps", "1"),
        *("--augment", "strong"),
    )
    assert answer.code == 0, answer
