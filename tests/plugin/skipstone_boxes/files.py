"""The layout of boxes.json: read, and written with generated pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions

BOX_TYPE = pa.list_(pa.struct([("label", pa.string()), ("box", pa.list_(pa.float64()))]))


class BoxesReader:
    """A folder with boxes.json: {"pictures/1.png": [{"label": "disc", "box": [pixels x 4]}]}."""

    def detect_layout(self, path: Path) -> str | None:
        return "boxes.json beside pictures" if (path / "boxes.json").is_file() else None

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        rows = json.loads((path / "boxes.json").read_text())
        for name, boxes in rows.items():
            with Image.open(path / name) as picture:
                scale = np.array([*picture.size, *picture.size])
            for item in boxes:
                item["box"] = (np.array(item["box"]) / scale).tolist()
        return Manifest(
            build_table({"path": list(rows), "target": list(rows.values())}, BOX_TYPE),
            root=path,
            reader="boxes",
            input="image",
            task="boxes",
            schema={"classes": sorted({item["label"] for row in rows.values() for item in row})},
            notes=(f"Read as boxes.json: {len(rows)} pictures.",),
        )


def write_boxes(folder: Path, count: int, *, seed: int = 0, side: int = 64) -> Path:
    """`count` generated pictures with one or two bright squares ("square") or discs ("disc")."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in range(count):
        picture = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
        boxes = []
        for half in range(int(rng.integers(1, 3))):  # one on the left, perhaps one on the right
            size = int(rng.integers(side // 4, side // 2 - 2))
            x = half * side // 2 + int(rng.integers(0, side // 2 - size))
            y = int(rng.integers(0, side - size))
            label = ("square", "disc")[int(rng.integers(2))]
            inside = np.ones((size, size), bool)
            if label == "disc":
                across = np.linspace(-1, 1, size)
                inside = across[:, None] ** 2 + across[None] ** 2 <= 1
            colour = (250, 200, 40) if label == "disc" else (60, 200, 250)
            picture[y : y + size, x : x + size][inside] = colour
            boxes.append({"label": label, "box": [x, y, x + size, y + size]})
        name = f"pictures/{number}.png"
        Image.fromarray(picture).save(folder / name)
        rows[name] = boxes
    (folder / "boxes.json").write_text(json.dumps(rows))
    return folder
