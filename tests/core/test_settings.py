"""Flat names to typed options: what each kind reads, who takes what, and what is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pytest

import skipstone
from skipstone.cli.parser import parse_command_line
from skipstone.core import settings
from skipstone.core.errors import UsageError
from skipstone.core.options import option
from skipstone.core.settings import Settings, known_settings, settings_of, to_cli_args
from skipstone.data.options import ReadOptions
from skipstone.datasets.options import SplitOptions
from skipstone.tasks.options import ClassifyOptions
from skipstone.training.options import TrainOptions


@dataclass(frozen=True)
class Options:
    whole: int = 1
    number: float | None = None
    word: Literal["a", "b"] | None = None
    mixed: Literal["auto", 1, 3] = "auto"
    names: tuple[str, ...] = ()
    on: bool = False
    text: str | None = None
    shout: str = option("", parse=str.upper)
    inner: int = option(0, is_hidden=True)


@dataclass(frozen=True)
class Picky:
    width: float = 1.0

    def __post_init__(self) -> None:
        raise TypeError("bogus")


SETTINGS = {setting.name: setting for setting in settings_of(Options, "group", "owner")}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("whole", "12", 12),
        ("number", "0.5", 0.5),
        ("number", "2", 2.0),
        ("word", "b", "b"),
        ("mixed", "auto", "auto"),
        ("mixed", "3", 3),
        ("names", "x, y,,z", ("x", "y", "z")),
        ("on", "yes", True),
        ("on", "OFF", False),
        ("text", "12", "12"),
        ("shout", "hey", "HEY"),
    ],
)
def test_reads(name: str, text: str, value: object) -> None:
    found = SETTINGS[name].parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("whole", "1.5", "'1.5' is not a whole number"),
        ("number", "x", "'x' is not a number"),
        ("word", "c", "'c' is not allowed. Allowed: a, b."),
        ("mixed", "2", "'2' is not allowed. Allowed: 1, 3, auto."),
        ("on", "perhaps", "'perhaps' is neither yes nor no"),
    ],
)
def test_refuses(name: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + problem.replace(".", r"\.") + "$"):
        SETTINGS[name].parse_value(text)


def test_hidden_fields_are_no_settings() -> None:
    assert "inner" not in SETTINGS


def test_every_setting_says_what_it_is() -> None:
    for name, places in known_settings().items():
        for place in places:
            assert place.spec.help, f"{place.owners}.{name} has no help"


def test_a_shared_name_goes_to_each() -> None:
    settings = Settings({"seed": 7, "epochs": 2})
    assert settings.make_options(SplitOptions).seed == 7
    assert settings.make_options(TrainOptions) == TrainOptions(seed=7, epochs=2)
    settings.reject_unused(task="classify", model="resnet18", head="linear")


def test_none_means_not_given_and_defaults_yield() -> None:
    settings = Settings({"lr": None, "top_k": 3})
    assert settings.values == {"top_k": 3}
    assert settings.make_options(ClassifyOptions, top_k=9, label_smoothing=0.2) == ClassifyOptions(
        top_k=3, label_smoothing=0.2
    )


def test_unknown_names_are_all_reported() -> None:
    with pytest.raises(UsageError, match=r"'epoch'. Did you mean 'epochs'.*'widht'.*'width'"):
        Settings({"epoch": 1, "widht": 2})


def test_what_no_part_takes_is_refused() -> None:
    settings = Settings({"thresholds": "f1"})
    settings.make_options(ReadOptions)
    with pytest.raises(UsageError, match="--thresholds is an option of task tag; this run is task"):
        settings.reject_unused(task="classify", model="resnet18", head="linear")


@pytest.mark.parametrize(
    ("verb", "given", "flag"),
    [
        ("audit", ("photos",), {"val_share": 0.3}),
        ("evaluate", ("runs/001", "photos"), {"epochs": 3}),
        ("predict", ("runs/001", ["texts.csv"]), {"label_column": "x"}),
        ("compare", (["resnet20"],), {"augment": "light"}),
    ],
)
def test_python_refuses_what_the_command_line_refuses(
    verb: str, given: tuple, flag: dict[str, object]
) -> None:
    words = [item for part in given for item in ([part] if isinstance(part, str) else part)]
    told = []
    for refuse in (
        lambda: getattr(skipstone, verb)(*given, **flag),
        lambda: parse_command_line([verb, *words, *to_cli_args(flag)]),
    ):
        with pytest.raises(UsageError) as caught:
            refuse()
        told.append(caught.value.message)
    assert told[0] == told[1]


def test_a_wrong_value_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="epochs"):
        Settings({"epochs": 0}).make_options(TrainOptions)
    with pytest.raises(UsageError, match="bogus"):
        Settings({"width": 1.0}).make_options(Picky)


def test_flags_say_the_same_as_keywords() -> None:
    values = {
        "epochs": 5,
        "budget": 90.0,
        "freeze_norm": True,
        "residual": False,
        "label_columns": ("a", "b"),
        "channels": 1,
        "augment": "light",
    }
    words = to_cli_args({**values, "lr": None})
    assert parse_command_line(["train", "photos", *words]).options == values


def test_names_of_other_tools_lead_to_ours() -> None:
    """Each of them leads to something that there is, and none hides a name of ours."""
    known = {*known_settings(), *parse_command_line(["train", "photos"]).arguments, "to"}
    for word, name in settings._NAME_OF_ALIAS.items():
        assert name.partition("=")[0] in known, name
        assert word not in known, word
    assert not settings._UNNEEDED.keys() & known_settings().keys()
    for given, said in (
        ({"learning_rate": 0.1}, "'learning_rate'. Did you mean 'lr'?"),
        ({"gpu": 0}, "'gpu'. Did you mean device='cuda'?"),
        ({"arch": "resnet50"}, "'arch'. Did you mean 'model'?"),
        ({"num_classes": 3}, "'num_classes'. The classes are those of the data."),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            Settings(given)
