"""ONNX Runtime and OpenVINO programs: they answer as the network, and only if they are whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import DamagedError, Refusal, UsageError
from skipstone.core.registry import TASKS
from skipstone.inference.backends.libraries import import_openvino
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export import openvino_export as export_openvino_module
from skipstone.inference.golden_outputs import Goldens, compare_outputs, store_goldens
from skipstone.inference.open_model import open_model, open_runtime
from skipstone.inference.programs import (
    DISCONTINUOUS,
    Program,
    Tolerance,
    add_program,
    cap_tolerance,
    exceeded_tolerances,
    float32_tolerance,
    load_program_files,
    read_programs,
)
from skipstone.inference.restore import restore_input
from tests.small_bundles import replace_file, write_small

NAMES = ["torch-f32", "onnxruntime-f32", "openvino-f32"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_float32_programs_agree_at_any_batch(exported: Path, name: str, batch: int) -> None:
    bundle = Bundle.load(exported)
    arrays = restore_input(bundle).make_example(batch)
    expected = open_runtime(exported, bundle, "torch-f32").run(arrays)["logits"]
    runtime = open_runtime(exported, bundle, name, threads=1)
    outputs = runtime.run(arrays)
    assert list(outputs) == ["logits"]
    assert outputs["logits"].dtype == np.float32
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs["logits"] / scale, expected / scale, atol=1e-5)
    assert runtime.name == name
    assert runtime.runtime_info()["precision"] == "f32"


def test_bfloat16_is_really_used_where_the_processor_has_it(exported: Path) -> None:
    able = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    bundle = Bundle.load(exported)
    runtime = open_runtime(exported, bundle, "openvino-bf16")
    facts = runtime.runtime_info()
    assert facts["requested"] == "bf16"
    assert facts["precision"] == ("bf16" if able else "f32")
    arrays = restore_input(bundle).make_example(3)
    exact = open_runtime(exported, bundle, "openvino-f32").run(arrays)["logits"]
    gap = np.abs(runtime.run(arrays)["logits"] - exact).max() / np.abs(exact).max()
    assert gap < 0.05
    assert (gap > 1e-4) == able


def test_what_is_returned_belongs_to_the_caller(exported: Path) -> None:
    """OpenVINO hands out views of its own memory, which the next run overwrites."""
    bundle = Bundle.load(exported)
    for name in NAMES:
        runtime = open_runtime(exported, bundle, name)
        arrays = restore_input(bundle).make_example(2)
        first = runtime.run(arrays)["logits"]
        kept = first.copy()
        runtime.run({"image": 255 - arrays["image"]})
        np.testing.assert_array_equal(first, kept)


def test_every_program_is_recorded_with_its_proof(exported: Path) -> None:
    programs = read_programs(exported)
    assert list(programs.by_name) == ["onnxruntime-f32", "openvino-f32", "openvino-bf16"]
    assert programs.default == ""
    for row in programs.by_name.values():
        assert exceeded_tolerances(row.measured, row.tolerance) == ""
        assert row.weights == read_bundle_json(exported)["files"]["weights.safetensors"]["sha256"]
    assert programs.by_name["openvino-f32"].files == programs.by_name["openvino-bf16"].files


def test_a_program_of_other_weights_is_refused(copied: Path) -> None:
    data = bytearray((copied / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    replace_file(copied, "weights.safetensors", bytes(data))
    with pytest.raises(DamagedError, match="made from other weights"):
        open_model(copied, "onnxruntime")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("onnxruntime", "exports/onnx/model.onnx"),
        ("openvino", "exports/openvino/model.xml"),
        ("openvino", "exports/openvino/model.bin"),
    ],
)
def test_a_flipped_bit_is_found_before_any_parser_sees_it(
    copied: Path, name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray((copied / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / file).write_bytes(data)
    for kind in (OnnxRuntime, OpenVinoRuntime):
        monkeypatch.setattr(kind, "__init__", lambda *args, **kwargs: pytest.fail("parsed"))
    with pytest.raises(DamagedError, match=file):
        open_model(copied, name)


def test_a_program_that_is_not_the_network_is_not_added(copied: Path) -> None:
    program = read_programs(copied).by_name["onnxruntime-f32"]
    model = onnx.load_model_from_string(load_program_files(copied, program)["model"])
    _change_one_weight(model)
    data = model.SerializeToString()
    with pytest.raises(Refusal, match="differs from the model: probabilities differ"):
        add_program(copied, program, {"model": data}, OnnxRuntime(data))


class Sabotaged:
    """A bfloat16 runtime whose logits are the network's, `wrong` of their scale away."""

    name = "openvino-bf16"

    def __init__(self, folder: Path, wrong: float, precision: str = "bf16") -> None:
        self._true = open_runtime(folder, Bundle.load(folder), "openvino-f32")
        self._wrong, self._precision = wrong, precision

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        logits = self._true.run(arrays)["logits"]
        away = np.where(np.arange(logits.shape[1]) % 2, 1, -1) * np.abs(logits).max()
        return {"logits": (logits + self._wrong * away).astype(np.float32)}

    def runtime_info(self) -> dict[str, str]:
        return {"precision": self._precision}


def test_a_bfloat16_program_has_a_cap(copied: Path) -> None:
    """What was measured is what it is held to later, but not whatever was measured."""
    program = read_programs(copied).by_name["openvino-bf16"]
    with pytest.raises(
        Refusal, match=r"exported openvino-bf16 differs from the model: prob.*0\.25"
    ):
        add_program(copied, program, {}, Sabotaged(copied, 30.0))
    add_program(copied, program, {}, Sabotaged(copied, 1e-3))  # as rounding does


def test_where_bfloat16_is_computed_in_float32_nothing_is_taken_for_measured(copied: Path) -> None:
    """Made on a processor without it, a sound program verifies on one that has it."""
    program = read_programs(copied).by_name["openvino-bf16"]
    made = add_program(copied, program, {}, Sabotaged(copied, 0.0, "f32"))
    assert made.tolerance == Tolerance(0.25, None, 2, None)
    assert made.measured["remark"].startswith("it ran in f32")
    assert read_programs(copied).by_name["openvino-bf16"] == made
    elsewhere, _, _ = compare_outputs(Goldens.load(copied), Sabotaged(copied, 1e-2))
    assert exceeded_tolerances(elsewhere, made.tolerance) == ""


def test_a_network_that_bfloat16_is_too_coarse_for_goes_without(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = export_openvino_module.OpenVinoRuntime

    def make(xml: bytes, weights: bytes, *, precision: str) -> object:
        return Sabotaged(copied, 30.0) if precision == "bf16" else true(xml, weights)

    monkeypatch.setattr(export_openvino_module, "OpenVinoRuntime", make)
    heard: list[str] = []
    monkeypatch.setattr(events, "emit_warning", heard.append)
    export_openvino_module.export_openvino(copied)
    assert len(heard) == 1
    assert heard[0].startswith("No bfloat16 program: the exported openvino-bf16 differs from")


def test_a_bundle_cannot_allow_its_bfloat16_more_than_the_cap() -> None:
    loose = Tolerance(1.0, None, 16, None)
    assert cap_tolerance(loose, "bf16", 16) == Tolerance(0.25, None, 2, None)
    assert cap_tolerance(Tolerance(1.0, None, 16, 1.0), "bf16", 16) == Tolerance(
        0.25, None, 16, 0.05
    )
    assert cap_tolerance(loose, "int8", 16) == Tolerance(0.75, None, 6, None)
    assert cap_tolerance(loose, "int4", 16) == Tolerance(0.75, None, 6, None)
    for count in (1, 16):
        measured = {"probability": 0.0, "relative": 0.0, "flips": count, "n": count}
        assert "predictions changed" in exceeded_tolerances(measured, loose)


def test_a_program_needs_goldens(tmp_path: Path, exported: Path) -> None:
    folder = write_small(tmp_path / "bare", goldens=False)
    program = read_programs(exported).by_name["onnxruntime-f32"]
    data = load_program_files(exported, program)["model"]
    with pytest.raises(UsageError, match="no goldens"):
        add_program(folder, program, {"model": data}, OnnxRuntime(data))
    store_goldens(folder)
    add_program(folder, program, {"model": data}, OnnxRuntime(data), default=True)
    assert open_model(folder).runtime.name == "onnxruntime-f32"
    assert open_model(folder, "torch").runtime.name == "torch-f32"


def test_a_program_whose_file_is_nowhere_is_refused(copied: Path) -> None:
    program = Program("onnxruntime-f32", "onnxruntime", "f32", {"model": "exports/none.onnx"})
    runtime = open_runtime(copied, Bundle.load(copied), "onnxruntime")
    with pytest.raises(UsageError, match=r"no file exports/none\.onnx"):
        add_program(copied, program, {}, runtime)


def test_external_data_is_refused(exported: Path) -> None:
    model = onnx.load_model_from_string(read_file(exported, "exports/onnx/model.onnx"))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")
    with pytest.raises(Refusal, match="in another file"):
        OnnxRuntime(model.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x0a" * 50])
def test_garbage_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedError):
        OnnxRuntime(data)
    with pytest.raises(DamagedError):
        OpenVinoRuntime(data, data).get_compiled(static=True)


def test_nan_is_beyond_every_tolerance() -> None:
    measured = {"probability": float("nan"), "relative": 0.0, "flips": 0, "n": 1}
    assert "nan" in exceeded_tolerances(measured, Tolerance())


def test_nothing_is_sent_and_nothing_is_written_at_home(exported: Path, tmp_path: Path) -> None:
    """In a process whose sockets raise, with an empty home folder, and without the variable CI.

    ONNX Runtime sends from C++, past Python's sockets, but not before it has written its device
    identifier at home.
    """
    script = """
import json, os, socket, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[2])
opened = []
def refuse(*args, **kwargs):
    opened.append(args)
    raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from skipstone.inference.backends.libraries import import_nncf
from skipstone.inference.open_model import open_model
for name in ("openvino-f32", "onnxruntime"):
    predictor = open_model(sys.argv[1], name)
    predictor.runtime.run(predictor.input.make_example(1))
import_nncf()
import time; time.sleep(0.5)
print(json.dumps([len(opened), sorted(str(p) for p in Path.home().rglob("*"))]))
"""
    process = subprocess.run(
        [sys.executable, "-c", script, str(exported), json.dumps(sys.path)],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout.splitlines()[-1]) == [0, []]


def _change_one_weight(model: onnx.ModelProto) -> None:
    tensor = next(item for item in model.graph.initializer if len(item.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_networks_that_jump_are_held_to_what_most_pixels_answer() -> None:
    """A place of a maximum may be another by last bits; a changed network differs everywhere."""
    for head, held_to in (("segnet", DISCONTINUOUS), ("unet", Tolerance())):
        arch = Arch(ComponentConfig("vgg16_bn"), ComponentConfig(head))
        assert float32_tolerance({"arch": arch.to_json()}) == held_to
    rng = np.random.default_rng(0)
    logits = {"logits": rng.normal(0, 3, (16, 3, 32, 48)).astype(np.float32)}
    task = TASKS["segment"].load()(TASKS["segment"].make_options(), {"classes": list("abc")})

    def problem(changed: np.ndarray) -> str:
        found = task.compare_outputs(logits, {"logits": changed}, {})
        measured = {"probability": found.max_probability, "relative": found.max_relative}
        more = {"flips": found.flips, "n": 16, "share": found.share, "typical": found.typical}
        return exceeded_tolerances({**measured, **more}, DISCONTINUOUS)

    jumped = logits["logits"].copy()
    jumped[3, :, :12, :12] += rng.normal(0, 1, (3, 12, 12))
    assert problem(jumped) == ""
    assert "of 75% of all pixels" in problem(logits["logits"] * np.float32(1.001))
    other = logits["logits"].copy()
    other[:4, :, :8] = -other[:4, :, :8]  # 6 % of all pixels
    assert "of all pixels or boxes changed" in problem(other)
