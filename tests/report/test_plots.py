"""Charts as PNG files, and the epochs as a table."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image

from skipstone.report.build_report import build_training_report
from skipstone.report.plots import SCALE, draw_plots, format_history
from tests.report.stories import story

PAPER = (255, 255, 255)


@pytest.mark.parametrize(("classes", "hostile"), [(3, False), (14, True), (200, False)])
def test_every_chart_of_the_report_is_a_picture(classes: int, hostile: bool) -> None:
    plots = draw_plots(build_training_report(story(classes, hostile=hostile)))
    assert set(plots) == {
        "training-loss.png",
        "accuracy-on-the-validation-rows.png",
        "learning-rate.png",
        "gradient-norm-by-depth.png",
        "confusion.png",
        "calibration.png",
    }
    for content in plots.values():
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) >= 100 * SCALE
        assert 0.001 < (pixels != PAPER).any(axis=2).mean() < 0.9


def test_a_cell_is_as_dark_as_its_share() -> None:
    """The diagonal is green, mistakes are red, and a larger share is darker."""
    content = draw_plots(build_training_report(story(3)))["confusion.png"]
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    cells = [
        [pixels[SCALE * (183 + 30 * i), SCALE * (153 + 30 * j)] for j in range(3)] for i in range(3)
    ]
    assert all(cells[k][k][0] < cells[k][k][1] for k in range(3))
    assert cells[1][2][0] > cells[1][2][1]  # three of twelve
    assert cells[1][2][1] < cells[0][1][1]  # two of thirteen
    assert tuple(cells[0][2]) == PAPER


def test_the_epochs_are_a_table() -> None:
    told = story(3)
    rows = list(csv.DictReader(io.StringIO(format_history(told.history))))
    assert len(rows) == len(told.history)
    assert float(rows[-1]["val_accuracy"]) == told.history[-1]["metrics"]["accuracy"]
    assert [row["epoch"] for row in rows[:2]] == ["1", "2"]
