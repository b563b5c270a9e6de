"""Flags come from the rooms' options; each option has one."""

from __future__ import annotations

import re

import pytest

from skipstone.cli.parser import parse_command_line
from skipstone.commands.base import find_commands
from skipstone.core.errors import UsageError
from skipstone.core.formatting import to_flag
from skipstone.core.settings import known_settings


def test_every_setting_is_a_flag_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_command_line(["train", "--help-all"])
    shown = capsys.readouterr().out
    for name in known_settings():
        assert f"--{name.replace('_', '-')} " in shown.replace(",", " "), name
    assert "{sgd,adamw}" in shown
    assert "--loss {cross_entropy,focal,bce,dice,cross_entropy_dice}\n" in shown
    assert "tag: {bce,focal}: " in shown
    assert "--channels {auto,N} " in shown
    assert "default: 0.0 for linear; 0.1 for fcn; 0.5 for deeplabv3" in " ".join(shown.split())
    assert "{auto,first,channels}" in shown


@pytest.mark.parametrize("name", find_commands())
def test_help_shows_the_everyday_flags(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            parse_command_line([name, flag])
        shown[flag] = capsys.readouterr().out
    short, long = (
        set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.M)) for text in shown.values()
    )
    assert short <= long
    assert len(short) <= 22  # a dozen, and those of every command
    if short < long:
        assert f"All: skipstone {name} --help-all" in shown["--help"]
        everyday = find_commands()[name].everyday_options
        assert {to_flag(option) for option in everyday} <= short


def test_only_what_was_given_is_a_setting() -> None:
    assert parse_command_line(["train", "photos"]).options == {}
    words = "train photos --epochs 5 --budget 1h30m --channels 1 --flip 0 --label-columns a,b"
    assert parse_command_line(words.split()).options == {
        "epochs": 5,
        "budget": 5400.0,
        "channels": 1,
        "flip": 0.0,
        "label_columns": ("a", "b"),
    }


def test_switches() -> None:
    assert parse_command_line(["train", "--freeze-norm", "photos"]).options == {"freeze_norm": True}
    assert parse_command_line(["train", "photos", "--no-residual"]).options == {"residual": False}


def test_what_two_tasks_read_differently() -> None:
    for word in ("cross_entropy", "bce", "focal"):
        assert parse_command_line(["train", "photos", "--loss", word]).options == {"loss": word}
    with pytest.raises(UsageError, match="--loss: 'mse' is not allowed"):
        parse_command_line(["train", "photos", "--loss", "mse"])


def test_data_flags_where_data_is_read() -> None:
    for words in (["audit", "d"], ["evaluate", "m", "d"], ["train", "d"]):
        given = parse_command_line([*words, "--label-column", "kind"])
        assert given.options == {"label_column": "kind"}
    with pytest.raises(UsageError, match="no flag --epochs"):
        parse_command_line(["evaluate", "m", "d", "--epochs", "3"])


def test_abbreviations_are_refused_with_the_whole_word() -> None:
    with pytest.raises(UsageError, match=r"no flag --batch\. Did you mean .*--batch-size"):
        parse_command_line(["train", "photos", "--batch", "4"])


def test_after_two_dashes_names_may_begin_with_dashes() -> None:
    assert parse_command_line(["predict", "runs/001", "--", "--odd.jpg"]).arguments["sources"] == [
        "--odd.jpg"
    ]
