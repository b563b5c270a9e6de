"""Charts as inline SVG: line charts, reliability diagrams, intervals, bars.

A chart is drawn near the size at which it is displayed, so that its text is not scaled. Colours are
CSS classes from page.css. Hovering over a point shows its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skipstone.evaluation.intervals import wilson_interval
from skipstone.report.blocks import Curves, MetricValue, ReliabilityBin, ReliabilityDiagram
from skipstone.report.text_format import (
    escape_html,
    format_interval,
    format_metric,
    format_number,
    format_percent,
)

WIDTH, HEIGHT = 300, 210
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 38
#: Up to this many points of a line are drawn as dots.
MAX_DOTS = 40

Scale = Callable[[float], float]


@dataclass(frozen=True)
class ChartFrame:
    """The scales and ticks of a line chart."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    to_x: Scale
    to_y: Scale


def drawable_points(
    points: Sequence[tuple[float, float]], *, log: bool
) -> list[tuple[float, float]]:
    """The points that a (logarithmic) axis has a place for."""
    return [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)]


def fit_frame(block: Curves) -> ChartFrame | None:
    """Scales that cover all points; None without points."""
    points = [point for s in block.series for point in drawable_points(s.points, log=block.log)]
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    y_ticks = _log_ticks(min(ys), max(ys)) if block.log else round_ticks(min(ys), max(ys))
    span_y = (min(*y_ticks, *ys), max(*y_ticks, *ys))
    return ChartFrame(
        _whole_ticks(min(xs), max(xs)),
        y_ticks,
        _linear(min(xs), max(xs), LEFT, WIDTH - RIGHT),
        (_log if block.log else _linear)(*span_y, HEIGHT - BOTTOM, TOP),
    )


def draw_curves(block: Curves) -> str:
    """Lines with axes, ticks, a mark, and a value at every point."""
    frame = fit_frame(block)
    if frame is None:
        return '<p class="note">No data to draw.</p>'
    to_x, to_y = frame.to_x, frame.to_y
    parts = [_axes(frame, block.x)]
    for index, series in enumerate(block.series):
        line = drawable_points(series.points, log=block.log)
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="line s{index % 4}" points="{path}"/>')
        for x, y in line:
            center = f'cx="{to_x(x):.1f}" cy="{to_y(y):.1f}"'
            dot = (
                f'<circle class="dot s{index % 4}" {center} r="2.5"/>'
                if len(line) <= MAX_DOTS
                else ""
            )
            tooltip = (
                f"{series.name}, {block.x} {format_number(x)}: {format_number(float(f'{y:.4g}'))}"
            )
            parts.append(
                f'<g class="point">{dot}<circle class="hit" {center} r="7"/>'
                f"<title>{escape_html(tooltip)}</title></g>"
            )
    if block.mark is not None and (block.mark.y > 0 or not block.log):
        parts.append(_mark(to_x(block.mark.x), to_y(block.mark.y), block.mark.name))
    return _svg(WIDTH, HEIGHT, _description(block), "".join(parts))


def draw_reliability(block: ReliabilityDiagram) -> str:
    """Accuracy by confidence, with Wilson intervals, above a histogram of counts."""
    size, strip, margin = 268, 48, 62
    width, height = margin + size + 20, TOP + size + 12 + strip + BOTTOM
    to_x = _linear(0, 1, margin, margin + size)
    to_y = _linear(0, 1, TOP + size, TOP)
    most = max((item.count for item in block.bins), default=0)
    floor = TOP + size + 12 + strip
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = to_x(share), to_y(share)
        parts.append(
            f'<line class="grid" x1="{margin}" x2="{margin + size}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick end" x="{margin - 7}" y="{y + 4:.1f}">{100 * share:.0f} %</text>'
            f'<text class="tick mid" x="{x:.1f}" y="{floor + 16}">{100 * share:.0f} %</text>'
        )
    parts.append(
        f'<line class="ideal" x1="{to_x(0)}" y1="{to_y(0)}" x2="{to_x(1)}" y2="{to_y(1)}"/>'
    )
    for item in block.bins:
        if item.count:
            column = (floor, strip * item.count / most)
            parts.append(_bin(block, item, to_x, to_y, column))
    parts.append(
        f'<text class="axis mid" x="{margin + size / 2}" y="{height - 5}">confidence</text>'
        f'<text class="axis mid" transform="translate(12 {TOP + size / 2}) rotate(-90)">'
        "correct</text>"
    )
    total = sum(item.count for item in block.bins)
    label = (
        f"Reliability diagram of {total:,} {block.unit}: "
        f"calibration error {format_metric(block.ece, as_percent=False)}"
    )
    return _svg(width, height, label, "".join(parts))


def axis_start(items: Sequence[MetricValue]) -> float:
    """Start of an axis that ends at 100 % and shows the lowest interval of these shares."""
    lowest = min((item.low for item in items if item.low is not None), default=0.0)
    return next(start for start in (0.99, 0.95, 0.9, 0.8, 0.5, 0.0) if start <= lowest)


def draw_interval(item: MetricValue, start: float) -> str:
    """A value as a dot and its interval as a bar, on an axis from `start` to 1; the text next to
    it says the same, so it is hidden from screen readers."""
    if item.value is None or item.low is None or item.high is None:
        return ""
    to_x = _linear(start, 1, 6, 194)
    low, high = to_x(item.low), to_x(item.high)
    body = (
        '<line class="rail" x1="6" x2="194" y1="9" y2="9"/>'
        f'<rect class="spread" x="{low:.1f}" y="5" width="{max(high - low, 1.5):.1f}" '
        'height="8" rx="4"/>'
        f'<circle class="dot s0" cx="{to_x(item.value):.1f}" cy="9" r="3.5"/>'
    )
    return f'<svg class="interval" viewBox="0 0 200 18" aria-hidden="true">{body}</svg>'


def draw_bar(share: float) -> str:
    """A bar filled to `share` in 0..1 of its width; hidden from screen readers."""
    filled = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" aria-hidden="true"><rect class="rail" width="100%" height="100%"/>'
        f'<rect class="fill" width="{filled:.1f}%" height="100%"/></svg>'
    )


def draw_swatch(colour: str) -> str:
    """A patch of `colour`, #rrggbb; hidden from screen readers."""
    return (
        '<svg class="swatch" aria-hidden="true">'
        f'<rect width="100%" height="100%" fill="{colour}"/></svg>'
    )


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers that cover low..high."""
    if high <= low:
        pad = abs(low) * 0.1 or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def _whole_ticks(low: float, high: float) -> list[float]:
    inside = [
        tick for tick in round_ticks(low, high, 6) if low <= tick <= high and tick == int(tick)
    ]
    return inside or [low]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 5))]


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    if high <= low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _log(low: float, high: float, start: float, end: float) -> Scale:
    inner = _linear(math.log10(low), math.log10(high), start, end)
    return lambda value: inner(math.log10(value))


def _axes(frame: ChartFrame, x_name: str) -> str:
    to_x, to_y = frame.to_x, frame.to_y
    floor = HEIGHT - BOTTOM
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(t):.1f}" '
        f'y2="{to_y(t):.1f}"/><text class="tick end" x="{LEFT - 7}" y="{to_y(t) + 4:.1f}">'
        f"{format_number(t)}</text>"
        for t in frame.y_ticks
    ]
    lines += [
        f'<text class="tick mid" x="{to_x(t):.1f}" y="{floor + 17}">{format_number(t)}</text>'
        for t in frame.x_ticks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        "".join(lines)
        + f'<text class="axis mid" x="{middle:.0f}" y="{HEIGHT - 5}">{escape_html(x_name)}</text>'
    )


def _mark(x: float, y: float, words: str) -> str:
    """A ring around a point, and its label where there is room, joined by a line."""
    side = "end" if x > WIDTH / 2 else "start"
    shift = -5 if side == "end" else 5
    label_y = HEIGHT - BOTTOM - 8 if y < (HEIGHT - BOTTOM + TOP) / 2 else TOP + 10
    ring = y + 5 if label_y > y else y - 5
    return (
        f'<line class="thread" x1="{x:.1f}" x2="{x:.1f}" y1="{ring:.1f}" y2="{label_y:.1f}"/>'
        f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        f'<text class="said {side}" x="{x + shift:.1f}" y="{label_y:.1f}">{escape_html(words)}</text>'
    )


def _bin(
    block: ReliabilityDiagram,
    item: ReliabilityBin,
    to_x: Scale,
    to_y: Scale,
    column: tuple[float, float],
) -> str:
    """A dot with its interval and, below it, a histogram bar: `column` is its bottom and height."""
    (floor, tall), (x, y) = column, (to_x(item.confidence), to_y(item.accuracy))
    bar_left, bar_right = to_x(item.low) + 1, to_x(item.high) - 1
    detail, whisker = f"{item.count:,} {block.unit}", ""
    if block.independent:
        low, high = wilson_interval(item.accuracy * item.count, item.count)
        detail = f"95 %: {format_interval(low, high, as_percent=True)}; {detail}"
        whisker = (
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{to_y(low):.1f}" '
            f'y2="{to_y(high):.1f}"/>'
        )
    confidence, accuracy = format_percent(item.confidence), format_percent(item.accuracy)
    tooltip = f"confidence {confidence}: {accuracy} correct ({detail})"
    return (
        f'<g class="point"><title>{escape_html(tooltip)}</title><rect class="count" '
        f'x="{bar_left:.1f}" y="{floor - tall:.1f}" width="{bar_right - bar_left:.1f}" '
        f'height="{max(tall, 1):.1f}"/>{whisker}'
        f'<circle class="dot s0" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="9"/></g>'
    )


def _description(block: Curves) -> str:
    """The chart as text, for screen readers."""
    lines = []
    for series in block.series:
        if series.points:
            (_, first), (_, last) = series.points[0], series.points[-1]
            lines.append(f"{series.name} from {format_number(first)} to {format_number(last)}")
    return f"{block.title}: {'; '.join(lines)}, by {block.x}"


def _svg(width: float, height: float, label: str, body: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape_html(label)}">{body}</svg>'
    )
