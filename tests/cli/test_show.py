"""What is printed of results: of a demonstration at its end, of `verify`."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from skipstone.cli.terminal import Terminal
from skipstone.commands import demo as demo_command
from skipstone.commands import verify as verify_command
from skipstone.commands.rendering import (
    _estimate,
    metric_rows,
    print_metrics,
    print_verification,
)
from skipstone.core.registry import INPUTS, TASKS
from skipstone.evaluation.intervals import Estimate
from skipstone.evaluation.parity import Verification
from skipstone.evaluation.scores import Scores
from skipstone.inference.predictor import Evaluation
from skipstone.report.blocks import MetricTable, MetricValue
from skipstone.report.build_report import _checks
from skipstone.report.tables import render_metrics
from skipstone.report.text_format import format_interval
from skipstone.tasks.base import ErrorSummary, Metric
from skipstone.training.baseline import BaselineComparison
from skipstone.workflows import run_demo as demo
from skipstone.workflows.demo_images import Demonstration
from skipstone.workflows.export_and_verify import VerifyResult
from skipstone.workflows.run_demo import find_demo
from tests.docs.pages import PAGES, read_page

SHOWN = [entry.name for entry in (*TASKS, *INPUTS) if entry.demo is not None]
BASELINE = BaselineComparison(
    *("logistic", "accuracy", "accuracy", Estimate(0.912, 0.89, 0.93, 400)),
    *(Estimate(0.012, -0.004, 0.031, 400), 1.5, "it is not better by more than chance."),
)


ACCURACY = (Metric("accuracy", "accuracy", "proportion"),)


def make_scores(value: float, low: float) -> Scores:
    errors = ErrorSummary(
        metric="accuracy",
        error="get a wrong label",
        majority=0.267,
        majority_title="always “t-shirt”",
    )
    metrics = {"accuracy": Estimate(value, low, 1.0, 400)}
    return Scores("test", "test", 0, metrics, Evaluation([], [], []), "accuracy", errors)


@pytest.mark.parametrize(
    ("value", "low", "verdict"),
    [
        (0.232, 0.2, "Not trained: the result is hardly better than the chance level."),
        (0.3, 0.27, "Not trained: the result is hardly better than the chance level."),
        (
            0.5,
            0.26,
            "Too few samples to tell: the interval of the result includes the chance level.",
        ),
        (0.99, 0.98, None),
    ],
)
def test_the_chance_level_stands_below_the_headline(
    value: float, low: float, verdict: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    print_metrics(make_scores(value, low), ACCURACY, "On test", Terminal())
    lines = capsys.readouterr().out.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith(" accuracy"))
    assert "chance level (always “t-shirt”)" in lines[place + 1]
    assert "26.7 %" in lines[place + 1]
    assert lines[place + 2 :] == ([] if verdict is None else [verdict])


def measured(name: str, precision: str, **more: float) -> dict[str, object]:
    row = {"name": name, "ok": True, "problem": "", "precision": precision, "n": 16}
    tolerance = {"probability": 0.01, "relative": None, "flips": 2, "share": 0.005}
    return {**row, "max_difference": 0.002, "flips": 1, "tolerance": tolerance, **more}


PHOTOS = Verification.from_rows(
    [{"name": "files", "ok": True, "problem": ""}, measured("a", "f32")]
)
MASKS = Verification.from_rows(
    [
        {"name": "files", "ok": True, "problem": ""},
        measured("openvino-f32", "f32", share=0.0),
        measured("openvino-int8", "int8", share=0.00004),
    ]
)


@pytest.mark.parametrize("name", SHOWN)
def test_a_demonstration_ends_with_the_command_for_data_of_ones_own(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_command, "make_receipt_table", lambda receipt: (("what",), [], "Plan"))
    answers = [{"path": "a.png", "label": ["7", "8"], "probability": 0.98765}, {"error": "bad"}]
    result = SimpleNamespace(
        demonstration=find_demo(name),
        audited=SimpleNamespace(audit=SimpleNamespace(nouns=SimpleNamespace(unit="file"))),
        predicted=SimpleNamespace(to_json=lambda: {"predictions": answers}),
        shrunk=SimpleNamespace(receipt={}),
        trained=SimpleNamespace(
            baseline=BASELINE,
            scores=make_scores(0.99, 0.98),
            metric_definitions=ACCURACY,
            split="test",
        ),
        verified=VerifyResult(MASKS),
        seconds=61.0,
        report=Path("demo/runs/001/report.html"),
    )
    demo_command.print_result(result, Terminal())
    lines = capsys.readouterr().out.splitlines()
    assert any("7, 8" in line and "0.988" in line for line in lines)
    assert any("accuracy" in line and "99.0 %" in line for line in lines)
    assert any("at most 0.004 % of the pixels" in line for line in lines)
    assert "it is not better by more than chance." in lines
    assert any(line.startswith("Report:") and "report.html" in line for line in lines)
    assert lines[-1].startswith("Next:    skipstone train ")


def test_a_demonstration_tells_the_command_with_its_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(Exception):
        pass

    def train(*_: object, command: list[str], **given: object) -> None:
        raise Told(" ".join(command))

    shown = Demonstration("x", "x", lambda folder: None, lambda data: [], "x", {"epochs": 2})
    monkeypatch.setattr(demo, "find_demo", lambda task: shown)
    found = SimpleNamespace(audit=SimpleNamespace(findings=()))
    monkeypatch.setattr(demo, "audit", lambda data: found)
    monkeypatch.setattr(demo, "train", train)
    for seed, ending in ((0, "--epochs 2"), (3, "--epochs 2 --seed 3")):
        with pytest.raises(Told, match=rf"runs {ending}$"):
            demo.demo(out=tmp_path / "demo", seed=seed)


def test_there_are_demonstrations_and_pages_name_no_others() -> None:
    assert {"classify", "segment", "text"} <= set(SHOWN)
    named = {name for page in PAGES for name in re.findall(r"demo --task (\w+)", read_page(page))}
    assert named
    assert named <= set(SHOWN)
    (row,) = [
        line
        for line in read_page(PAGES[0].parent / "docs" / "commands.md").splitlines()
        if line.startswith("| `demo` |")
    ]
    assert {"classify", *re.findall(r"--task (\w+)", row)} == set(SHOWN)


def test_terminal_receipt_and_report_show_a_figure_in_the_same_units() -> None:
    measures = (Metric("accuracy", "accuracy", "proportion"),)
    measures += (Metric("brier", "Brier score", "bootstrap", higher_is_better=False),)
    found = {
        "brier": Estimate(0.0154, 0.01, 0.5, 2600),
        "accuracy": Estimate(0.9996, 0.998, 1.0, 2600),
    }
    shown = metric_rows(found, measures)
    assert shown == [
        ["accuracy", "99.96 %", "99.8 % – 100.0 %", "2,600"],
        ["Brier score", "0.0154", "0.0100 – 0.500", "2,600"],
    ]
    for row, measure, unit in zip(shown, measures, ("percent", "number"), strict=True):
        told = found[measure.name].to_json()
        low, high = row[2].split(" – ")
        assert _estimate(told, unit) == f"{row[1]} [{low}, {high}]"
        item = MetricValue(measure.title, higher_is_better=unit == "percent", **told)
        html = render_metrics(MetricTable("", (item,)))
        assert f'strong">{row[1]}<' in html
        assert f">{format_interval(item.low, item.high, as_percent=item.is_share)}<" in html


def test_verify_says_how_many_pixels_changed(capsys: pytest.CaptureFixture[str]) -> None:
    verify_command.print_result(VerifyResult(MASKS), Terminal())
    head, files, exact, close, verdict = capsys.readouterr().out.splitlines()
    assert "pixels changed" in head
    assert "%" not in files
    assert "0.0 %" in exact
    assert "0.004 %" in close
    assert verdict == "Every runtime gives the predictions of training."
    verify_command.print_result(VerifyResult(PHOTOS), Terminal())
    assert "pixels" not in capsys.readouterr().out


def test_training_says_so_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_verification(MASKS, Terminal())
    print_verification(PHOTOS, Terminal())
    masks, photos = capsys.readouterr().out.splitlines()
    assert masks.endswith("2 predictions changed, at most 0.004 % of the pixels)")
    assert photos.endswith("1 prediction changed)")


def test_a_report_says_so_too() -> None:
    told = _checks({"ok": True, "rows": MASKS.rows})
    assert [column["name"] for column in told["columns"]][4] == "changed pixels (allowed)"
    assert [row[4] for row in told["rows"]] == [None, "0.0 % (0.5 %)", "0.004 % (0.5 %)"]
    plain = _checks({"ok": True, "rows": PHOTOS.rows})
    assert all(len(row) == len(plain["columns"]) == 5 for row in plain["rows"])
