"""Benchmarks, without running one: `make proof` does that, at smoke size. What is held here is
that nothing is missed there, and that their verdicts can turn red."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import auto, clothing, parity, runs, tables, text_rows
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.stand_in import write_stand_in
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from tests.photos import write_class_folder

FOLDER = Path(runs.__file__).parent
each = pytest.mark.parametrize("name", BENCHMARKS)


def given(*words: str, out: Path) -> argparse.Namespace:
    return runs.arguments_for("clothing", "").parse_args([*words, "--out", str(out)])


def test_every_benchmark_is_run_at_smoke_size() -> None:
    with_main = set()
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            with_main.add(f"benchmarks.{path.stem}")
    assert with_main == {*BENCHMARKS.values(), "benchmarks.__main__"}


@each
def test_a_benchmark_takes_smoke_and_what_its_page_shows(name: str) -> None:
    module = importlib.import_module(BENCHMARKS[name])
    assert module.parser().parse_args(["--smoke"]).smoke
    assert module.__doc__
    for line in re.findall(r"-m benchmarks (.*)", module.__doc__):
        shown, *words = shlex.split(line)
        assert shown == name
        module.parser().parse_args(words)


@pytest.mark.parametrize("words", [[], ["clothes"], ["--smoke", "--jobs"], ["--smoke", "--jobs=2"]])
def test_a_wrong_call_shows_the_names(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "clothing" in capsys.readouterr().out


def test_a_benchmark_that_fails_at_smoke_size_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__.BENCHMARKS", {"clothes": "benchmarks.clothes"})
    assert main(["--smoke", "--jobs", "2"]) == 2
    assert capsys.readouterr().out.endswith("benchmarks that failed: clothes\n")


def test_data_is_what_was_named_or_generated_or_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPSTONE_DATA", "elsewhere")
    assert runs.data_of(given(out=tmp_path)) == Path("elsewhere")
    assert runs.data_of(given("--smoke", "--data", "here", out=tmp_path)) == Path("here")
    made = runs.data_of(given("--smoke", out=tmp_path))
    assert made is not None
    assert made.parent == tmp_path
    monkeypatch.delenv("SKIPSTONE_DATA")
    assert runs.data_of(given(out=tmp_path)) is None


def test_intervals_of_texts_count_each_once_however_often_it_was_asked() -> None:
    """Against scipy's standard error of the texts' own means."""
    answers = np.random.default_rng(0).random((3, 400)) < 0.8  # three repeats of 400 texts
    rows = [(at, bool(good)) for repeat in answers for at, good in enumerate(repeat)]
    means = answers.mean(axis=0)
    reach = 1.96 * stats.sem(means)
    value, low, high = text_rows._mean([(at, float(good)) for at, good in rows])
    assert (value, low, high) == pytest.approx(
        (means.mean(), means.mean() - reach, means.mean() + reach)
    )
    assert text_rows.score(rows) == f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
    same = [(at, bool(good)) for _ in range(3) for at, good in enumerate(answers[0])]
    assert text_rows.score(same) == text_rows.score(same[:400])
    gap = text_rows.paired(rows, [(at, not good) for at, good in rows])
    assert gap == pytest.approx([2 * value - 1, 2 * low - 1, 2 * high - 1])


@pytest.mark.parametrize(("strict", "known", "code"), [(0, 0, 0), (1, 1, 0), (1, 0, 1)])
def test_a_skip_is_an_error_where_everything_is_meant_to_run(
    strict: int, known: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPSTONE_STRICT_SKIPS", str(strict))
    assert runs.skipped("it rains", known=bool(known)) == code


@pytest.mark.parametrize("name", ["audit", "audit-texts", "camvid", "clothing", "tables", "text"])
def test_without_data_a_benchmark_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SKIPSTONE_DATA", raising=False)
    monkeypatch.setenv("SKIPSTONE_STRICT_SKIPS", "1")
    assert importlib.import_module(BENCHMARKS[name]).main([]) == 1
    assert "needs --data FOLDER or SKIPSTONE_DATA" in capsys.readouterr().out


def test_the_stand_in_reads_as_the_real_data_does(tmp_path: Path) -> None:
    data = write_stand_in(tmp_path)
    found = {
        name: read_manifest(data / name, ReadOptions())
        for name in ("clothing", "fashion-mnist", "camvid", "text/questions.csv")
    }
    assert {name: (manifest.input, manifest.task) for name, manifest in found.items()} == {
        "clothing": ("image", "classify"),
        "fashion-mnist": ("image", "classify"),
        "camvid": ("image", "segment"),
        "text/questions.csv": ("text", "classify"),
    }
    classes = {name: len(manifest.schema["classes"]) for name, manifest in found.items()}
    assert list(classes.values()) == [10, 10, 11, 6]
    assert set(found["clothing"].schema["classes"]) == set(tables.WORN)
    assert len(list((data / "blood-cells").glob("*/images/*"))) > 0


def chain(**changed: Any) -> dict[str, Any]:
    """What `tables` stores of a chain that meets its bar."""
    good = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 60}
    row = {"float": good, "int8": good, "baseline": 0.5, "accepted": True, "verified": True}
    row |= {"files": 2, "requested": 10, "answers": 10, "errors": 0, "shared": 4, "straddling": 0}
    return {**row, **changed}


@pytest.mark.parametrize(
    ("changed", "at_smoke_size"),
    [
        ({"verified": False}, 1),
        ({"files": 0}, 1),
        ({"errors": 1}, 1),
        ({"answers": 9}, 1),
        ({"requested": 0, "answers": 0}, 1),
        ({"straddling": 1}, 1),
        ({"shared": 0}, 1),
        ({"accepted": False}, 0),
        ({"baseline": 0.71}, 0),
        ({"float": {"low": 0.4}}, 0),
        ({"int8": {"low": 0.4}}, 0),
    ],
)
def test_each_part_of_a_tables_chain_can_miss_the_bar(
    changed: dict[str, Any], at_smoke_size: int
) -> None:
    assert tables.faults(chain(), smoke=False) == []
    assert tables.faults(chain(**changed), smoke=False)
    assert len(tables.faults(chain(**changed), smoke=True)) == at_smoke_size


def test_another_table_or_flag_is_another_result(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("path,label\n1.jpg,hat\n")
    other.write_text("path,label\n1.jpg,shoes\n")
    keys = {
        tables.key_of("tags", one, ("--epochs", "8")),
        tables.key_of("tags", other, ("--epochs", "8")),
        tables.key_of("tags", one, ("--epochs", "9")),
        auto.key_of("photos-60", "auto", "0", ("--budget", "60s")),
        auto.key_of("photos-60", "auto", "0", ("--budget", "15m")),
        *(clothing.key_of(plan, drop, "0", False) for plan in ("int8", "prune") for drop in "13"),
    }
    assert len(keys) == 9


def test_parity_without_a_float_program_is_not_met(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folder(tmp_path / "clothing", 1)
    monkeypatch.setattr(parity, "measure_agreement", lambda *_: [])
    words = ["--data", str(tmp_path), "--model", "runs/001", "--out", str(tmp_path / "out")]
    assert parity.main(words) == 1
    assert "bar NOT met" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "met"),
    [({}, True), ({"torch": 7.9}, False), ({"openvino": 1.9}, False), ({"smaller": 3.4}, False)],
)
def test_clothing_is_judged_by_each_figure_and_says_it(
    changed: dict[str, float], met: bool
) -> None:
    value = {"torch": 8.1, "openvino": 2.1, "smaller": 3.6} | changed
    names = {"torch-f32": value["torch"], "openvino-bf16": value["openvino"]}
    ratios = [{"slow": name, "value": ratio} for name, ratio in names.items()]
    receipt = {
        "latency": {"ratios": ratios},
        "sizes": {"smaller": value["smaller"]},
        "val": {"drop": {"value": 0.4}},
        "max_drop": 1.0,
    }
    found, line = clothing.judged("INT8 alone", {"accepted": True, "receipt": receipt})
    assert found == met
    assert line.startswith(f"INT8 alone: bars {'met' if met else 'NOT met'}: ")
    assert all(f"{figure:.2f}x" in line for figure in value.values())
    assert not clothing.judged("PLAN", {"accepted": False, "receipt": receipt})[0]
