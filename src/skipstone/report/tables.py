"""Tables as HTML: rows with bars, the confusion matrix, metrics with intervals, receipts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from skipstone.core.formatting import pluralize
from skipstone.evaluation.intervals import wilson_interval
from skipstone.report.blocks import (
    Column,
    Confusion,
    MeasuredValue,
    MetricTable,
    ReceiptBlock,
    ReceiptRow,
    TableBlock,
)
from skipstone.report.charts import axis_start, draw_bar, draw_interval, draw_swatch
from skipstone.report.sample_figures import render_gallery_items
from skipstone.report.text_format import (
    MISSING_VALUE,
    escape_html,
    format_bytes,
    format_interval,
    format_metric,
    format_number,
    format_percent,
    render_name,
)

#: A table with more rows scrolls on its own, under a fixed header.
MAX_ROWS_WITHOUT_SCROLL = 24
#: Up to this many classes a confusion matrix is drawn large and needs no list of worst pairs.
SMALL_MATRIX = 12
#: A confusion matrix of more than WIDEST classes shows the SHOWN classes with the most mistakes.
MAX_MATRIX = 250
REDUCED_MATRIX = 60
_COLOUR = re.compile("#[0-9a-f]{6}")


def render_table(block: TableBlock) -> str:
    """The rows in order; a long table with bars starts with the shortest one, and says so."""
    head = "".join(
        f'<th scope="col" class="{column.align}">{escape_html(column.name)}</th>'
        for column in block.columns
    )
    greatest = [_greatest(block.rows, index) for index in range(len(block.columns))]
    tall = len(block.rows) > MAX_ROWS_WITHOUT_SCROLL
    ordered, note = _lowest_first(block) if tall else (block.rows, "")
    rows = "".join(f"<tr>{_row(block.columns, row, greatest)}</tr>" for row in ordered)
    if not block.rows:
        rows = f'<tr><td colspan="{len(block.columns)}">none</td></tr>'
    grid = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return note + wrap_scrollable(grid, block.title, tall=tall)


def _lowest_first(block: TableBlock) -> tuple[Sequence[Sequence[Any]], str]:
    bars = [index for index, column in enumerate(block.columns) if column.format == "bar"]
    if not bars:
        return block.rows, ""
    bar_column = bars[0]
    rows = sorted(block.rows, key=lambda row: (row[bar_column] is None, row[bar_column] or 0))
    note = f"{len(rows):,} rows, lowest {block.columns[bar_column].name} first."
    return rows, f'<p class="note">{escape_html(note)}</p>'


def wrap_scrollable(content: str, label: str, *, tall: bool = False, kind: str = "") -> str:
    """A region with its own scroll bars, also by keyboard, so that the page stays in its width."""
    classes = " ".join(filter(None, ("scroll", "tall" if tall else "", kind)))
    return (
        f'<div class="{classes}" tabindex="0" role="region" aria-label="{escape_html(label)}">'
        f"{content}</div>"
    )


def _row(columns: Sequence[Column], row: Sequence[Any], greatest: Sequence[float]) -> str:
    cells = []
    for index, (column, value) in enumerate(zip(columns, row, strict=True)):
        tag = 'th scope="row"' if index == 0 else "td"
        classes = column.align + (
            " barred" if column.format in ("bar", "proportion", "estimate") else ""
        )
        content = _cell(column, value, greatest[index])
        cells.append(f'<{tag} class="{classes}">{content}</{tag[:2]}>')
    return "".join(cells)


def _cell(column: Column, value: Any, greatest: float) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING_VALUE
    if isinstance(value, list | tuple):
        return _interval_cell(column, value)
    if column.format == "colour" and isinstance(value, str) and _COLOUR.fullmatch(value):
        return f"{draw_swatch(value)}{value}"
    if column.format == "text" or not isinstance(value, int | float):
        return render_name(value)
    if column.format == "percent":
        return format_percent(value)
    if column.format == "bar":
        share = isinstance(value, float) and greatest <= 1
        value_text = format_percent(value) if share else format_number(value)
        return f"<span>{value_text}</span>{draw_bar(value / max(greatest, 1))}"
    return format_number(value)


def _interval_cell(column: Column, value: Sequence[float | None]) -> str:
    """A share with its bar and its interval; a proportion's is Wilson's."""
    if column.format == "proportion" and len(value) == 2:
        number, total = float(value[0] or 0), float(value[1] or 0)
        share: float | None = number / total if total else None
        low, high = wilson_interval(number, total) if total else (None, None)
    elif column.format == "estimate" and len(value) == 3:
        share, low, high = value
    else:
        return render_name(value)
    return (
        f"<span>{format_percent(share)}</span>{draw_bar(share or 0)} "
        f'<span class="soft">{format_interval(low, high, as_percent=True)}</span>'
    )


def _greatest(rows: Sequence[Sequence[Any]], index: int) -> float:
    numbers = [row[index] for row in rows if isinstance(row[index], int | float)]
    return max((n for n in numbers if math.isfinite(n)), default=0.0)


# --- confusion ----------------------------------------------------------------------------------


def render_confusion(block: Confusion) -> str:
    """Rows are true classes, columns predicted ones, shades are shares of a row; above it the most
    frequent mistakes."""
    mistakes = _frequent_mistakes(block)
    galleries = _cell_galleries(block)
    links = {(cell.truth, cell.answer): cell.anchor for cell in block.cells if cell.items}
    numbers = list(range(len(block.classes)))
    totals = [sum(row) for row in block.matrix]
    omission = ""
    if len(block.classes) > MAX_MATRIX:
        keep = _most_involved(block)
        omission = (
            f"Shown are the {len(keep)} of {len(block.classes):,} classes with the most mistakes; "
            "predictions of other classes are left out."
        )
        block = Confusion(
            block.title,
            tuple(block.classes[k] for k in keep),
            tuple(tuple(block.matrix[i][j] for j in keep) for i in keep),
        )
        totals, numbers = [totals[k] for k in keep], keep
    head = "".join(
        f'<th scope="col" title="{escape_html(label)}"><span>{render_name(label)}</span></th>'
        for label in block.classes
    )
    rows = "".join(
        _confusion_row(block, i, totals[i], [links.get((number, other)) for other in numbers])
        for i, number in enumerate(numbers)
    )
    small = " few" if len(block.classes) <= SMALL_MATRIX else ""
    grid = wrap_scrollable(
        f'<table class="heat{small}"><thead><tr><th scope="col" class="corner">'
        f"true ↓ predicted →</th>{head}</tr></thead><tbody>{rows}</tbody></table>",
        f"{block.title}: rows are true classes, columns predicted classes",
        tall=len(block.classes) > MAX_ROWS_WITHOUT_SCROLL,
        kind="matrix",
    )
    note = "Each row is a true class; the shade shows the share of its samples. " + omission
    if len(block.classes) > MAX_ROWS_WITHOUT_SCROLL:
        grid += '<p class="paper">The matrix is too wide to print: see it on a screen.</p>'
    return f'{mistakes}{grid}<p class="note">{_legend()}{escape_html(note.strip())}</p>{galleries}'


def _cell_galleries(block: Confusion) -> str:
    """A folded gallery per cell; the cell's count in the matrix opens it."""
    parts = []
    for cell in block.cells:
        count = block.matrix[cell.truth][cell.answer]
        truth, answer = (render_name(block.classes[k]) for k in (cell.truth, cell.answer))
        number = f"{count:,}" if count <= len(cell.items) else f"{len(cell.items)} of {count:,}"
        if block.unit:
            number = f"{count:,} {block.unit}"
        parts.append(
            f"<details><summary>{truth} predicted as {answer} <b>{number}</b></summary>"
            f'<div id="{cell.anchor}">{render_gallery_items(cell.items)}</div></details>'
        )
    if not parts:
        return ""
    return f'<h4>The mistakes, by cell</h4><div class="cells">{"".join(parts)}</div>'


def _confusion_row(block: Confusion, i: int, total: int, links: Sequence[str | None]) -> str:
    """`links`: the anchor of each cell's gallery."""
    cells = []
    for j, count in enumerate(block.matrix[i]):
        if not count:
            cells.append("<td>" if i != j else '<td class="zero">0')  # HTML closes td by itself
            continue
        share = count / total
        shade = ("r" if i == j else "w") + str(max(1, math.ceil(8 * share)))
        content = f'<a href="#{links[j]}">{count:,}</a>' if links[j] else f"{count:,}"
        tooltip = f"{block.classes[i]} → {block.classes[j]}: {count:,} of {total:,} ({format_percent(share)})"
        cells.append(f'<td class="{shade}" title="{escape_html(tooltip)}">{content}')
    label = block.classes[i]
    return (
        f'<tr><th scope="row" title="{escape_html(label)}"><span>{render_name(label)}</span></th>'
        f"{''.join(cells)}</tr>"
    )


def _pairs(block: Confusion) -> list[tuple[int, int, int]]:
    """(count, true class, predicted class) of every kind of mistake, most frequent first."""
    pairs = [
        (count, i, j)
        for i, row in enumerate(block.matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _frequent_mistakes(block: Confusion) -> str:
    pairs = _pairs(block)
    total = sum(map(sum, block.matrix))
    if not pairs:
        return f"<p>No mistakes among {pluralize(total, 'prediction')}.</p>"
    mistakes = sum(count for count, _, _ in pairs)
    if len(block.classes) <= SMALL_MATRIX:
        return f"<p>{pluralize(mistakes, 'mistake')} among {pluralize(total, 'prediction')}.</p>"
    items = "".join(
        f"<li>{render_name(block.classes[i])} → {render_name(block.classes[j])} "
        f"<b>{count:,}</b> of {sum(block.matrix[i]):,}</li>"
        for count, i, j in pairs[:5]
    )
    return (
        f"<p>{pluralize(mistakes, 'mistake')} among {pluralize(total, 'prediction')}. The most "
        "frequent (true → predicted):</p>"
        f'<ol class="pairs">{items}</ol>'
    )


def _most_involved(block: Confusion) -> list[int]:
    involved = [0] * len(block.classes)
    for count, i, j in _pairs(block):
        involved[i] += count
        involved[j] += count
    order = sorted(range(len(involved)), key=lambda k: (-involved[k], k))
    return sorted(order[:REDUCED_MATRIX])


def _legend() -> str:
    right, wrong = (
        "".join(f'<i class="{kind}{level}"></i>' for level in (1, 3, 5, 8)) for kind in "rw"
    )
    return (
        f'<span class="legend"><span class="ramp">{right}</span> right '
        f'<span class="ramp">{wrong}</span> wrong, few to all</span> '
    )


# --- figures and receipts -----------------------------------------------------------------------


def render_metrics(block: MetricTable) -> str:
    """One row per metric: value, 95 % interval as text and as a drawing, number of samples."""
    start = axis_start([item for item in block.items if item.is_share])
    rows = []
    for item in block.items:
        share = item.is_share
        arrow = "" if item.higher_is_better else ' <span class="soft">lower is better</span>'
        rows.append(
            f'<tr><th scope="row" class="left">{escape_html(item.title)}{arrow}</th>'
            f'<td class="right strong">{format_metric(item.value, as_percent=share)}</td>'
            f'<td class="right">{format_interval(item.low, item.high, as_percent=share)}</td>'
            f'<td class="right">{item.n:,}</td>'
            f'<td class="drawn">{draw_interval(item, start) if share else ""}</td></tr>'
        )
    return wrap_scrollable(
        '<table class="figures"><thead><tr><th scope="col" class="left">metric</th>'
        '<th scope="col" class="right">value</th><th scope="col" class="right">95 % interval</th>'
        '<th scope="col" class="right">n</th><th scope="col" class="drawn"><span class="ends">'
        f"<span>{100 * start:g} %</span><span>100 %</span></span></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>",
        block.title,
    )


def render_receipt(block: ReceiptBlock) -> str:
    """Values before and after, with their intervals, and the change as text."""
    rows = "".join(_change(row) for row in block.rows)
    state = "good" if block.accepted else "bad"
    grid = wrap_scrollable(
        '<table class="receipt"><thead><tr><th scope="col" class="left">what</th>'
        '<th scope="col" class="right">before</th><th scope="col" class="right">after</th>'
        f'<th scope="col" class="left">change</th></tr></thead><tbody>{rows}</tbody></table>',
        block.title,
    )
    return f'<p class="verdict {state}">{escape_html(block.verdict)}</p>{grid}'


def _change(row: ReceiptRow) -> str:
    state = {True: "good", False: "bad", None: ""}[row.good]
    return (
        f'<tr><th scope="row" class="left">{escape_html(row.name)}</th>'
        f'<td class="right">{_amount(row.before, row.unit)}</td>'
        f'<td class="right">{_amount(row.after, row.unit)}</td>'
        f'<td class="left {state}">{escape_html(row.words or MISSING_VALUE)}</td></tr>'
    )


def _amount(amount: MeasuredValue | None, unit: str) -> str:
    if amount is None or amount.value is None:
        return MISSING_VALUE
    if unit == "bytes":
        return format_bytes(amount.value)
    share = unit == "percent"
    value = format_metric(amount.value, as_percent=share) + (" ms" if unit == "ms" else "")
    if amount.low is None or amount.high is None:
        return value
    spread = format_interval(amount.low, amount.high, as_percent=share).removesuffix(" %")
    return f'{value}<br><span class="soft">{spread}</span>'
