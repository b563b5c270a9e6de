"""Options refuse what cannot be, all at once, and the recipe fills in the rest."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from skipstone.core.errors import UsageError
from skipstone.core.options import get_spec
from skipstone.training.options import TrainOptions, parse_duration
from skipstone.training.recipe import Recipe, RecipeFacts, resolve_recipe


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2m30s", 150), (" 10M ", 600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_number_without_unit_suggests_both() -> None:
    with pytest.raises(UsageError, match=r"'10' has no unit: did you mean 10m or 10s\?"):
        parse_duration("10")


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5m", "30m1h", "0s", "1m2m", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 10m"):
        parse_duration(text)


def test_budget_may_be_text() -> None:
    assert TrainOptions(budget="10m").budget == 600.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0; allowed: a whole number from 1"),
        ({"epochs": 1.5}, "epochs is 1.5; allowed: a whole number from 1"),
        ({"epochs": "3"}, "epochs is '3'; allowed: a whole number from 1"),
        ({"lr": 0}, "lr is 0; allowed: a finite number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"ema": 1.0}, "ema is 1.0; allowed: at least 0 and less than 1"),
        ({"layer_decay": 1.2}, "allowed: above 0 and at most 1"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; allowed: 'sgd', 'adamw'"),
        ({"schedule": "cosin"}, "schedule is 'cosin'; allowed: 'cosine', 'step'"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: auto, cpu, cuda or mps"),
        ({"batch_size": True}, "batch_size is True; allowed: a whole number from 1"),
        ({"checkpoint": "first"}, "checkpoint is 'first'; allowed: 'best', 'last'"),
        ({"checkpoint": "last", "early_stop": 2}, "checkpoint last and early_stop contradict"),
    ],
)
def test_wrong_values(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainOptions(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_rate_may_be_one_of_numpy_s() -> None:
    assert TrainOptions(lr=np.logspace(-3, -1, 3)[1]).lr == pytest.approx(0.01)


def test_every_problem_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        TrainOptions(epochs=0, lr=-1.0, device="x")
    assert all(said in str(caught.value) for said in ("epochs is", "lr is", "device is"))


def test_every_option_has_help() -> None:
    for item in dataclasses.fields(TrainOptions):
        assert get_spec(item).help, item.name


def test_the_recipe_is_complete_and_keeps_what_was_said() -> None:
    names = {item.name for item in dataclasses.fields(TrainOptions)}
    assert names == {item.name for item in dataclasses.fields(Recipe)}
    said = {"epochs": 3, "lr": 0.5, "ema": 0.0, "clip": 0.0, "early_stop": 0, "optimizer": "sgd"}
    for facts in (
        RecipeFacts(samples=60, pretrained=True),
        RecipeFacts(samples=60_000, values=28 * 28),
    ):
        recipe = resolve_recipe(TrainOptions(**said), facts)  # type: ignore[arg-type]
        values = dataclasses.asdict(recipe)
        assert {name: values[name] for name in said} == said
        free = {"steps", "budget", "channels_last", "threads", "checkpoint_every"}
        assert {name for name, value in values.items() if value is None} <= free
        assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("samples", [2, 60, 3000, 60_000, 10_000_000])
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_recipe_is_itself_allowed(samples: int, pretrained: bool) -> None:
    recipe = resolve_recipe(TrainOptions(), RecipeFacts(samples=samples, pretrained=pretrained))
    assert resolve_recipe(TrainOptions(**recipe.to_json()), RecipeFacts(samples=1)) == recipe
    assert str(recipe)


def test_import_is_light() -> None:
    code = "import skipstone.training.recipe, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("samples", "given", "batch_size"), [(5000, None, 64), (300, None, 32), (300, 100, 100)]
)
def test_the_batch_that_suits_a_backbone_is_the_most(
    samples: int, given: int | None, batch_size: int
) -> None:
    facts = RecipeFacts(samples=samples, values=40, recommended={"batch_size": 64, "lr": 0.001})
    recipe = resolve_recipe(TrainOptions(batch_size=given), facts)
    assert (recipe.batch_size, recipe.lr) == (batch_size, 0.001)


def test_answers_that_lie_on_samples_make_small_batches_and_longer_training() -> None:
    values = 384 * 480 * 3
    photos = resolve_recipe(
        TrainOptions(), RecipeFacts(samples=312, pretrained=True, values=values)
    )
    masks = resolve_recipe(
        TrainOptions(), RecipeFacts(samples=312, pretrained=True, values=values, is_spatial=True)
    )
    assert photos.batch_size == masks.batch_size == 8  # as many numbers as 32 photos at 224
    assert masks.lr > photos.lr
    assert masks.epochs > photos.epochs
