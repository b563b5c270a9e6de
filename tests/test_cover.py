"""Every task, input and model that go together, in pairs, the whole way: plan, a step or a
solution, bundle, ONNX, verify, report.

The cases follow from the registries (`tests/cover.py`); nothing here knows any name but those of
families' members.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skipstone.core.errors import UsageError
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES, INPUTS, READERS, TASKS
from skipstone.core.settings import Settings
from skipstone.core.specs import BackboneSpec
from skipstone.data.manifest import load_manifest
from skipstone.evaluation import parity as fresh
from skipstone.evaluation.parity import Verification
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure
from skipstone.training import finalize as finish
from skipstone.training.network_choice import unsupported_options
from skipstone.training.plan import build_plan
from skipstone.workflows.train_model import train
from tests.cover import Case, cover, strangers, triples
from tests.hf_models import write_encoder
from tests.reader_examples import EXAMPLES, readers_of

#: Makes what is trained small and quick, where a part of the case has such an option.
SMALL: dict[str, Any] = {
    "width": 0.25,
    "depth": 0.01,
    "embedding": 8,
    "maps": 4,
    "hidden": 6,
    "trees": 5,
    "svm_c": 1.0,
    "alpha": 0.1,
    "size": 32,
    "word_ngrams": "1-1",
    "char_ngrams": "none",
    "max_length": 24,
    "crf": "off",
}
STEPS: dict[str, Any] = {"steps": 1, "batch_size": 4, "augment": "none", "precision": "f32"}
#: A member of each family of models, made below a folder.
MEMBERS = {
    "timm/*": lambda root: "timm/test_efficientnet",
    "hf/*": lambda root: f"hf/{write_encoder(root / 'encoder')}",
}


@dataclasses.dataclass(frozen=True)
class Nothing:
    """The options of an entry that has none."""


def test_the_cover_holds_every_pair_that_goes_together() -> None:
    wanted = set().union(*(case.pairs for case in triples()))
    assert set().union(*(case.pairs for case in cover())) == wanted
    seen = {name for case in cover() for name in (case.task, case.input)}
    assert seen == {entry.name for registry in (TASKS, INPUTS) for entry in registry}
    builders = {BACKBONES[case.model].target for case in cover()}
    assert builders == {entry.target for entry in BACKBONES}


def test_every_reader_has_its_turn() -> None:
    assert set(EXAMPLES) >= {entry.name for entry in READERS if entry.distribution is None}
    wanted = {(*kind, reader) for reader, kinds in EXAMPLES.items() for kind in kinds}
    assert {(case.task, case.input, case.reader) for case in cover()} == wanted
    assert all(readers_of(case.task, case.input) for case in triples())


def test_every_family_has_a_member() -> None:
    assert set(MEMBERS) == {entry.name for entry in BACKBONES if "*" in entry.name}


def test_a_new_entry_is_covered_by_existing() -> None:
    before = set(cover())
    BACKBONES.register(BackboneSpec("newnet", "m:build", accepts=("image",), provides=("new",)))
    try:
        new = {(case.task, case.input) for case in set(cover()) - before if case.model == "newnet"}
    finally:
        BACKBONES.unregister("newnet")
    tasks = ("classify", "tag", "segment", "detect")
    assert new == {(task, "image") for task in tasks}


def refused() -> list[Case]:
    """Of what does not go together, a case for each input and way to build a model."""
    told = [case for case in strangers() if readers_of(case.task, case.input)]
    return list({(case.input, BACKBONES[case.model].target): case for case in told}.values())


@pytest.mark.parametrize("case", refused(), ids=str)
def test_what_does_not_go_together_is_refused_with_a_sentence(case: Case, tmp_path: Path) -> None:
    data = EXAMPLES[readers_of(case.task, case.input)[0]][case.task, case.input](tmp_path)
    model = case.model.replace("*", "test_efficientnet")  # of hf no file is looked for
    settings = Settings({"dedup": "exact"})
    with pytest.raises(UsageError, match=f"'{model}' takes .*, and this input gives") as caught:
        build_plan(data, model=model, weights="none", seed=0, settings=settings)
    assert "See: skipstone models" in str(caught.value)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second program, and verified in this process."""

    def verify_here(folder: Path) -> Verification:
        return Verification.from_rows(list(fresh.run_checks(folder)))

    here = contextlib.nullcontext(SimpleNamespace(verify=verify_here))
    monkeypatch.setattr(finish, "VerifyingProcess", lambda: here)
    monkeypatch.setattr(finish, "export_openvino", lambda folder: None)


def settings_of(case: Case) -> dict[str, Any]:
    """Of SMALL and STEPS what this case's parts ask for."""
    model = BACKBONES[case.model]
    form = model.input_options.get("text_features", "tokens")
    known = set()
    for entry in (model, INPUTS[case.input], TASKS[case.task]):
        for field in dataclasses.fields(entry.options_type() or Nothing):
            if get_spec(field).requires.get("text_features", form) == form:
                known.add(field.name)
    small = {name: value for name, value in SMALL.items() if name in known}
    if "size" in small:
        small["size"] = max(small["size"], model.least_side)
    steps = {name: value for name, value in STEPS.items() if name not in unsupported_options(model)}
    return {**small, **steps, "dedup": "exact", "threads": 1}


@pytest.mark.proof
@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("case", cover(), ids=str)
def test_the_whole_way(case: Case, tmp_path: Path) -> None:
    data = EXAMPLES[case.reader][case.task, case.input](tmp_path)
    model = MEMBERS.get(case.model, lambda _: case.model)(tmp_path)
    found = train(
        data, out=tmp_path / "runs", model=model, weights="none", settings=settings_of(case)
    )
    assert found.verification.ok, found.verification.problems
    assert "onnxruntime-f32" in {row["name"] for row in found.verification.rows}
    manifest = load_manifest(found.run / "manifest.parquet")
    assert (manifest.reader, manifest.input, manifest.task) == (case.reader, case.input, case.task)
    predictor = open_model(found.run, "onnxruntime")
    assert next(iter(found.metrics)) == predictor.task.headline
    answers = predictor.predict(manifest.list_sources()[:3])
    assert answers
    assert all(not isinstance(answer, Failure) and "label" in answer.fields for answer in answers)
    story = json.loads((found.run / "report.json").read_text())["story"]
    assert story["sections"]
    assert story["headline"] == predictor.task.headline
