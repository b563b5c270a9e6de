from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.bundle.files import read_file
from skipstone.compression.apply_plan import shrink
from skipstone.compression.options import Int8Options
from skipstone.compression.shrink_plan import ShrinkPlan
from skipstone.compression.steps import int8
from skipstone.compression.steps.int8 import (
    FILES,
    NAME,
    compact_xml,
    load_calibration_samples,
    quantize_model,
)
from skipstone.core import events
from skipstone.core.errors import DamagedError, DataError
from skipstone.data.manifest import Manifest, load_manifest
from skipstone.evaluation.parity import _check_runtime, run_checks, verify
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.openvino_export import load_onnx_as_openvino
from skipstone.inference.golden_outputs import Goldens
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import EXPORTS_JSON, Program, add_program, read_programs
from skipstone.inference.reference_outputs import kernel_mismatch_reason
from tests.small_bundles import replace_file
from tests.text_bundles import MODELS, text_run


@pytest.fixture(scope="module")
def program(run: Path, rows: Manifest) -> tuple[bytes, bytes]:
    samples = load_calibration_samples(
        open_model(run, "torch"), rows.rows_with_role("train"), 16, 0
    )
    return quantize_model(load_onnx_as_openvino(run / "bundle"), samples, Int8Options(samples=16))


def test_every_convolution_runs_in_int8(program: tuple[bytes, bytes]) -> None:
    layers = OpenVinoRuntime(*program, precision="int8").runtime_info()["layers"]
    assert set(layers) == {"int8"}


def test_int8_answers_nearly_as_float(
    run: Path, rows: Manifest, program: tuple[bytes, bytes]
) -> None:
    exact = open_model(run, "torch")
    sources = rows.list_sources()
    reference = exact.compute_outputs(sources).outputs["logits"]
    exact.runtime = OpenVinoRuntime(*program, precision="int8")
    found = exact.compute_outputs(sources).outputs["logits"]
    assert np.corrcoef(reference.ravel(), found.ravel())[0, 1] > 0.97
    assert not np.array_equal(reference, found)
    assert (reference.argmax(1) == found.argmax(1)).mean() > 0.85


def test_quantizing_prints_nothing(
    run: Path, rows: Manifest, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = load_calibration_samples(open_model(run, "torch"), rows.rows_with_role("train"), 2, 0)
    quantize_model(
        load_onnx_as_openvino(run / "bundle"), samples, Int8Options(samples=2, preset="mixed")
    )
    assert capfd.readouterr() == ("", "")


def test_calibration_is_the_predictors_arrays_drawn_by_the_seed(run: Path, rows: Manifest) -> None:
    predictor, train_rows = open_model(run, "torch"), rows.rows_with_role("train")
    first, again, other = (
        load_calibration_samples(predictor, train_rows, 5, seed) for seed in (0, 0, 1)
    )
    pictures = [predictor.encode(source)[0]["image"] for source in train_rows.list_sources()]
    for sample in first:
        assert any(np.array_equal(sample["image"], picture) for picture in pictures)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not all(
        np.array_equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True)
    )
    assert len(load_calibration_samples(predictor, train_rows, 10_000, 0)) == len(train_rows)


def test_large_pictures_are_fewer(
    run: Path, rows: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "MAX_SAMPLE_BYTES", 4 * 24 * 24 * 3)
    heard: list[str] = []
    with events.use_listener(lambda event: heard.append(getattr(event, "text", ""))):
        assert (
            len(
                load_calibration_samples(
                    open_model(run, "torch"), rows.rows_with_role("train"), 16, 0
                )
            )
            == 4
        )
    assert any("measured on 4 of 16 samples" in text for text in heard)


def test_calibration_passes_over_what_cannot_be_read(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    train_rows = rows.rows_with_role("train").take_rows([0, 1])
    one_bad = train_rows.with_column(
        "path", [str(tmp_path / "bad.jpg"), str(train_rows.list_sources()[1].path)]
    )
    predictor = open_model(run, "torch")
    assert len(load_calibration_samples(predictor, one_bad, 2, 0)) == 1
    with pytest.raises(DataError, match="none of the 1"):
        load_calibration_samples(predictor, one_bad.take_rows([0]), 2, 0)


def test_the_range_of_the_input_holds_black_and_white(program: tuple[bytes, bytes]) -> None:
    """Clipping shows as white and near-white answering alike; here they must differ."""
    runtime = OpenVinoRuntime(*program, precision="int8")
    shape = runtime.get_compiled(static=True).inputs[0].shape
    white, nearly = (np.full(tuple(shape), value, np.uint8) for value in (255, 247))
    assert not np.array_equal(
        runtime.run({"image": white})["logits"], runtime.run({"image": nearly})["logits"]
    )


def test_compacting_drops_names_and_keeps_the_graph(program: tuple[bytes, bytes]) -> None:
    xml, weights = program
    assert compact_xml(xml) == xml
    root = ET.fromstring(xml)
    assert root.find(".//rt_info") is None
    runtime = OpenVinoRuntime(xml, weights, precision="int8")
    assert {port.get_any_name() for port in runtime.get_compiled(static=True).outputs} == {"logits"}
    assert {port.get_any_name() for port in runtime.get_compiled(static=True).inputs} == {"image"}


def test_compacting_float_programs_changes_no_bit(run: Path) -> None:
    folder = run / "bundle/exports/openvino"
    xml, weights = (folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes()
    small = compact_xml(xml)
    assert len(small) < 0.9 * len(xml)
    arrays = {"image": np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)}
    before, after = (OpenVinoRuntime(text, weights).run(arrays) for text in (xml, small))
    assert np.array_equal(before["logits"], after["logits"])


# --- its own answers ----------------------------------------------------------------------------


@pytest.fixture
def shipped(copied: Path, program: tuple[bytes, bytes]) -> Path:
    """A bundle with the program, as the step leaves it."""
    content = dict(zip(("model", "weights"), program, strict=True))
    runtime = OpenVinoRuntime(*program, precision="int8", threads=1)
    row = Program(NAME, "openvino", "int8", FILES, {"floats": "f32"})
    add_program(copied / "bundle", row, content, runtime, default=True)
    return copied / "bundle"


def _row(folder: Path) -> dict[str, Any]:
    return _check_runtime(folder, Goldens.load(folder), read_programs(folder).by_name[NAME])


def _change_exports(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the program's row as somebody would who recomputes every hash."""
    content = json.loads(read_file(folder, EXPORTS_JSON))
    change(next(row for row in content["programs"] if row["name"] == NAME))
    replace_file(folder, EXPORTS_JSON, json.dumps(content).encode())


def _change_one_weight(folder: Path) -> None:
    """One 8-bit weight of the first convolution, by two of its 256 steps."""
    root = ET.fromstring(read_file(folder, FILES["model"]))
    eight = root.find(".//layer[@type='Const']/data[@element_type='i8']")
    assert eight is not None
    weights = bytearray(read_file(folder, FILES["weights"]))
    place = int(eight.attrib["offset"]) + 3
    weights[place] ^= 2
    replace_file(folder, FILES["weights"], bytes(weights))


def test_one_changed_weight_of_the_int8_program_turns_verify_red(shipped: Path) -> None:
    """Also where its answers stay well within what other processors are allowed."""
    green = _row(shipped)
    assert green["ok"]
    assert green["own"]["compared"]
    assert green["own"]["difference"] <= green["own"]["allowed"] == 1e-4
    assert all(part in green["own"]["remark"] for part in ("same kernels (", "_I8"))

    _change_one_weight(shipped)
    red = {row["name"]: row for row in run_checks(shipped) if not row["ok"]}
    assert set(red) == {NAME}
    assert "from those of this program when it was made" in red[NAME]["problem"]
    assert red[NAME]["own"]["difference"] > 3 * red[NAME]["own"]["allowed"]
    moved = abs(red[NAME]["max_difference"] - green["max_difference"])
    assert moved < green["tolerance"]["probability"] / 5
    # the allowance for other processors would have hidden it, so its own outputs are required
    _change_exports(shipped, lambda row: row.pop("reference_outputs"))
    assert "its own outputs are not stored" in _row(shipped)["problem"]


@pytest.mark.parametrize("hides", ["no outputs", "another processor"])
def test_a_bundle_cannot_allow_itself_a_wrong_program(shipped: Path, hides: str) -> None:
    """Its weights XORed, and its row says that anything will do."""
    root = ET.fromstring(read_file(shipped, FILES["model"]))
    weights = bytearray(read_file(shipped, FILES["weights"]))
    for data in root.iterfind(".//layer[@type='Const']/data[@element_type='i8']"):
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        weights[start : start + size] = bytes(
            value ^ 0x55 for value in weights[start : start + size]
        )
    replace_file(shipped, FILES["weights"], bytes(weights))

    def loosen(row: dict[str, Any]) -> None:
        row["tolerance"] = {"probability": 1.0, "relative": None, "flips": 99, "typical": 9e9}
        if hides == "another processor":
            row["measured"]["facts"]["kernels"] = {"jit_avx2_I8": 3}
        else:
            row.pop("reference_outputs")

    _change_exports(shipped, loosen)
    row = _row(shipped)
    assert not row["ok"]
    assert "(allowed " in row["problem"]
    assert row["tolerance"]["flips"] <= 6


def test_another_processor_is_held_to_the_networks_answers(shipped: Path) -> None:
    def elsewhere(row: dict[str, Any]) -> None:
        row["measured"]["facts"]["kernels"] = {"jit_avx2_I8": 3}

    _change_one_weight(shipped)
    _change_exports(shipped, elsewhere)
    row = _row(shipped)
    assert row["ok"]
    assert not row["own"]["compared"]
    assert "compared with the network's outputs only, because" in row["own"]["remark"]
    assert "it was made with 3 jit_avx2_I8" in row["own"]["remark"]
    _change_exports(shipped, lambda row: row["measured"]["facts"].pop("kernels"))
    with pytest.raises(DamagedError, match="which kernels computed its own outputs"):
        read_programs(shipped)


def test_what_makes_another_arithmetic() -> None:
    known = {"runtime": "openvino", "version": "2026.1"}
    then = {**known, "features": ["avx2", "avx512_vnni"], "kernels": {"ref_I8": 2}}
    assert kernel_mismatch_reason(then, then) == ""
    newer = {**then, "version": "2026.2"}
    expected = "it runs in openvino 2026.2; it was made with openvino 2026.1"
    assert kernel_mismatch_reason(then, newer) == expected
    older = {**then, "features": ["avx2"]}
    told = "this processor has avx2; it was made on one with avx2, avx512_vnni"
    assert kernel_mismatch_reason(then, older) == told
    assert kernel_mismatch_reason(then, known) == "openvino does not report its kernels"


@pytest.mark.proof
def test_recurrent_layers_stay_in_floating_point_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "lstm", MODELS["gru"])
    text_run(tmp_path / "001", "lstm")
    manifest = load_manifest(tmp_path / "001" / "manifest.parquet")
    heard: list[events.Event] = []
    out, plan = tmp_path / "small", ShrinkPlan.from_text("int8(samples=16)")
    with events.use_listener(heard.append):
        result = shrink(
            tmp_path / "001" / "bundle", manifest, plan, max_drop=10, out=out, latency_seconds=0.3
        )
    assert result.accepted
    assert verify(out).ok
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert any(note.startswith("2 recurrent layers stay in floating") for note in notes)
    receipt = json.loads((out / "receipt.json").read_text())
    facts = receipt["steps"][0]["facts"]
    assert facts["recurrent_in_floating_point"] == 2
    assert facts["layers"]["int8"] >= 2  # the attention's first layer, and the classes
    assert sum(facts["layers"].values()) - facts["layers"]["int8"] >= 2
    assert set(receipt["sizes"]["programs"]) == {"openvino-int8"}
    reference, found = (
        open_model(out, runtime)
        .compute_outputs(manifest.rows_with_role("val").list_sources())
        .outputs["logits"]
        for runtime in ("torch", "openvino-int8")
    )
    assert np.corrcoef(reference.ravel(), found.ravel())[0, 1] > 0.97
