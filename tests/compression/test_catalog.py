"""The contract of a shrink step, for each of the catalogue: a new one is tested by existing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from skipstone.bundle.format import Bundle
from skipstone.compression import recover as remade
from skipstone.compression.catalog import ENTRIES
from skipstone.compression.shrink_plan import ShrinkPlan, Step, StepContext, run_steps
from skipstone.core.errors import Refusal
from skipstone.core.options import get_spec
from skipstone.core.specs import StepSpec
from skipstone.data.manifest import Manifest
from skipstone.inference.open_model import open_model
from tests.text_bundles import text_run

#: Options that make a step quick, where it has them.
QUICK = {"epochs": 1, "batches": 1, "samples": 8, "multiple": 2, "macs": 0.9}

each_step = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@each_step
def test_it_says_what_it_does_and_where_it_is_from(entry: StepSpec) -> None:
    assert entry.summary
    assert entry.source.startswith("https://")
    kind = entry.options_type()
    assert dataclasses.is_dataclass(kind)
    assert all(get_spec(field).help for field in dataclasses.fields(kind))
    plan = ShrinkPlan.from_text(entry.name)  # none of its options has to be given
    assert str(plan) == entry.name
    assert [json.loads(json.dumps(step.to_json()))["name"] for step in plan.steps] == [entry.name]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("texts") / "001"
    _, rows = text_run(folder, "textcnn", count=60, steps=20)
    return folder / "bundle", rows


@each_step
def test_it_makes_a_bundle_or_refuses(
    entry: StepSpec,
    run: Path,
    rows: Manifest,
    texts: tuple[Path, Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a model of pictures and of one of texts; at least one of them it makes smaller."""
    for export in ("export_onnx", "export_openvino"):  # programs have tests of their own
        monkeypatch.setattr(remade, export, lambda folder: None)
    known = entry.options_type().__dataclass_fields__
    options = entry.make_options({name: QUICK[name] for name in QUICK if name in known})
    worked = []
    for source, manifest in ((run / "bundle", rows), texts):
        before = digests(source)
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        work = StepContext(
            source, out, manifest.rows_with_role("train"), manifest.rows_with_role("val")
        )
        try:
            (facts,) = run_steps(ShrinkPlan((Step(entry.name, options),)), work)
        except Refusal:
            assert not out.exists()
        else:
            worked.append(facts)
            check_bundle(Bundle.load(source), out, manifest)
            assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        assert digests(source) == before
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert worked


def check_bundle(before: Bundle, out: Path, rows: Manifest) -> None:
    after = Bundle.load(out)
    assert after.task == before.task
    assert after.lineage == before.lineage
    assert after.input["name"] == before.input["name"]
    (answer,) = open_model(out).predict([rows.rows_with_role("val").list_sources()[0]])
    fields: Any = answer
    assert fields.fields["label"] in before.task["schema"]["classes"]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
