"""verify is green on what was trained, and red on every fault that we know to plant.

A fault in code is planted in the verifying process itself: an installed plugin (a folder with the
metadata of a distribution on the path) patches skipstone when its entry point is loaded. A fault
in data is written as somebody would who also recomputes every hash.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.core import events
from skipstone.core.errors import SkipstoneError, UsageError
from skipstone.core.storage import write_tensors
from skipstone.evaluation import parity as fresh
from skipstone.evaluation.parity import Verification, run_checks, verify
from skipstone.inference.export.openvino_export import OPENVINO_FILES
from skipstone.inference.golden_outputs import Goldens
from skipstone.inference.programs import DISCONTINUOUS, FLOAT32_TOLERANCE, Tolerance
from tests.small_bundles import replace_file, reseal, write_small

Plant = Callable[[str], None]


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with goldens and no programs: quicker, where the network alone must show it."""
    return write_small(tmp_path_factory.mktemp("bare") / "bundle")


@pytest.fixture
def bare_copy(bare: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bare, tmp_path / "bundle"))


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Install a plugin whose loading runs `code`, for processes started from here on."""

    def install(code: str) -> None:
        folder = tmp_path / "installed"
        info = folder / "planted-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[skipstone.inputs]\nplanted = planted:ENTRY\n")
        head = "from skipstone.core.specs import InputSpec\nENTRY = InputSpec('planted', 'planted:none')\n"
        (folder / "planted.py").write_text(head + textwrap.dedent(code))
        monkeypatch.syspath_prepend(folder)

    return install


def _red(found: Verification) -> set[str]:
    """The names of the checks that failed."""
    assert not found.ok
    assert found.problems
    return {row["name"] for row in found.rows if not row["ok"]}


def _checked(folder: Path) -> Verification:
    """What `verify` finds, in this process: quicker, where the fault lies in the files."""
    return Verification.from_rows(list(run_checks(folder)))


# --- green ------------------------------------------------------------------------------------


def test_an_untouched_bundle_is_green(exported: Path) -> None:
    found = verify(exported)
    assert found.problems == []
    assert found.ok
    assert found.flips == 0
    rows = {row["name"]: row for row in found.rows}
    assert list(rows) == [
        "files",
        "preprocessing",
        "meaning",
        "torch-f32",
        "onnxruntime-f32",
        "openvino-f32",
        "openvino-bf16",
        "stand-alone script",
    ]
    for name in ("torch-f32", "onnxruntime-f32", "openvino-f32"):
        assert rows[name]["max_difference"] < 1e-5
        assert rows[name]["max_relative"] < 1e-5
        assert rows[name]["n"] == 16
    assert found.max_difference == rows["openvino-bf16"]["max_difference"] < 0.05
    json.dumps(found.rows, allow_nan=False)


def test_a_moved_bundle_and_a_harmless_plugin_are_green(
    bare_copy: Path, tmp_path: Path, plant: Plant
) -> None:
    plant("")
    (tmp_path / "run").mkdir()
    bare_copy.rename(tmp_path / "run" / "bundle")
    assert verify(tmp_path / "run").ok


# --- faults in code ---------------------------------------------------------------------------


def test_bgr_for_rgb(bare: Path, plant: Plant) -> None:
    plant("""
    import skipstone.image.input as image
    true = image.decode_with_size
    def swapped(data, spec):
        pixels, size = true(data, spec)
        return pixels[..., ::-1].copy(), size
    image.decode_with_size = swapped
    """)
    assert _red(verify(bare)) == {"preprocessing", "torch-f32"}


def test_ignored_exif(bare: Path, plant: Plant) -> None:
    plant("""
    import skipstone.image.decode as pixels
    pixels.exif_orientation = lambda image: 1
    """)
    assert _red(verify(bare)) == {"preprocessing", "torch-f32"}


def test_wrong_interpolation_in_code(bare: Path, plant: Plant) -> None:
    plant("""
    import skipstone.image.decode as pixels
    pixels._FILTERS["bilinear"] = pixels._FILTERS["bicubic"]
    """)
    assert _red(verify(bare)) == {"preprocessing", "torch-f32"}


def test_silent_bf16_in_torch(bare: Path, plant: Plant) -> None:
    plant("""
    import torch
    from skipstone.inference.backends.torch_backend import TorchRuntime
    true = TorchRuntime.run
    def rough(self, arrays):
        with torch.autocast("cpu", torch.bfloat16):
            self._precision = "bf16"
            try:
                return true(self, arrays)
            finally:
                self._precision = "f32"
    TorchRuntime.run = rough
    """)
    found = verify(bare)
    assert _red(found) == {"torch-f32"}
    assert found.rows[-1]["max_relative"] > 1e-3


def test_silent_bf16_in_openvino(exported: Path, plant: Plant) -> None:
    plant("""
    from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
    true = OpenVinoRuntime._properties
    OpenVinoRuntime._properties = lambda self: {**true(self), "INFERENCE_PRECISION_HINT": "bf16"}
    """)
    found = verify(exported)
    rows = {row["name"]: row for row in found.rows}
    if rows["openvino-bf16"]["precision"] != "bf16":
        pytest.skip("needs a processor with bfloat16")
    assert _red(found) == {"openvino-f32"}
    assert "it runs in bf16, not in f32" in rows["openvino-f32"]["problem"]
    assert "outputs differ" in rows["openvino-f32"]["problem"]


def test_a_fault_in_what_is_shown(bare: Path, plant: Plant) -> None:
    plant("""
    from skipstone.tasks.labels import ClassLabels
    true = ClassLabels.__init__
    def reversed_names(self, schema, *, min_classes):
        true(self, schema, min_classes=min_classes)
        self.names.reverse()
    ClassLabels.__init__ = reversed_names
    """)
    found = verify(bare)
    assert _red(found) == {"torch-f32"}
    assert "predictions differ" in found.problems[0]


# --- faults in the bundle, with hashes that fit -----------------------------------------------


def test_wrong_interpolation_in_the_bundle(bare_copy: Path) -> None:
    reseal(bare_copy, lambda record: record["input"]["options"].update(interpolation="bicubic"))
    found = _checked(bare_copy)
    assert _red(found) == {"preprocessing", "meaning", "torch-f32"}


def test_pictures_of_another_size_in_the_bundle(bare_copy: Path) -> None:
    """As a step that lowers the resolution would leave it, had it not made new goldens."""
    reseal(bare_copy, lambda record: record["input"]["options"].update(size=20))
    found = _checked(bare_copy)
    assert _red(found) == {"preprocessing", "meaning", "torch-f32"}


def test_swapped_classes(bare_copy: Path) -> None:
    reseal(bare_copy, lambda record: record["task"]["schema"]["classes"].reverse())
    found = _checked(bare_copy)
    assert _red(found) == {"meaning", "torch-f32"}
    assert any("task in bundle.json" in problem for problem in found.problems)
    assert any("predictions differ" in problem for problem in found.problems)


def test_another_temperature(bare_copy: Path) -> None:
    reseal(bare_copy, lambda record: record["post"].update(temperature=1.2))
    assert _red(_checked(bare_copy)) == {"meaning", "torch-f32"}


def test_one_changed_weight(bare_copy: Path) -> None:
    """Also when the goldens' own digest of the weights is made to fit."""
    path = bare_copy / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("conv1.weight"))
    tensors[name].flat[3] += 0.2
    write_tensors(path, tensors)
    replace_file(bare_copy, path.name, path.read_bytes())
    found = _checked(bare_copy)
    assert _red(found) == {"meaning", "torch-f32"}
    assert any("weights.safetensors" in problem for problem in found.problems)

    golden = json.loads(read_file(bare_copy, "golden/golden.json"))
    golden["weights"] = read_bundle_json(bare_copy)["files"][path.name]["sha256"]
    replace_file(bare_copy, "golden/golden.json", json.dumps(golden).encode())
    assert _red(_checked(bare_copy)) == {"torch-f32"}


def test_the_last_bit_of_one_weight(bare_copy: Path) -> None:
    path = bare_copy / "weights.safetensors"
    tensors = load_file(path)
    bias = tensors["head.linear.bias"]
    bias[0] = np.nextafter(bias[0], np.float32(2))
    write_tensors(path, tensors)
    replace_file(bare_copy, path.name, path.read_bytes())
    assert _red(_checked(bare_copy)) == {"meaning"}


def test_a_weight_that_is_not_a_number(bare_copy: Path) -> None:
    path = bare_copy / "weights.safetensors"
    tensors = load_file(path)
    tensors["head.linear.bias"][0] = np.nan
    write_tensors(path, tensors)
    replace_file(bare_copy, path.name, path.read_bytes())
    found = _checked(bare_copy)
    assert "torch-f32" in _red(found)
    assert any("not finite" in problem for problem in found.problems)


def test_one_changed_weight_in_each_program(copied: Path) -> None:
    onnx_name = "exports/onnx/model.onnx"
    model = onnx.load_model_from_string(read_file(copied, onnx_name))
    tensor = next(item for item in model.graph.initializer if len(item.dims) == 4)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[3] += 0.2
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    replace_file(copied, onnx_name, model.SerializeToString())

    weights = np.frombuffer(read_file(copied, OPENVINO_FILES["weights"])[:4000], np.float32).copy()
    place = int(np.abs(np.where(np.abs(weights) < 1, weights, 0)).argmax())
    data = bytearray(read_file(copied, OPENVINO_FILES["weights"]))
    data[4 * place : 4 * place + 4] = np.float32(weights[place] + 0.5).tobytes()
    replace_file(copied, OPENVINO_FILES["weights"], bytes(data))
    assert _red(_checked(copied)) == {
        "onnxruntime-f32",
        "openvino-f32",
        "openvino-bf16",
        "stand-alone script",
    }


def test_a_flipped_bit_stops_before_anything_is_parsed(copied: Path) -> None:
    path = copied / "golden/golden.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 8
    path.write_bytes(data)
    found = _checked(copied)
    assert [row["name"] for row in found.rows] == ["files"]
    assert "golden.safetensors is damaged" in found.problems[0]


def test_a_changed_bundle_json_is_damage(bare_copy: Path) -> None:
    path = bare_copy / "bundle.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    found = _checked(bare_copy)
    assert _red(found) == {"files"}
    assert "was changed after it was written" in found.problems[0]


def test_the_script_is_held_to_what_its_program_is(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A near tie that the program's row excuses is none of the script's faults, two are."""
    goldens = Goldens.load(bare)
    said = [dict(row) for row in goldens.record["predictions"]]
    said[3]["label"] = "another"
    monkeypatch.setattr(fresh, "run_script", lambda *_: said)

    def problem(near_ties: int, tolerance: Tolerance) -> str:
        row = {"tolerance": dataclasses.asdict(tolerance), "flips": 0, "near_ties": near_ties}
        return fresh._check_script(bare, goldens, "onnxruntime-f32", row)

    assert problem(1, FLOAT32_TOLERANCE) == ""
    assert "1 of 16 predictions differ" in problem(0, FLOAT32_TOLERANCE)
    said[3] = {**goldens.record["predictions"][3], "probability": 0.0}
    assert problem(0, FLOAT32_TOLERANCE) != ""
    assert problem(0, DISCONTINUOUS) == ""  # whose numbers are free


# --- nothing to verify --------------------------------------------------------------------------


def test_a_bundle_without_goldens_is_a_usage_error(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "bundle", goldens=False)
    with pytest.raises(UsageError, match="has no goldens"):
        verify(folder)


def test_a_process_that_dies_is_no_green(bare: Path, plant: Plant) -> None:
    plant("import os; os._exit(3)")
    with pytest.raises(SkipstoneError, match="ended with code 3"):
        verify(bare)


def test_verify_counts_its_checks(exported: Path) -> None:
    heard: list[events.Event] = []
    with events.use_listener(heard.append):
        verification = verify(exported)
    (stage,) = (event for event in heard if isinstance(event, events.StageStarted))
    advanced = sum(isinstance(event, events.StageAdvanced) for event in heard)
    assert stage.total is not None
    assert advanced - 1 == len(verification.rows)  # and the line with their number
    assert advanced in (stage.total, stage.total - 1)  # with or without the script
