"""A report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from skipstone.report import charts, tables
from skipstone.report.blocks import (
    KIND_OF,
    Block,
    Code,
    Confusion,
    Curves,
    FactList,
    Gallery,
    HeadlineMetric,
    MetricTable,
    PhotoGroups,
    ReceiptBlock,
    ReliabilityDiagram,
    Report,
    Section,
    TableBlock,
    Text,
    TextVariants,
)
from skipstone.report.sample_figures import (
    render_gallery,
    render_photo_groups,
    render_text_variants,
)
from skipstone.report.text_format import (
    capitalize_first,
    escape_html,
    format_interval,
    format_metric,
    format_number,
    format_percent,
    render_name,
)


def render_page(report: Report, contents: Sequence[tuple[str, str]], body: str) -> str:
    """The complete document.

    Its Content-Security-Policy allows only this style sheet and embedded images and sounds: no script, no
    request, no form, whatever a file or class name contains.

    Args:
        contents: (anchor, title) of each section.
    """
    style = _style()
    links = "".join(
        f'<li><a href="#{anchor}">{escape_html(title)}</a></li>' for anchor, title in contents
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape_html(report.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#part-1">Skip to the result</a>\n'
        f"<header><p>skipstone report</p><h1>{escape_html(report.title)}</h1>"
        f'<p class="subtitle">{escape_html(report.subtitle)}</p></header>\n'
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n<main>{body}</main>\n'
        "<footer><p>This page loads no other files and runs no script.</p></footer>\n"
        "</body>\n</html>\n"
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _style() -> str:
    return resources.files("skipstone.report").joinpath("page.css").read_text("utf-8").strip()


def render_report(report: Report) -> str:
    """The page: one file that runs no script and loads no other files."""
    versions = " · ".join(f"{package} {version}" for package, version in report.versions.items())
    repeat = Section("Repeat this run", (Code("", report.command),), (Text("Versions", versions),))
    sections = (*report.sections, repeat)
    contents = [(f"part-{i}", section.title) for i, section in enumerate(sections, 1)]
    body = "".join(
        _section(anchor, section) for (anchor, _), section in zip(contents, sections, strict=True)
    )
    return render_page(report, contents, body)


def _section(anchor: str, section: Section) -> str:
    folded = ""
    if section.folded:
        titles = ", ".join(block.title.lower() for block in section.folded if block.title)
        folded = (
            f'<details class="more"><summary>Details: {escape_html(titles)}</summary>'
            f"{_blocks(section.folded)}</details>"
        )
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{escape_html(section.title)}</h2>'
        f"{_blocks(section.blocks)}{folded}</section>"
    )


def _blocks(parts: Sequence[Block]) -> str:
    blocks: list[str] = []
    curves: list[Curves] = []
    for block in parts:
        if isinstance(block, Curves):
            curves.append(block)
            continue
        blocks += _chart_row(curves)
        curves = []
        blocks.append(_block(block))
    return "".join([*blocks, *_chart_row(curves)])


def _chart_row(curves: list[Curves]) -> list[str]:
    """Consecutive charts, side by side if there is room."""
    return [f'<div class="charts">{"".join(map(_block, curves))}</div>'] if curves else []


def _block(block: Block) -> str:
    body = _RENDERERS[type(block)](block)
    heading = f"<h3>{escape_html(block.title)}</h3>" if block.title else ""
    below = f'<p class="note">{escape_html(block.note)}</p>' if block.note else ""
    return f'<div class="block {KIND_OF[type(block)]}">{heading}{body}{below}</div>'


def _hero(block: HeadlineMetric) -> str:
    item = block.figure
    share = item.is_share
    spread = format_interval(item.low, item.high, as_percent=share)
    drawing = scale = ""
    if share:
        start = charts.axis_start([item])
        drawing = charts.draw_interval(item, start)
        scale = f'<span class="ends"><span>{100 * start:g} %</span><span>100 %</span></span>'
    label = f'<p class="label">{escape_html(block.label)}</p>' if block.label else ""
    sentences = "".join(f"<p>{escape_html(sentence)}</p>" for sentence in block.sentences)
    if block.command:
        sentences += f"<p><code>{escape_html(block.command)}</code></p>"
    rows = [("Samples", f"n = {item.n:,}"), ("Data", block.split)]
    if block.majority is not None:
        title, value = block.majority
        rows.insert(1, ("Chance level", f"{format_percent(value)}: {title}"))
    facts = "".join(f"<dt>{escape_html(key)}</dt><dd>{escape_html(v)}</dd>" for key, v in rows)
    trust = f'<p class="note">{escape_html(block.verdict)}</p>' if block.verdict else ""
    return (
        f'<div class="headline {block.state}"><div class="sentences">{label}{sentences}</div><div>'
        f'<p class="what">{escape_html(capitalize_first(item.title))}</p>'
        f'<p class="value">{format_metric(item.value, as_percent=share)}</p>'
        f'<p class="spread"><b>{spread}</b> <span class="soft">95 % interval</span></p>'
        f"{drawing}{scale}</div><div><dl>{facts}</dl>{trust}</div></div>"
    )


def _reliability(block: ReliabilityDiagram) -> str:
    total = sum(item.count for item in block.bins)
    ece, unit = format_metric(block.ece, as_percent=False), escape_html(block.unit)
    spread = (
        f"Vertical lines are 95 % intervals (Wilson), assuming independent {unit}. With few "
        f"{unit}, a distance from the dashed line may be chance."
        if block.independent
        else f"Points have no intervals, because {unit} of one sample are not independent; the "
        "interval of the calibration error is computed over samples."
    )
    return (
        f'<div class="beside">{charts.draw_reliability(block)}<div>'
        f"<p>Calibration error (ECE): <b>{ece}</b> over {total:,} {unit}.</p>"
        "<p>On the dashed line the confidence is right: of the "
        f"{unit} with 80 % confidence, 80 % are correct. Below the line the model is too "
        "confident, above it not confident enough.</p>"
        f'<p class="note">{spread} The bars at the bottom show how many {unit} have each '
        "confidence.</p></div></div>"
    )


def _facts(block: FactList) -> str:
    rows = "".join(
        f"<dt>{escape_html(key)}</dt><dd>{_fact(value)}</dd>" for key, value in block.items
    )
    return f"<dl>{rows}</dl>"


def _fact(value: Any) -> str:
    return render_name(value) if isinstance(value, str) else escape_html(format_number(value))


def _text(block: Text) -> str:
    paragraphs = [part for part in block.text.split("\n\n") if part.strip()]
    return "".join(
        f"<p>{'<br>'.join(escape_html(line) for line in part.strip().splitlines())}</p>"
        for part in paragraphs
    )


def _code(block: Code) -> str:
    return f'<pre tabindex="0"><code>{escape_html(block.text)}</code></pre>'


def _curves(block: Curves) -> str:
    legend = ""
    if len(block.series) > 1:
        keys = "".join(
            f'<li class="s{index % 4}">{escape_html(series.name)}</li>'
            for index, series in enumerate(block.series)
        )
        legend = f'<ul class="keys">{keys}</ul>'
    return legend + charts.draw_curves(block)


_RENDERERS: dict[type[Block], Callable[[Any], str]] = {
    TableBlock: tables.render_table,
    Confusion: tables.render_confusion,
    MetricTable: tables.render_metrics,
    TextVariants: render_text_variants,
    ReceiptBlock: tables.render_receipt,
    ReliabilityDiagram: _reliability,
    Gallery: render_gallery,
    PhotoGroups: render_photo_groups,
    Curves: _curves,
    FactList: _facts,
    Text: _text,
    Code: _code,
    HeadlineMetric: _hero,
}
