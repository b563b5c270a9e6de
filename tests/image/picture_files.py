"""Pictures that are symmetric in no way, as files, and what Pillow makes of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def spec(size: int = 16, **changes: Any) -> dict[str, Any]:
    return {
        "size": size,
        "resize": "squash",
        "channels": 3,
        "interpolation": "bilinear",
        **changes,
    }


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth and not symmetric in any way, with some noise."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([200 * x / width, 220 * y / height, 150 - 120 * x * y / (width * height)], -1)
    noise = np.random.default_rng(seed).normal(0, 8, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)[..., :channels]


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def expected(image: Image.Image, size: int = 16, mode: str = "RGB") -> np.ndarray:
    small = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(size, size, -1)
