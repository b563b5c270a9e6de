"""Predicted boxes as annotation files, so that predictions become labels again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any
from xml.sax.saxutils import escape

from skipstone.core.formatting import format_cell

#: Fields of a prediction, with its path.
Row = Mapping[str, Any]


def render_voc(name: str, size: Sequence[int], row: Row) -> bytes:
    """A Pascal VOC file; size (width, height)."""
    lines = [
        "<annotation>",
        f"  <filename>{escape(PurePath(name).name)}</filename>",
        f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>",
    ]
    for label, probability, box in _objects(row):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        sides = "".join(f"<{side}>{value:.2f}</{side}>" for side, value in corners)
        lines.append(
            f"  <object><name>{escape(label)}</name><difficult>0</difficult>"
            f"<confidence>{probability:.4f}</confidence><bndbox>{sides}</bndbox></object>"
        )
    return ("\n".join([*lines, "</annotation>"]) + "\n").encode()


def render_yolo(names: Sequence[str], size: Sequence[int], row: Row) -> bytes:
    """A line per box: class, centre and size in shares of the photo."""
    lines = []
    for label, _, (x1, y1, x2, y2) in _objects(row):
        shares = (
            *((x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1]),
            *((x2 - x1) / size[0], (y2 - y1) / size[1]),
        )
        lines.append(" ".join([str(names.index(label)), *(f"{share:.6f}" for share in shares)]))
    return "".join(f"{line}\n" for line in lines).encode()


def render_coco(names: Sequence[str], rows: Sequence[Row]) -> bytes:
    """One COCO file of all photos; photos that could not be read are left out."""
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": code, "name": name} for code, name in enumerate(names, 1)],
    }
    for row in rows:
        if "error" in row:
            continue
        image = len(content["images"]) + 1
        width, height = row["size"]
        content["images"].append(
            {"id": image, "file_name": row["path"], "width": width, "height": height}
        )
        for label, probability, (x1, y1, x2, y2) in _objects(row):
            box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image,
                    "category_id": names.index(label) + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 3),
                    "iscrowd": 0,
                    "score": round(probability, 6),
                }
            )
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def render_csv(rows: Sequence[Row]) -> bytes:
    """A line per box, and one without numbers for a photo without boxes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "probability", "xmin", "ymin", "xmax", "ymax"])
    for row in rows:
        if "error" in row:
            continue
        objects = _objects(row)
        for label, probability, box in objects:
            path, name = format_cell(row["path"]), format_cell(label)
            writer.writerow([path, name, f"{probability:.6f}", *(f"{v:.2f}" for v in box)])
        if not objects:
            writer.writerow([format_cell(row["path"]), *[""] * 6])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _objects(row: Row) -> list[tuple[str, float, Sequence[float]]]:
    return list(zip(row["label"], row["probability"], row["box"], strict=True))
