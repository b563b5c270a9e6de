from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from skipstone.data.manifest import Manifest
from skipstone.errors import DataError
from skipstone.runtime.export_openvino import read_onnx
from skipstone.runtime.open import open_model
from skipstone.runtime.openvino_runtime import OpenVinoRuntime
from skipstone.shrink.int8 import calibration, compact_xml, quantize
from skipstone.shrink.options import Int8


@pytest.fixture(scope="module")
def program(run: Path, rows: Manifest) -> tuple[bytes, bytes]:
    samples = calibration(open_model(run, "torch"), rows.role("fit"), 16, 0)
    return quantize(read_onnx(run / "bundle"), samples, Int8(samples=16))


def test_every_convolution_runs_in_int8(program: tuple[bytes, bytes]) -> None:
    layers = OpenVinoRuntime(*program, precision="int8").facts()["layers"]
    assert set(layers) == {"int8"}


def test_int8_answers_nearly_as_float(
    run: Path, rows: Manifest, program: tuple[bytes, bytes]
) -> None:
    exact = open_model(run, "torch")
    sources = rows.sources()
    reference = exact.outputs(sources).outputs["logits"]
    exact.runtime = OpenVinoRuntime(*program, precision="int8")
    found = exact.outputs(sources).outputs["logits"]
    assert np.corrcoef(reference.ravel(), found.ravel())[0, 1] > 0.97
    assert not np.array_equal(reference, found)
    assert (reference.argmax(1) == found.argmax(1)).mean() > 0.85


def test_quantizing_prints_nothing(
    run: Path, rows: Manifest, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = calibration(open_model(run, "torch"), rows.role("fit"), 2, 0)
    quantize(read_onnx(run / "bundle"), samples, Int8(samples=2, preset="mixed"))
    assert capfd.readouterr() == ("", "")


def test_calibration_is_the_predictors_arrays_drawn_by_the_seed(run: Path, rows: Manifest) -> None:
    predictor, fit = open_model(run, "torch"), rows.role("fit")
    first, again, other = (calibration(predictor, fit, 5, seed) for seed in (0, 0, 1))
    pictures = [predictor.encode(source)[0]["image"] for source in fit.sources()]
    for sample in first:
        assert any(np.array_equal(sample["image"], picture) for picture in pictures)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not all(
        np.array_equal(a["image"], b["image"]) for a, b in zip(first, other, strict=True)
    )
    assert len(calibration(predictor, fit, 10_000, 0)) == len(fit)


def test_calibration_passes_over_what_cannot_be_read(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    fit = rows.role("fit").take([0, 1])
    one_bad = fit.with_column("path", [str(tmp_path / "bad.jpg"), str(fit.sources()[1].path)])
    predictor = open_model(run, "torch")
    assert len(calibration(predictor, one_bad, 2, 0)) == 1
    with pytest.raises(DataError, match="none of the 1"):
        calibration(predictor, one_bad.take([0]), 2, 0)


def test_the_range_of_the_input_holds_black_and_white(program: tuple[bytes, bytes]) -> None:
    """Clipping shows as white and near-white answering alike; here they must differ."""
    runtime = OpenVinoRuntime(*program, precision="int8")
    shape = runtime.compiled(static=True).inputs[0].shape
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
    assert {port.get_any_name() for port in runtime.compiled(static=True).outputs} == {"logits"}
    assert {port.get_any_name() for port in runtime.compiled(static=True).inputs} == {"image"}


def test_compacting_float_programs_changes_no_bit(run: Path) -> None:
    folder = run / "bundle/exports/openvino"
    xml, weights = (folder / "model.xml").read_bytes(), (folder / "model.bin").read_bytes()
    small = compact_xml(xml)
    assert len(small) < 0.9 * len(xml)
    arrays = {"image": np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)}
    before, after = (OpenVinoRuntime(text, weights).run(arrays) for text in (xml, small))
    assert np.array_equal(before["logits"], after["logits"])
