"""Shrinking a model that was fitted on all rows: measured on a second one that a fold is new to."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression import rehearsal
from skipstone.compression.rehearsal import fit_without_fold, needs_rehearsal
from skipstone.data.manifest import MANIFEST_FILE, load_manifest
from skipstone.workflows.shrink_model import shrink
from skipstone.workflows.train_model import train
from tests.text_data import rows, write_csv

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    settings = {"word_ngrams": "1-2", "char_ngrams": "none", "threads": 1, "alpha": 0.1}
    data = write_csv(folder / "texts.csv", rows(60))
    return train(data, out=folder / "runs", model="naive-bayes", settings=settings).run


def test_one_fold_is_new_to_the_second_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "export_onnx", lambda folder: None)
    monkeypatch.setattr(rehearsal, "export_openvino", lambda folder: None)
    manifest = load_manifest(run / MANIFEST_FILE)
    assert set(manifest.column_values("role")) == {"train"}
    assert needs_rehearsal(run / "bundle", manifest)
    parts = fit_without_fold(run / "bundle", manifest, tmp_path / "second", seed=0)
    roles = parts.column_values("role")
    assert (roles.count("train"), roles.count("val"), roles.count("test")) == (48, 6, 6)
    first, second = Bundle.load(run / "bundle"), Bundle.load(tmp_path / "second")
    features = [len(each.input_arrays["vocabulary.0"]) for each in (first, second)]
    assert features[1] < features[0]


def test_the_receipt_says_where_it_was_measured(run: Path) -> None:
    result = shrink(run, plan="int8(samples=20)", max_drop=100, latency_seconds=0.2)
    assert result.accepted
    assert result.receipt["rehearsed"]
    drops = [result.receipt[part]["drop"]["n"] for part in ("val", "test")]
    assert drops == [6, 6]
    assert result.verification is not None
    assert result.verification.ok
    shrunk = Bundle.load(result.bundle)
    assert "a second model" in shrunk.metrics["split"]
    assert result.receipt["steps"][0]["facts"]["calibration_samples"] == 20
