"""Values as text."""

from __future__ import annotations

import html
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.report import text_format as words

# Any text, lone surrogates and controls included, as file names may hold.
anything = st.text(st.characters(exclude_categories=()), max_size=60)


class _Events(HTMLParser):
    """What a browser would find in a fragment."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.tags.append("declaration")


@given(anything)
def test_any_text_stays_text(text: str) -> None:
    seen = _Events()
    seen.feed(f'<p title="{words.escape_html(text)}">{words.escape_html(text)}</p>')
    seen.close()
    assert seen.tags == ["p", "/p"]
    assert seen.text == words.escape_control_characters(text)
    assert seen.attributes == [("title", words.escape_control_characters(text))]


@given(anything)
def test_what_hides_or_reorders_is_shown(text: str) -> None:
    shown = words.escape_control_characters(text)
    shown.encode("utf-8")  # lone surrogates would raise
    forbidden = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {unicodedata.category(char) for char in shown} & forbidden
    assert all(unicodedata.category(char) != "Cf" or char in "\u200c\u200d" for char in shown)


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=40))
def test_ordinary_names_are_not_touched(text: str) -> None:
    assert words.escape_control_characters(text) == text
    assert html.unescape(words.escape_html(text)) == text


def test_hostile_names_are_visible() -> None:
    assert words.escape_control_characters("gnp.\u202eexe") == r"gnp.\u202eexe"
    assert words.escape_control_characters("\x1b[31m") == r"\x1b[31m"
    assert words.escape_control_characters("a\nb\tc\x00") == r"a\nb\tc\x00"
    assert words.escape_control_characters("lone\udcff") == r"lone\udcff"
    assert words.render_name("<b>") == "<bdi>&lt;b&gt;</bdi>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.9731, "97.3 %"),
        (1.0, "100.0 %"),
        (0.0, "0.0 %"),
        (0.9996, "99.96 %"),  # one mistake in 2,500 is not perfect
        (0.0002, "0.02 %"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_percent(value: float | None, shown: str) -> None:
    assert words.format_percent(value) == shown


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_percent_never_claims_perfection(value: float) -> None:
    shown = float(words.format_percent(value).removesuffix(" %"))
    if 1e-6 < value < 1 - 1e-6:
        assert 0 < shown < 100
    assert abs(shown - 100 * value) <= 0.05 + 1e-9


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345, "12,345"),
        (-3, "−3"),
        (0.00012345, "0.0001234"),
        (-0.5, "−0.5"),
        (1.0, "1"),
        (1234567.8, "1,234,568"),
        (None, "–"),
        (float("inf"), "∞"),
        ("x\x1b", r"x\x1b"),
        (True, "True"),
    ],
)
def test_number(value: object, shown: str) -> None:
    assert words.format_number(value) == shown


def test_figures_and_spans() -> None:
    assert words.format_metric(0.2, as_percent=False) == "0.200"
    assert words.format_metric(0.0, as_percent=False) == "0"
    assert words.format_metric(24.0, as_percent=False) == "24.0"
    assert words.format_metric(123.4, as_percent=False) == "123"
    assert words.format_interval(0.961, 0.982, as_percent=True) == "96.1 – 98.2 %"
    assert words.format_interval(None, 0.9, as_percent=True) == "–"
    assert words.format_interval(0.5, float("nan"), as_percent=False) == "–"


@pytest.mark.parametrize(
    ("bytes_", "shown"),
    [(812, "812 B"), (4200, "4.2 kB"), (44_700_000, "44.7 MB"), (3_000_000_000, "3 GB")],
)
def test_size(bytes_: int, shown: str) -> None:
    assert words.format_bytes(bytes_) == shown


def test_counts() -> None:
    assert words.format_count(11_180_000) == "11.2 million"
    assert words.format_count(8_970) == "8,970"


@pytest.mark.parametrize(
    ("text", "shown"), [("mAP of boxes", "mAP of boxes"), ("mean IoU", "Mean IoU"), ("", "")]
)
def test_capital_first_letter(text: str, shown: str) -> None:
    assert words.capitalize_first(text) == shown
