"""Pictures with detail at every scale, each unlike the others, and what people do to copies."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from skipstone.image.inspect_file import inspect_image
from skipstone.image.thumbnail import Thumbnail


def scene(seed: int, size: tuple[int, int] = (260, 200)) -> Image.Image:
    """Noise of four octaves and a few ellipses."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells, strength in ((3, 60), (9, 35), (27, 25), (70, 15)):
        coarse = random.normal(0, 1, (cells, cells, 3)) * strength
        bands = [
            Image.fromarray(coarse[..., band].astype(np.float32)).resize(
                size, Image.Resampling.BICUBIC
            )
            for band in range(3)
        ]
        pixels += np.stack([np.asarray(band) for band in bands], -1)
    return Image.fromarray(np.clip(pixels * 0.8 + 125, 0, 255).astype(np.uint8))


def as_jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def copies(picture: Image.Image) -> dict[str, bytes]:
    """The same picture in other bytes, by what was done to it."""
    width, height = picture.size
    crop = (0.01 * width, 0.035 * height, 0.96 * width, 0.985 * height)
    inner = picture.crop(tuple(map(round, crop)))  # type: ignore[arg-type]
    return {
        "quality": as_jpeg(picture, 40),
        "resize": as_jpeg(picture.resize((120, 90), Image.Resampling.LANCZOS)),
        "crop": as_jpeg(inner),
        "dark": as_jpeg(ImageEnhance.Brightness(picture).enhance(0.7)),
        "light": as_jpeg(ImageEnhance.Brightness(picture).enhance(1.12)),
        "mirror": as_jpeg(ImageOps.mirror(picture)),
        "mirrored crop": as_jpeg(ImageOps.mirror(inner), 60),
    }


def thumbnail_of(data: bytes) -> Thumbnail:
    found = inspect_image(data)
    assert found.problem == ""
    assert found.content is not None
    return found.content
