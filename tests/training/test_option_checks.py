"""What a person typed counts, or is refused: no option is swallowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES
from skipstone.core.settings import Settings
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.training.finetune import load_parent
from skipstone.training.options import TrainOptions
from skipstone.training.plan import TrainPlan, build_plan
from skipstone.workflows.train_model import train
from tests.photos import CLASSES
from tests.small_bundles import small_bundle
from tests.small_texts import small_text_bundle
from tests.text_data import rows, write_csv

#: Those of texts.
SOLVED = [entry.name for entry in BACKBONES if entry.is_closed_form and "bag" in entry.accepts]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("heard") / "texts.csv", rows(60))


def _plan(texts: Path, model: str, **given: Any) -> TrainPlan:
    settings = Settings({**given, "seed": 0})
    return build_plan(texts, model=model, weights="auto", seed=0, settings=settings)


@pytest.mark.parametrize("model", SOLVED)
def test_a_model_that_is_solved_refuses_what_steps_take(texts: Path, model: str) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(texts, model, epochs=5, lr=0.1)
    said = str(caught.value)
    assert "--epochs, --lr would change nothing" in said
    assert f"{model} is solved at once" in said
    assert "--word-ngrams" in said.partition("It takes")[2]
    assert "--seed" not in said
    assert len(said.splitlines()) == 1


def test_a_budget_is_a_note_where_the_model_was_chosen_automatically(texts: Path) -> None:
    notes: list[str] = []
    with events.use_listener(lambda event: notes.append(str(event))):
        plan = _plan(texts, "auto", budget=180.0, device="cpu", precision="f32")
    assert BACKBONES[plan.arch.name].is_closed_form
    assert any(
        "solved at once, so --budget, --device, --precision changes nothing" in n for n in notes
    )
    with pytest.raises(UsageError, match="--budget would change nothing"):
        _plan(texts, plan.arch.name, budget=180.0)
    with pytest.raises(UsageError, match="--lr would change nothing"):
        _plan(texts, "auto", budget=180.0, lr=0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, r"lr is 0\.0; allowed: a finite number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"epochs": 0}, "epochs is 0; allowed: a whole number from 1"),
        ({"device": "gpu"}, "device is 'gpu'; allowed: auto, cpu, cuda or mps"),
        ({"device": "cuda:9"}, "--device cuda:9: there is none here"),
        ({"checkpoint": "last", "early_stop": 3}, "contradict each other"),
        ({"test_share": 2.0}, "test_share is 2"),
        ({"size": -3}, "size is -3"),
        ({"width": 0.0}, "width is 0"),
        ({"flip": 7.0}, "flip is 7"),
        ({"precision": "f64"}, "precision is 'f64'"),
        ({"dropout": 1.0}, "dropout is 1"),
    ],
)
def test_values_that_nothing_allows_are_refused_before_any_file_is_read(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "no such folder", out=tmp_path / "runs", settings=values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "head", "said"),
    [
        ("textcnn", "identity", "'identity' needs class logits, which 'textcnn' does not provide"),
        (
            "logistic",
            "linear",
            "'logistic' gives class scores itself, so --head linear has nothing",
        ),
    ],
)
def test_a_head_that_the_model_does_not_go_with_is_refused(
    texts: Path, model: str, head: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        _plan(texts, model, head=head)


def test_every_option_of_training_and_augmentation_is_refused(texts: Path) -> None:
    values = {"budget": 9.0, "optimizer": "sgd", "schedule": "step", "unfreeze": "all"}
    fields = [f for kind in (TrainOptions, ImageAugmentOptions) for f in dataclasses.fields(kind)]
    names = [f.name for f in fields if not get_spec(f).is_hidden and f.name != "threads"]
    assert len(names) > 20
    for name in names:
        if name == "seed":
            continue
        value = values.get(name, _default(fields, name))
        if value is not None:
            with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} would change"):
                _plan(texts, "naive-bayes", **{name: value})


def _default(fields: list[Any], name: str) -> Any:
    found = next(field for field in fields if field.name == name)
    return None if found.default is dataclasses.MISSING else found.default


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (
            "logistic",
            {"class_weights": "inverse"},
            "--class-weights, as logistic is solved at once",
        ),
        ("textcnn", {"focal_gamma": 3.0}, "--focal-gamma without --loss focal"),
        ("textcnn", {"effective_beta": 0.9}, "--effective-beta without --class-weights effective"),
        ("textcnn", {"unfreeze": "gradual"}, "--unfreeze gradual without --freeze-epochs"),
        ("textcnn", {"warmup": 0.1, "schedule": "one-cycle"}, "--warmup with --schedule one-cycle"),
    ],
)
def test_what_others_leave_nothing_to_do_is_refused(
    texts: Path, model: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=f"{said}.*: would change nothing"):
        _plan(texts, model, **given)


def test_what_others_ask_for_is_taken(texts: Path) -> None:
    plan = _plan(
        texts, "textcnn", loss="focal", focal_gamma=3.0, freeze_epochs=1, unfreeze="gradual"
    )
    assert plan.task.options.focal_gamma == 3.0


def test_what_the_model_has_is_taken(texts: Path) -> None:
    plan = _plan(
        texts, "logistic", svm_c=2.0, word_ngrams="1-2", threads=1, max_bad="2%", val_share=0.2
    )
    assert plan.arch.backbone.args["options"]["svm_c"] == 2.0
    assert plan.input.options.word_ngrams == "1-2"


def test_a_model_goes_on_with_the_vocabulary_that_it_has(texts: Path, tmp_path: Path) -> None:
    """New texts have other words, and each row of the embedding is of one that it has learnt."""
    origin = tmp_path / "bundle"
    small_text_bundle("textcnn").save(origin)
    held = Bundle.load(origin)

    def go_on(**given: Any) -> TrainPlan:
        settings = Settings({**given, "seed": 0})
        return build_plan(texts, seed=0, settings=settings, parent=load_parent(origin))

    state, arrays = go_on(token_level="word").input.get_state()
    assert state == held.input["state"]
    assert all(np.array_equal(arrays[name], held.input_arrays[name]) for name in arrays)
    for name, value in (("max_length", 256), ("token_level", "char")):
        flag = f"--{name.replace('_', '-')} {value}"
        with pytest.raises(UsageError, match=f"^{flag} reads the data otherwise than"):
            go_on(**{name: value})
    with pytest.raises(UsageError, match="--max-features would change nothing"):
        go_on(max_features=5)


def test_a_model_goes_on_with_pictures_of_another_size(photo_folder: Path, tmp_path: Path) -> None:
    bundle = small_bundle()
    bundle.task["schema"] = {"classes": list(CLASSES)}
    bundle.save(tmp_path / "bundle")
    settings = Settings({"size": 32, "seed": 0})
    plan = build_plan(
        photo_folder, seed=0, settings=settings, parent=load_parent(tmp_path / "bundle")
    )
    assert plan.input.make_example(1)["image"].shape == (1, 32, 32, 3)
    assert plan.input.get_state()[0] == bundle.input["state"]


@pytest.mark.parametrize(
    ("model", "given"),
    [("auto", "max_length"), ("fasttext", "vocabulary"), ("textcnn", "max_features")],
)
def test_options_of_the_other_form_are_refused(texts: Path, model: str, given: str) -> None:
    flag = f"--{given.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"{flag} would change nothing") as caught:
        _plan(texts, model, **{given: 5})
    assert flag not in str(caught.value).partition("It takes")[2]


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        ("resnet20", {"size": 64}, "trained at 64 pixels"),
        ("resnet18", {"size": 64}, "trained at 64 pixels"),
        ("auto", {"size": 96}, "trained at 96 pixels"),
        ("resnet20", {"resize": "keep", "size": 64}, "with sides of 64 at most"),
        ("resnet20", {}, "trained at 32 pixels"),
    ],
)
def test_the_size_that_is_said_is_the_one_that_is_used(
    photo_folder: Path, model: str, values: dict[str, Any], said: str
) -> None:
    settings = Settings({**values, "seed": 0})
    plan = build_plan(photo_folder, model=model, seed=0, settings=settings)
    assert said in plan.reason
    assert plan.reason.count("pixels") + plan.reason.count("sides of") <= 2
    assert plan.input.options.size == int(values.get("size", 32))
