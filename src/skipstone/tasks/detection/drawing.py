"""Draw boxes on photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from skipstone.data.samples import SampleMeta

#: Longest side of a drawn photo.
MAX_SIDE = 640


def resize_like_source(picture: np.ndarray, meta: SampleMeta) -> tuple[np.ndarray, np.ndarray]:
    """The record's picture with the shape of its source, and what source coordinates are multiplied
    by, (4,). A picture without geometry stays as it is."""
    if meta.to_source is None or not meta.size:
        return picture, np.ones(4)
    a, _, c, _, e, f = meta.to_source
    height, width = meta.size
    box = (-c / a, -f / e, (width - c) / a, (height - f) / e)
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    box = (*np.maximum(box[:2], 0), *np.minimum(box[2:], image.size))
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box).convert("RGB"))
    factors = size[0] / width, size[1] / height
    return resized, np.array([*factors, *factors])


def draw_boxes(
    picture: np.ndarray,
    boxes: np.ndarray,
    codes: np.ndarray,
    colours: Sequence[Sequence[int]],
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """uint8 (H, W, 3): the picture (H, W, 1 or 3) with boxes (n, 4) in the colour of their class,
    the score in per cent above its corner."""
    base = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    image = Image.fromarray(np.ascontiguousarray(base))
    draw = ImageDraw.Draw(image)
    line = max(1, round(max(image.size) / 250))
    for row in range(len(boxes))[::-1]:  # the highest scores on top
        x1, y1, x2, y2 = boxes[row].tolist()
        colour = tuple(int(part) for part in colours[int(codes[row])])
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=line)
        if scores is not None:
            text = f"{100 * scores[row]:.0f}"
            height = draw.textbbox((0, 0), text)[3] + 1
            corner = (x1, y1 - height if y1 >= height else y1 + line)  # above the box, if it fits
            draw.rectangle(draw.textbbox(corner, text), fill=colour)
            draw.text(corner, text, fill=_contrast(colour))
    return np.asarray(image)


def _contrast(colour: Sequence[int]) -> str:
    """Black on light colours, white on dark ones."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return "black" if luma > 140 else "white"
