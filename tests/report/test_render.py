"""The page as text: inert, well-formed, complete. `test_browser` looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from skipstone.report.blocks import (
    Annotation,
    Column,
    Confusion,
    Curves,
    HeadlineMetric,
    Report,
    Section,
    Series,
    TableBlock,
    block_from_json,
)
from skipstone.report.build_report import build_training_report
from skipstone.report.charts import draw_curves, round_ticks
from skipstone.report.render import render_report
from skipstone.report.report_schema import ReportData, to_json_safe
from skipstone.report.tables import MAX_MATRIX, REDUCED_MATRIX, render_confusion, render_table
from skipstone.report.text_format import escape_html
from tests.report.stories import HOSTILE, names, receipt, story
from tests.report.test_blocks import blocks

_PAGE = "html head meta title style body a header h1 nav main section footer"
_PROSE = "h2 h3 h4 details summary label input "
_PROSE += "p ol ul li div span mark b i br bdi dl dt dd figure img figcaption pre code"
_TABLES = "table thead tbody tr th td"
_DRAWINGS = "svg g line rect circle polyline text"
_ALLOWED = frozenset(" ".join((_PAGE, _PROSE, _TABLES, _DRAWINGS)).split())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def page(told: ReportData) -> str:
    return render_report(build_training_report(told))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.seen


def assert_inert(html: str) -> None:
    """No element or attribute that could act, whatever the names in it."""
    for tag, attributes in tags(html):
        assert tag in _ALLOWED, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert (attributes.get("href") or "#").startswith(("#", "./", "../"))
        assert tag != "input" or attributes["type"] == "checkbox"
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


def assert_drawings_are_xml(html: str) -> int:
    found = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    for drawing in found:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.lower().replace("aria", "")
    return len(found)


@pytest.mark.parametrize("classes", [3, 14, 200])
def test_a_report_of_hostile_names_is_inert(classes: int) -> None:
    html = page(replace(story(classes, hostile=True), receipts=[receipt()]))
    assert_inert(html)
    assert assert_drawings_are_xml(html) > 5
    for name in HOSTILE[: min(classes, 3)]:
        assert escape_html(name) in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ud800-\udfff]", html)
    assert len(html.encode()) < 5_000_000


@settings(max_examples=60, deadline=None)
@given(blocks)
def test_any_block_renders_inert(form: dict[str, Any]) -> None:
    html = render_report(Report("t", "s", "c", (Section("one", (block_from_json(form),)),), {}))
    assert_inert(html)
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing)


def test_the_policy_allows_this_style_only() -> None:
    html = page(story(3))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "script-src" not in policy[1]
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_every_class_is_named_with_its_figures() -> None:
    html = page(story(200))
    for name in names(200):
        assert html.count(f'<th scope="row" class="left"><bdi>{name}</bdi>') >= 2
        assert html.count(f'<th scope="row" title="{name}">') == 1
        assert f'<th scope="col" title="{name}">' in html


def test_the_headline_states_what_it_rests_on() -> None:
    told = story(3)
    html = page(told)
    accuracy = next(row for row in told.metrics if row["name"] == "accuracy")
    assert f"n = {accuracy['n']}" in html
    assert told.split in html
    assert "Scored once" in html
    assert f"{100 * accuracy['low']:.1f} – {100 * accuracy['high']:.1f} %" in html


def hero(told: ReportData) -> HeadlineMetric:
    (block,) = (
        block
        for block in build_training_report(told).sections[0].blocks
        if isinstance(block, HeadlineMetric)
    )
    return block


def with_accuracy(told: ReportData, value: float, low: float, high: float) -> ReportData:
    metrics = [
        {**row, "value": value, "low": low, "high": high} if row["name"] == "accuracy" else row
        for row in told.metrics
    ]
    return replace(told, metrics=metrics)


def test_the_verdict_says_in_three_sentences_how_many_which_and_what_next() -> None:
    block = hero(story(3))
    how_many, which, what_next = block.sentences
    assert re.fullmatch(
        r"Of 100 pictures, about \d+ get a wrong label \(95 %: \d+ to \d+\)\.", how_many
    )
    assert which.startswith(
        "The weakest class is “002 tern”: 8 of 11 are found; the most frequent "
    )
    assert "predicted as" in what_next
    assert block.command == "skipstone audit runs/001"
    assert block.state == "neutral"
    good = hero(replace(with_accuracy(story(3), 0.95, 0.9, 0.98), receipts=[receipt()]))
    assert good.state == "good"
    assert good.sentences[2] == "Next: put it to use."
    assert good.command == "skipstone export runs/001"
    perfect = hero(with_accuracy(story(3), 1.0, 0.9, 1.0))
    assert perfect.sentences[0].startswith("None of the 36 scored pictures has an error; of 100 ")


def test_a_model_that_is_hardly_better_than_the_largest_class_is_not_celebrated() -> None:
    told = story(3)
    share = told.errors["majority"]
    bad = hero(with_accuracy(told, share + 0.02, share - 0.05, share + 0.1))
    assert (bad.state, bad.label) == ("bad", "Not trained")
    assert "hardly better" in bad.sentences[0]
    assert "wrong labels" in bad.sentences[2]
    assert f"{100 * share:.1f} %: always “000 warbler”" in page(told)
    few = hero(with_accuracy(told, share + 0.3, share - 0.01, share + 0.5))
    assert few.label == "Too few samples to tell"


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"verification": {"ok": False, "rows": []}}, "do not use the exported programs"),
        ({"stopped_by": "budget", "history": 5}, "give a larger --budget"),
        ({"history": 5}, "try --epochs 10"),
        ({"few": "002 tern"}, "add pictures of “002 tern”: it has 3 to learn from"),
    ],
)
def test_the_advice_follows_from_the_run(changes: dict[str, Any], advice: str) -> None:
    told = story(3)
    if "history" in changes:  # still rising steeply in the last epoch
        rows = [{**row, "metrics": {"accuracy": row["epoch"] / 10}} for row in told.history]
        changes = {**changes, "history": rows[: changes["history"]]}
    if few := changes.pop("few", None):
        rows = [{**row, "train": 3 if row["name"] == few else 60} for row in told.classes]
        changes = {**changes, "classes": rows}
    assert advice in hero(replace(told, **changes)).sentences[2]


def test_the_weakest_class_comes_first_with_its_interval() -> None:
    html = page(story(3))
    names_ = re.findall(r'<th scope="row" class="left"><bdi>(\d+ \w+)</bdi>', html)
    assert names_[:3] == ["002 tern", "001 sparrow", "000 warbler"]
    assert '<span class="soft">43.4 – 90.3 %</span>' in html  # Wilson, 8 of 11


def test_a_count_of_mistakes_opens_its_gallery() -> None:
    html = page(story(3))
    cells = re.findall(r'<a href="#(cell-\d-\d)">', html)
    assert len(cells) == 3
    for cell in cells:
        assert html.count(f'<div id="{cell}"><ul class="pictures">') == 1
    assert "<summary><bdi>001 sparrow</bdi> predicted as <bdi>002 tern</bdi> <b>3</b>" in html
    assert 'href="../../photos/0.jpg"' in html
    assert re.search(r"<i>true</i> <bdi>001 sparrow</bdi> <b>27.4 %</b>", html)


def test_a_cell_that_names_a_metric_shows_its_value_and_interval() -> None:
    """As in the table of masks, whose IoU by class is a metric."""
    columns = [{"name": "class", "format": "text"}, {"name": "IoU", "format": "estimate"}]
    rows = [["sky", "accuracy"], ["sign", "iou:sign"]]
    table = {"kind": "table", "title": "By class", "columns": columns, "rows": rows}
    html = page(replace(story(3), sections=[table]))
    accuracy = next(row for row in story(3).metrics if row["name"] == "accuracy")
    spread = f"{100 * accuracy['low']:.1f} – {100 * accuracy['high']:.1f} %"
    assert f'<span class="soft">{spread}</span>' in html
    assert re.search(r"<bdi>sign</bdi></th><td[^>]*>–</td>", html)  # never seen: no such metric


def test_what_only_experts_need_is_folded() -> None:
    html = page(story(3))
    for title in ("all metrics", "calibration, post-processing", "versions"):
        assert f'<details class="more"><summary>Details: {title}' in html


def test_figures_of_select_say_that_they_are_too_good() -> None:
    html = page(replace(story(3), role="val"))
    assert "somewhat too good" in html
    assert "Scored once" not in html


def test_gradient_norms_are_drawn_by_depth() -> None:
    told = story(3)
    (chart,) = [
        block
        for section in build_training_report(told).sections
        for block in section.folded
        if isinstance(block, Curves) and block.title == "Gradient norm by depth"
    ]
    first, last = told.history[0], told.history[-1]
    assert [series.name for series in chart.series] == [
        f"epoch {first['epoch']}",
        f"epoch {last['epoch']}",
    ]
    for row, series in zip((first, last), chart.series, strict=True):
        assert [y for _, y in series.points] == list(row["gradients"].values())
    frozen = [{**row, "gradients": {"head": 1.0}} for row in told.history]  # nothing to compare
    assert "Gradient norm by depth" not in page(replace(told, history=frozen))
    assert "Stages: 1 stem, 2 stage 1, 3 head." in page(told)


def test_a_failed_verification_is_said() -> None:
    rows = [{"name": "openvino-f32", "ok": False, "problem": "3 of 16 answers changed"}]
    found = {"ok": False, "max_difference": 0.4, "flips": 3, "rows": rows}
    html = page(replace(story(3), verification=found))
    assert "DIFFERS: 3 of 16 answers changed" in html
    assert "SOME CHECKS FAILED" in html


def test_a_story_comes_back_from_json() -> None:
    told = replace(story(3), receipts=[receipt()])
    assert page(ReportData.from_json(told.to_json())) == page(told)


def test_storable() -> None:
    given_ = {"a": float("nan"), "b": (1.0, -math.inf), "c": "lone\udcff", "d": None}
    assert to_json_safe(given_) == {"a": None, "b": [1.0, None], "c": "lone\\udcff", "d": None}


def test_undefined_figures_are_dashes() -> None:
    told = story(3)
    metrics = [{**row, "value": None, "low": None, "high": None} for row in told.metrics]
    html = page(replace(told, metrics=metrics, history=[]))
    assert '<p class="value">–</p>' in html
    assert "nan" not in re.sub(r"data:[^\"]*", "", html)


# --- parts --------------------------------------------------------------------------------------


def test_bars_of_shares_are_percents_and_of_counts_are_counts() -> None:
    columns = (Column("class"), Column("F1", "bar"), Column("rows", "bar"))
    html = render_table(TableBlock("t", columns, (("a", 1.0, 1), ("b", 0.0, 0))))
    assert re.findall(r"<span>([^<]*)</span>", html) == ["100.0 %", "1", "0.0 %", "0"]


def test_a_colour_is_shown_beside_its_name_and_nothing_else_is_let_through() -> None:
    columns = (Column("class"), Column("drawn in", format="colour"))
    html = render_table(
        TableBlock("By class", columns, (("cat", "#ee4e2b"), ("dog", '#"><script>')))
    )
    assert 'fill="#ee4e2b"/></svg>#ee4e2b</td>' in html
    assert html.count("swatch") == 1
    assert "<script" not in html


def test_confusion_counts_and_shades() -> None:
    html = render_confusion(Confusion("Confusion", ("cat", "dog"), ((3, 1), (0, 8))))
    assert "1 mistake among 12 predictions." in html
    assert '<td class="r6" title="cat → cat: 3 of 4 (75.0 %)">3' in html
    assert '<td class="w2" title="cat → dog: 1 of 4 (25.0 %)">1' in html
    assert '<td class="r8" title="dog → dog: 8 of 8 (100.0 %)">8' in html


def test_a_very_wide_confusion_shows_what_is_confused_and_says_so() -> None:
    k = MAX_MATRIX + 10
    matrix = [[0] * k for _ in range(k)]
    for i in range(k):
        matrix[i][i] = 5
    matrix[7][251] = 4
    block = Confusion("", tuple(f"class-{i}" for i in range(k)), tuple(map(tuple, matrix)))
    html = render_confusion(block)
    assert f"{REDUCED_MATRIX} of {k} classes" in html
    assert 'title="class-7 → class-251: 4 of 9 (44.4 %)">4' in html
    assert html.count('<th scope="row"') == REDUCED_MATRIX


def test_a_shade_is_a_share_of_all_answers_also_where_columns_are_left_out() -> None:
    k = MAX_MATRIX + 10
    matrix = [[0] * k for _ in range(k)]
    matrix[0] = [1] * k  # every answer once: most of them lie outside what is shown
    block = Confusion("", tuple(f"class-{i}" for i in range(k)), tuple(map(tuple, matrix)))
    assert f"class-0 → class-1: 1 of {k} (0.4 %)" in render_confusion(block)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "points",
    [
        (),
        ((1.0, 2.0),),
        ((1.0, 2.0), (2.0, 2.0)),
        ((1.0, 0.0), (2.0, 3.0), (3.0, float("nan")), (4.0, 1e-9)),
        tuple((float(x), 1.0 / x) for x in range(1, 400)),
    ],
)
def test_curves_of_any_length(points: tuple[tuple[float, float], ...], log: bool) -> None:
    mark = Annotation(1.0, 2.0, "best") if points else None
    drawn = draw_curves(Curves("loss", "epoch", (Series("loss", points),), log, mark))
    if drawn.startswith("<svg"):
        ElementTree.fromstring(drawn)
    else:
        assert not points
    assert "nan" not in drawn
    if log and points:  # a mark that a logarithmic axis has no place for is left out
        low = Curves(
            "loss", "epoch", (Series("loss", points),), log, Annotation(1.0, 0.0, "lowest")
        )
        assert "lowest" not in draw_curves(low)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3, 0.5), (1, 1), (0, 0), (-3, 7), (1e-9, 3e-9), (17, 123456)]
)
def test_ticks_are_round_and_cover(low: float, high: float) -> None:
    found = round_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 3 <= len(found) <= 8
    step = found[1] - found[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-6
