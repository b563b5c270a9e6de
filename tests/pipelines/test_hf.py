"""An encoder of transformers through the command line; what ships needs no folder of its own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps.int8 import has_attention
from skipstone.core.errors import MissingExtra
from skipstone.data.manifest import load_manifest
from skipstone.inference.export.openvino_export import load_onnx_as_openvino
from skipstone.inference.open_model import open_model
from skipstone.inference.programs import read_programs
from tests.hf_models import write_encoder
from tests.pipelines.command import Answer, ask
from tests.text_data import rows, write_csv

#: An extra that few install; `tests/models/test_hf.py` holds its answers to transformers'.
pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """From a tiny random encoder whose folder is gone afterwards."""
    root = tmp_path_factory.mktemp("hf")
    encoder = write_encoder(root / "encoder", "distilbert")
    table = write_csv(root / "texts.csv", rows(150))
    short = ["--epochs", "12", "--lr", "0.01", "--threads", "1", "--precision", "f32"]
    found = ask("train", table, "--model", f"hf/{encoder}", "--out", root / "runs", *short)
    assert found.code == 0, found
    shutil.rmtree(encoder)
    return found


def test_longer_texts_than_it_has_places_for_are_refused_before_it_learns(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder", "roberta", weights=False)
    table = write_csv(tmp_path / "texts.csv", rows(40))
    asked = ("train", table, "--model", f"hf/{encoder}", "--weights", "none")
    found = ask(*asked, "--max-length", "65", "--out", tmp_path / "runs")
    assert found.code == 2
    assert f"--max-length 65 is more than hf/{encoder} can take, which is 64" in found.err
    assert not (tmp_path / "runs").exists()


def test_it_learns_and_every_runtime_agrees_without_the_folder(trained: Answer) -> None:
    assert trained.value["verified"]
    assert trained.value["metrics"]["accuracy"]["value"] >= 0.8
    again = ask("verify", trained.value["run"])
    assert again.code == 0, again
    assert "reads up to 66 tokens" in trained.err


def test_the_bundle_holds_structure_and_tokenizer_but_no_path(trained: Answer) -> None:
    bundle = Bundle.load(trained.value["bundle"])
    assert bundle.arch.backbone.name == "hf/distilbert"
    assert bundle.arch.backbone.args["shape"]["config"]["dim"] == 32
    assert bundle.input["options"]["tokenizer"] == "tokenizer.json"
    assert b"WordPiece" in bundle.input_arrays["pairs"].tobytes()
    assert "encoder" not in str((bundle.arch, bundle.input, bundle.task))


def test_programs_answer_where_transformers_is_not_installed(
    trained: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("we saw the dog and a horse")
    expected = open_model(trained.value["bundle"], "torch").predict([text])[0].scores
    monkeypatch.setitem(sys.modules, "transformers", None)
    for runtime in ("onnxruntime", "openvino"):
        found = open_model(trained.value["bundle"], runtime).predict([text])[0].scores
        np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-4)
    with pytest.raises(MissingExtra, match=r"needs the package transformers.*programs do not"):
        open_model(trained.value["bundle"], "torch")


def test_it_becomes_int8(trained: Answer, tmp_path: Path) -> None:
    folder = Path(trained.value["run"])
    manifest = load_manifest(folder / "manifest.parquet")
    (tmp_path / "small").mkdir()
    parts = manifest.rows_with_role("train"), manifest.rows_with_role("val")
    run_steps(
        ShrinkPlan.from_text("int8(samples=20)"),
        StepContext(folder / "bundle", tmp_path / "small", *parts),
    )
    program = read_programs(tmp_path / "small").by_name["openvino-int8"]
    assert program.measured["facts"]["layers"]["int8"] > 0
    assert has_attention(load_onnx_as_openvino(folder / "bundle"))
    assert program.tolerance.probability < 0.1
    records = open_model(tmp_path / "small").evaluate(manifest.rows_with_role("test")).records
    assert sum(record["correct"] for record in records) >= 0.7 * len(records)
