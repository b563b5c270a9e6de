"""Generated photos with bright squares and discs, and their boxes in the formats of annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """A photo (H, W, 3) and its objects: (label, (x1, y1, x2, y2))."""

    picture: np.ndarray
    objects: Sequence[tuple[str, Box]]


def make_scene(rng: np.random.Generator, side: int = 64) -> Scene:
    """One or two bright squares ("square") or discs ("disc") on noise."""
    picture = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
    objects: list[tuple[str, Box]] = []
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
        objects.append((label, (x, y, x + size, y + size)))
    return Scene(picture, objects)


def make_scenes(count: int, *, seed: int = 0, side: int = 64) -> dict[str, Scene]:
    rng = np.random.default_rng(seed)
    return {f"{number}": make_scene(rng, side) for number in range(count)}


def voc_text(
    objects: Sequence[tuple[str, Box]],
    size: tuple[int, int] | None,
    *,
    name: str = "x.jpg",
    extra: str = "",
) -> str:
    """A VOC file; size (width, height). `extra` stands inside each object."""
    width, height = size or (0, 0)
    items = "".join(
        f"<object><name>{label}</name>{extra}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in objects
    )
    stated = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return (
        f"<annotation><filename>{name}</filename><path>C:\\photos\\{name}</path>"
        f"{stated if size is not None else ''}{items}</annotation>"
    )


def write_voc(
    folder: Path, scenes: Mapping[str, Scene], photos: str = "images", boxes: str = "annotations"
) -> Path:
    """A PNG and a VOC file for each scene, below the two folders."""
    for name, scene in scenes.items():
        for part in (photos, boxes):
            (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.picture).save(folder / photos / f"{name}.png")
        size = scene.picture.shape[1::-1]
        text = voc_text(scene.objects, (size[0], size[1]), name=f"{name}.png")
        (folder / boxes / f"{name}.xml").write_text(text)
    return folder


def save_photos(folder: Path, scenes: Mapping[str, Scene]) -> list[str]:
    """The scenes as PNG; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        Image.fromarray(scene.picture).save(folder / f"{name}.png")
    return [f"{name}.png" for name in scenes]


def coco_content(
    scenes: Mapping[str, Scene], *, prefix: str = "", first_id: int = 7
) -> dict[str, Any]:
    """A COCO file's content; ids have gaps, and one category is never used."""
    categories = {"disc": 3, "square": 11, "never": 12}
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": id, "name": name} for name, id in categories.items()],
    }
    for number, (name, scene) in enumerate(scenes.items()):
        height, width = scene.picture.shape[:2]
        image = {"id": first_id + 2 * number, "file_name": f"{prefix}{name}.png"}
        content["images"].append({**image, "width": width, "height": height})
        for label, (x1, y1, x2, y2) in scene.objects:
            box = [x1, y1, x2 - x1, y2 - y1]
            row = {"id": len(content["annotations"]) + 1, "image_id": image["id"], "bbox": box}
            content["annotations"].append({**row, "category_id": categories[label], "iscrowd": 0})
    return content


def yolo_text(scene: Scene, names: Sequence[str] = ("disc", "square")) -> str:
    height, width = scene.picture.shape[:2]
    lines = []
    for label, (x1, y1, x2, y2) in scene.objects:
        centre = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        size = (x2 - x1) / width, (y2 - y1) / height
        numbers = " ".join(f"{value:.8f}" for value in (*centre, *size))
        lines.append(f"{names.index(label)} {numbers}")
    return "\n".join(lines)


def write_yolo(folder: Path, scenes: Mapping[str, Scene], photos: str, labels: str) -> Path:
    save_photos(folder / photos, scenes)
    (folder / labels).mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        (folder / labels / f"{name}.txt").write_text(yolo_text(scene))
    return folder


def table_rows(scenes: Mapping[str, Scene], folder: str = "photos") -> list[list[Any]]:
    """path, label, and the two corners of each object."""
    return [
        [f"{folder}/{name}.png", label, *box]
        for name, scene in scenes.items()
        for label, box in scene.objects
    ]
