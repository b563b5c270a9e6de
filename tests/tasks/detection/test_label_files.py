"""Predicted boxes become labels again, in every format that is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.tasks.detection import label_files

NAMES = ["cat", "dog & fox"]
ROWS: list[dict[str, Any]] = [
    {
        "path": "1.png",
        "label": ["dog & fox", "cat"],
        "probability": [0.9, 0.5],
        "box": [[1.0, 2.0, 31.5, 20.25], [0.0, 0.0, 40.0, 30.0]],
        "size": [40, 30],
    },
    {"path": "2.png", "label": [], "probability": [], "box": [], "size": [40, 30]},
    {"path": "3.png", "error": "not read"},
]


def write_voc(folder: Path) -> None:
    for row in ROWS[:2]:
        data = label_files.render_voc(row["path"], row["size"], row)
        (folder / row["path"]).with_suffix(".xml").write_bytes(data)


def write_yolo(folder: Path) -> None:
    (folder / "classes.txt").write_text("\n".join(NAMES))
    for row in ROWS[:2]:
        data = label_files.render_yolo(NAMES, row["size"], row)
        (folder / row["path"]).with_suffix(".txt").write_bytes(data)


def write_coco(folder: Path) -> None:
    (folder / "boxes.json").write_bytes(label_files.render_coco(NAMES, ROWS))


def write_csv(folder: Path) -> None:
    (folder / "boxes.csv").write_bytes(label_files.render_csv(ROWS))


@pytest.mark.parametrize(
    ("write", "reader", "data"),
    [
        (write_voc, "voc", "."),
        (write_yolo, "yolo", "."),
        (write_coco, "coco", "."),
        (write_csv, "box-table", "boxes.csv"),
    ],
)
def test_what_is_written_is_read(
    tmp_path: Path, write: Callable[[Path], None], reader: str, data: str
) -> None:
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / name)
    write(tmp_path)
    manifest = read_manifest(tmp_path / data, ReadOptions(reader=reader))
    assert manifest.column_values("path") == ["1.png", "2.png"]
    first, second = manifest.column_values("target")
    assert [item["label"] for item in first] == ROWS[0]["label"]
    np.testing.assert_allclose([item["box"] for item in first], ROWS[0]["box"], atol=1e-3)
    assert second == []
