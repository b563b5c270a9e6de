"""What a person typed counts, or is refused: no option is swallowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.bundle.format import Bundle
from skipstone.core.errors import UsageError
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES
from skipstone.core.settings import Settings
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.training.finetune import load_parent
from skipstone.training.options import TrainOptions
from skipstone.training.plan import TrainPlan, build_plan
from tests.photos import CLASSES
from tests.small_bundles import small_bundle
from tests.small_texts import small_text_bundle
from tests.text_data import rows, write_csv

SOLVED = [entry.name for entry in BACKBONES if entry.is_closed_form]


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
