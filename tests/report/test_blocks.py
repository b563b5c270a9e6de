"""Blocks and their JSON forms."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.core.errors import DamagedError
from skipstone.report.blocks import COLUMN_FORMATS, KIND_OF, STATES, Block, block_from_json
from skipstone.report.build_report import build_receipt_block
from tests.report.stories import HOSTILE, receipt

text = st.text(max_size=20) | st.sampled_from(HOSTILE)
real = st.floats(-1e6, 1e6)
share = st.floats(0, 1)
figure = st.fixed_dictionaries(
    {
        "title": text,
        "value": st.none() | real,
        "low": st.none() | real,
        "high": st.none() | real,
        "n": st.integers(0, 10**6),
        "higher_is_better": st.booleans(),
    }
)
amount = st.none() | st.fixed_dictionaries(
    {"value": st.none() | real, "low": st.none() | real, "high": st.none() | real}
)
cell = st.none() | text | real | st.integers(0, 10**9)


def block_to_json(block: Block) -> dict[str, Any]:
    """Tuples become lists in JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(block)))
    return {"kind": KIND_OF[type(block)], **plain}


def _block(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


def _square(classes: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    row = st.lists(st.integers(0, 999), min_size=len(classes), max_size=len(classes))
    matrix = st.lists(row, min_size=len(classes), max_size=len(classes))
    cells = st.just([{"truth": 0, "answer": 0, "items": []}])
    return _block(
        "confusion", title=text, classes=st.just(classes), matrix=matrix, cells=cells, unit=text
    )


_columns = st.fixed_dictionaries(
    {
        "name": text,
        "format": st.sampled_from(COLUMN_FORMATS),
    }
)
blocks = st.one_of(
    _block(
        "table",
        title=text,
        columns=st.lists(_columns, min_size=2, max_size=2),
        rows=st.lists(st.lists(cell, min_size=2, max_size=2), max_size=30),
        note=text,
    ),
    st.lists(text, min_size=1, max_size=5).flatmap(_square),
    _block(
        "reliability",
        title=text,
        unit=text,
        independent=st.booleans(),
        note=text,
        bins=st.lists(
            st.fixed_dictionaries(
                {
                    "low": share,
                    "high": share,
                    "confidence": share,
                    "accuracy": share,
                    "count": st.integers(0, 999),
                }
            ),
            max_size=4,
        ),
        ece=st.none() | share,
    ),
    _block(
        "gallery",
        title=text,
        items=st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.integers(0, 99),
                    "name": text,
                    "caption": text,
                    "truth": text,
                    "answer": text,
                    "probability": share,
                    "truth_probability": st.none() | share,
                    "link": st.sampled_from(["", "../a%20b.jpg", "./c.png"]),
                    "picture": st.sampled_from(["", "data:image/png;base64,AAAA"]),
                    "sound": st.sampled_from(["", "data:audio/wav;base64,AAAA"]),
                    "words": st.lists(st.tuples(text, share).map(list), max_size=3),
                    "about": text,
                }
            ),
            max_size=3,
        ),
        note=text,
        wide=st.booleans(),
    ),
    _block(
        "album",
        title=text,
        groups=st.lists(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "name": text,
                        "label": text,
                        "note": text,
                        "picture": st.sampled_from(["", "data:image/jpeg;base64,AAAA"]),
                        "words": st.lists(st.tuples(text, real).map(list), max_size=3),
                    }
                ),
                max_size=3,
            ),
            max_size=3,
        ),
        note=text,
    ),
    _block(
        "curves",
        title=text,
        x=text,
        series=st.lists(
            st.fixed_dictionaries(
                {"name": text, "points": st.lists(st.tuples(real, real).map(list), max_size=6)}
            ),
            max_size=3,
        ),
        log=st.booleans(),
        mark=st.none() | st.fixed_dictionaries({"x": real, "y": real, "name": text}),
        note=text,
    ),
    _block("facts", title=text, items=st.lists(st.tuples(text, text | real).map(list), max_size=3)),
    _block("text", title=text, text=text),
    _block("code", title=text, text=text, note=text),
    _block(
        "hero",
        figure=figure,
        split=text,
        seed=st.integers(0, 99),
        verdict=text,
        state=st.sampled_from(STATES),
        label=text,
        sentences=st.lists(text, max_size=3),
        command=text,
        majority=st.none() | st.tuples(text, share).map(list),
    ),
    _block("figures", title=text, items=st.lists(figure, max_size=3), note=text),
    _block(
        "receipt",
        title=text,
        verdict=text,
        accepted=st.booleans(),
        rows=st.lists(
            st.fixed_dictionaries(
                {
                    "name": text,
                    "unit": st.sampled_from(["percent", "bytes", "ms", "number"]),
                    "before": amount,
                    "after": amount,
                    "words": text,
                    "good": st.none() | st.booleans(),
                }
            ),
            max_size=3,
        ),
        note=text,
    ),
)


@given(blocks)
def test_json_forms_come_back(form: dict[str, Any]) -> None:
    block = block_from_json(form)
    assert block_to_json(block) == form
    assert block_from_json(block_to_json(block)) == block


def _gallery_form(**fields: str) -> dict[str, Any]:
    words = dict.fromkeys(("name", "caption", "truth", "answer"), "")
    item = {"id": 1, **words, "probability": 1, **fields}
    return {"kind": "gallery", "title": "", "items": [item]}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "pie"}, "pie"),
        ({}, "None"),
        ({"kind": "text", "title": "a"}, "lacks 'text'"),
        ({"kind": "confusion", "title": "", "classes": ["a", "b"], "matrix": [[1, 2]]}, "matrix"),
        (
            {
                "kind": "table",
                "title": "",
                "columns": [{"name": "a", "format": "html"}],
                "rows": [],
            },
            "format",
        ),
        (_gallery_form(picture="https://example.org/a.png"), "data URI"),
        (_gallery_form(link="javascript:alert(1)"), "relative path"),
        (_gallery_form(link="//example.org/a.png"), "relative path"),
        (
            {"kind": "curves", "title": "", "x": "", "series": [{"name": "a", "points": [[1]]}]},
            "curves",
        ),
    ],
)
def test_what_is_no_block_is_refused(form: dict[str, Any], said: str) -> None:
    with pytest.raises(DamagedError, match=said):
        block_from_json(form)


def test_undefined_figures_become_none() -> None:
    nan = float("nan")
    block = block_from_json({"kind": "reliability", "title": "", "bins": [], "ece": nan})
    assert block_to_json(block)["ece"] is None


@pytest.mark.parametrize(("accepted", "tested"), [(True, True), (False, False), (True, False)])
def test_receipts_of_shrink(accepted: bool, tested: bool) -> None:
    form = build_receipt_block(receipt(accepted=accepted, tested=tested))
    assert block_to_json(block_from_json(form))["accepted"] is accepted
    rows = {row["name"]: row for row in form["rows"]}
    drops = [row for row in form["rows"] if row["unit"] == "percent"]
    assert len(drops) == 1 + tested
    assert [row["good"] for row in drops] == [None if accepted else False] * len(drops)
    assert drops[0]["words"].startswith("−0.4 points (−0.9 to +0.3)" if accepted else "−3.1 points")
    fast = rows["latency: torch-f32, then openvino-int8"]
    assert (fast["before"]["value"], fast["after"]["value"]) == (21.4, 4.2)
    assert (fast["before"]["low"], fast["before"]["high"]) == (20.8, 24.0)
    assert "no difference" in form["note"]


def test_only_a_certain_gain_of_accuracy_is_called_good() -> None:
    given = receipt()
    given["val"] = {**given["val"], "drop": {"value": -2, "low": -3, "high": -1, "n": 500}}
    given["test"] = {**given["test"], "drop": {"value": -2, "low": -5, "high": 1, "n": 500}}
    rows = build_receipt_block(given)["rows"]
    assert [row["good"] for row in rows[:2]] == [True, None]
    assert rows[0]["words"] == "+2 points (+1 to +3)"


def test_a_receipt_without_latency() -> None:
    form = build_receipt_block({**receipt(), "latency": None})
    assert [row["unit"] for row in form["rows"]] == ["percent", "percent", "bytes"]


def test_a_difference_that_is_none_is_neither_good_nor_bad() -> None:
    given = receipt()
    given["latency"]["ratios"][0] |= {"low": 0.98, "high": 1.03, "words": "no difference"}
    rows = build_receipt_block(given)["rows"]
    assert rows[3]["good"] is None
    assert rows[4]["good"] is True


def test_no_ratio_is_stated_without_a_steady_control() -> None:
    given = receipt()
    for ratio in given["latency"]["ratios"]:
        ratio |= {"value": None, "low": None, "high": None, "words": "not comparable"}
    rows = [row for row in build_receipt_block(given)["rows"] if row["unit"] == "ms"]
    assert {row["words"] for row in rows} == {"not comparable: the control was not steady"}
    assert {row["good"] for row in rows} == {None}
