"""The report's charts as PNG files, for slides and papers, and its epochs as a table."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipstone.report import charts
from skipstone.report.blocks import Confusion, Curves, ReliabilityDiagram, Report
from skipstone.report.text_format import escape_control_characters, format_number

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

#: Everything is drawn at SCALE times the size of the report's charts.
SCALE = 3
#: A confusion matrix of more classes is drawn without names and counts.
MAX_NAMED_CLASSES = 40
#: Characters of a class name at most.
MAX_NAME = 20
_FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial.ttf")
_PAPER, _INK, _GRID = "white", "#1c2126", "#dedfd9"
_LINES = ("#0b6b66", "#b3441e", "#5a5fb0", "#8a6d12")
_RIGHT, _WRONG = (11, 107, 102), (196, 84, 40)


def draw_plots(report: Report) -> dict[str, bytes]:
    """PNG by file name: every line chart, the confusion matrix, the reliability diagram."""
    plots: dict[str, bytes] = {}
    for section in report.sections:
        for block in (*section.blocks, *section.folded):
            picture = None
            if isinstance(block, Curves):
                picture = _draw_curves(block)
            elif isinstance(block, Confusion) and block.classes:
                picture = _draw_confusion(block)
            elif isinstance(block, ReliabilityDiagram):
                picture = _draw_reliability(block)
            if picture is not None:
                slug = re.sub(r"[^a-z0-9]+", "-", block.title.lower()).strip("-")
                plots[f"{slug}.png"] = picture
    return plots


def format_history(history: Sequence[Mapping[str, Any]]) -> str:
    """The epochs as CSV: one row per epoch, metrics of the validation rows as `val_accuracy`."""
    rows = [
        {
            **{key: row.get(key) for key in ("epoch", "step", "seconds", "lr", "loss")},
            **{f"val_{name}": value for name, value in row["metrics"].items()},
        }
        for row in history
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _Canvas:
    """A white picture; positions and sizes are those of the report's charts."""

    def __init__(self, width: float, height: float) -> None:
        from PIL import Image, ImageDraw

        self.picture = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), _PAPER)
        self.pen: ImageDraw.ImageDraw = ImageDraw.Draw(self.picture)
        self._font = _load_font(11 * SCALE)

    def draw_line(self, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        scaled = [(SCALE * x, SCALE * y) for x, y in points]
        self.pen.line(scaled, fill=colour, width=round(width * SCALE), joint="curve")

    def draw_box(self, corners: tuple[float, float, float, float], colour: Any) -> None:
        self.pen.rectangle([SCALE * value for value in corners], fill=colour)

    def draw_dot(self, x: float, y: float, colour: str, radius: float = 3) -> None:
        corners = (x - radius, y - radius, x + radius, y + radius)
        self.pen.ellipse([SCALE * value for value in corners], fill=colour)

    def write(self, x: float, y: float, text: str, anchor: str, colour: Any = _INK) -> None:
        """`anchor` as in Pillow: "mm" is the middle, "rm" the right end."""
        escaped = escape_control_characters(text)
        self.pen.text((SCALE * x, SCALE * y), escaped, fill=colour, font=self._font, anchor=anchor)

    def write_upwards(self, x: float, y: float, text: str) -> None:
        """A line that starts at (x, y), its left middle, and runs upwards."""
        from PIL import Image, ImageDraw

        escaped = escape_control_characters(text)
        size = (round(self.pen.textlength(escaped, self._font)) + 1, 16 * SCALE)
        line = Image.new("RGB", size, _PAPER)
        pen = ImageDraw.Draw(line)
        pen.text((0, size[1] / 2), escaped, fill=_INK, font=self._font, anchor="lm")
        corner = (round(SCALE * x - size[1] / 2), round(SCALE * y) - size[0])
        self.picture.paste(line.rotate(90, expand=True), corner)

    def encode(self) -> bytes:
        content = io.BytesIO()
        self.picture.save(content, "PNG", optimize=True)
        return content.getvalue()


def _load_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """A system font, which has the letters of most languages, or else Pillow's own."""
    from PIL import ImageFont

    for name in _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _draw_curves(block: Curves) -> bytes | None:
    frame = charts.fit_frame(block)
    if frame is None:
        return None
    title_height = 22.0
    canvas = _Canvas(charts.WIDTH, charts.HEIGHT + title_height)
    floor = charts.HEIGHT - charts.BOTTOM + title_height
    canvas.write(charts.LEFT, 11, block.title, "lm")
    for tick in frame.y_ticks:
        y = frame.to_y(tick) + title_height
        canvas.draw_line([(charts.LEFT, y), (charts.WIDTH - charts.RIGHT, y)], _GRID, 1)
        canvas.write(charts.LEFT - 6, y, format_number(tick), "rm")
    for tick in frame.x_ticks:
        canvas.write(frame.to_x(tick), floor + 11, format_number(tick), "mm")
    canvas.write(charts.WIDTH / 2, charts.HEIGHT + title_height - 7, block.x, "mm")
    for number, series in enumerate(block.series):
        colour = _LINES[number % len(_LINES)]
        points = [
            (frame.to_x(x), frame.to_y(y) + title_height)
            for x, y in charts.drawable_points(series.points, log=block.log)
        ]
        canvas.draw_line(points, colour, 2)
        if points and len(block.series) > 1:
            canvas.write(*points[-1], series.name, "rb", colour)
    if block.mark is not None and (block.mark.y > 0 or not block.log):
        x, y = frame.to_x(block.mark.x), frame.to_y(block.mark.y) + title_height
        canvas.draw_dot(x, y, _INK, 4)
        canvas.write(x - 6, y + 14, block.mark.name, "rm")
    return canvas.encode()


def _draw_reliability(block: ReliabilityDiagram) -> bytes:
    side, left, top = 240, 50, 24
    canvas = _Canvas(left + side + 20, top + side + 40)
    canvas.write(left, 11, f"{block.title}: share correct by confidence", "lm")
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + side * (1 - share)
        canvas.draw_line([(left, y), (left + side, y)], _GRID, 1)
        canvas.write(left - 6, y, f"{100 * share:.0f} %", "rm")
        canvas.write(left + side * share, top + side + 12, f"{100 * share:.0f} %", "mm")
    canvas.write(left + side / 2, top + side + 30, "confidence", "mm")
    canvas.draw_line([(left, top + side), (left + side, top)], "#5b6369", 1)
    for item in block.bins:
        if item.count:
            x, y = left + side * item.confidence, top + side * (1 - item.accuracy)
            canvas.draw_dot(x, y, _LINES[0], 4)
    return canvas.encode()


def _draw_confusion(block: Confusion) -> bytes:
    count = len(block.classes)
    is_named = count <= MAX_NAMED_CLASSES
    cell = 30.0 if is_named else max(1.0, 900 / count / SCALE)
    left, top = (150.0, 180.0) if is_named else (10.0, 30.0)
    side = cell * count
    canvas = _Canvas(max(left + side + 10, 320), top + side + 10)
    canvas.write(10, 11, f"{block.title}: true (rows), predicted (columns)", "lm")
    for i, row in enumerate(block.matrix):
        total = max(sum(row), 1)
        for j, number in enumerate(row):
            share, x, y = number / total, left + j * cell, top + i * cell
            tint = _RIGHT if i == j else _WRONG
            colour = tuple(round(255 + (part - 255) * share) for part in tint)
            canvas.draw_box((x, y, x + cell, y + cell), colour)
            if is_named and number:
                ink = "white" if share > 0.6 else _INK
                canvas.write(x + cell / 2, y + cell / 2, str(number), "mm", ink)
        if is_named:
            canvas.write(left - 6, top + (i + 0.5) * cell, _shorten(block.classes[i]), "rm")
            canvas.write_upwards(left + (i + 0.5) * cell, top - 6, _shorten(block.classes[i]))
    return canvas.encode()


def _shorten(name: str) -> str:
    """A class name that fits the margin."""
    escaped = escape_control_characters(name)
    return escaped if len(escaped) <= MAX_NAME else escaped[: MAX_NAME - 1] + "…"
