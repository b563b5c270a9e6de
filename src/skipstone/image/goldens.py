"""Golden images: generated files that reveal any change of decoding and resizing.

They have asymmetric colour (BGR for RGB), content asymmetric under every rotation (EXIF), fine
detail at sizes above and below the record's (the resize filter), and the modes of real folders
(grey, palette, transparency, CMYK).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw


def make_golden_images(count: int, size: int) -> list[tuple[str, bytes]]:
    """`count` files (name, bytes) for a record of `size` pixels; the same on every call."""
    files = []
    for number in range(count):
        name, write = _KINDS[number % len(_KINDS)]
        rng = np.random.default_rng([number, size])
        stem, _, suffix = name.partition(".")
        files.append((f"golden-{number:03d}-{stem}.{suffix}", write(rng, size)))
    return files


def make_own_shape_golden_images(count: int, pad: int, most: int) -> list[tuple[str, bytes]]:
    """Files for records of the images' own shapes, padded to multiples of `pad`.

    Sides differ, but all records are padded to 2 x 3 times `pad`, or less if sides above `most` are
    reduced. They are small, because a prediction for every pixel is stored.
    """
    wide = min(3, max(1, most // pad))
    files = []
    for number in range(count):
        rng = np.random.default_rng([number, pad])
        width, height = (
            int(rng.integers(max((times - 1) * pad, pad // 2) + 1, times * pad + 1))
            for times in (wide, max(1, wide - 1))
        )
        name, write = _OWN_SHAPE_KINDS[number % len(_OWN_SHAPE_KINDS)]
        files.append((f"golden-{number:03d}-{name}", write(_scene(rng, width, height))))
    return files


def _scene(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Gradients, stripes of one to four pixels, discs and noise; warm on the left, cool below."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.empty((height, width, 3))
    pixels[..., 0] = 230 - 150 * x / width + 20 * y / height
    pixels[..., 1] = 40 + 120 * y / height * rng.uniform(0.5, 1)
    pixels[..., 2] = 30 + 170 * (y / height) ** 2
    period = rng.integers(2, 5)
    stripes = ((x + 2 * y) // period % 2)[: height // 2, : width // 3]
    pixels[: height // 2, : width // 3] += 60 * stripes[..., None] * rng.uniform(0.5, 1, 3)
    pixels += rng.normal(0, 12, (height, width, 1))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        cx, cy = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        radius = rng.uniform(0.08, 0.25) * min(width, height)
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour)
    return image


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _sides(rng: np.random.Generator, size: int, low: float, high: float) -> tuple[int, int]:
    """Odd, unequal sides between `low` and `high` times the record's."""
    width, height = (max(3, int(size * factor)) | 1 for factor in rng.uniform(low, high, 2))
    return width + 2 * (width == height), height


def _jpeg_turned(rng: np.random.Generator, size: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(rng.choice([6, 8, 3, 5]))
    return _saved(_scene(rng, *_sides(rng, size, 1.2, 1.9)), "JPEG", quality=92, exif=exif)


def _jpeg_large(rng: np.random.Generator, size: int) -> bytes:
    """More than four times the record's size, so that the JPEG decoder scales."""
    return _saved(_scene(rng, *_sides(rng, size, 4.1, 4.6)), "JPEG", quality=80)


def _png_fine(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_scene(rng, *_sides(rng, size, 1.1, 1.6)), "PNG")


def _png_small(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_scene(rng, *_sides(rng, size, 0.4, 0.8)), "PNG")


def _webp(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_scene(rng, *_sides(rng, size, 1.2, 1.7)), "WEBP", lossless=True)


def _grey(rng: np.random.Generator, size: int) -> bytes:
    return _saved(_scene(rng, *_sides(rng, size, 0.7, 1.5)).convert("L"), "PNG")


def _palette(rng: np.random.Generator, size: int) -> bytes:
    scene = _scene(rng, *_sides(rng, size, 1.0, 1.5))
    return _saved(scene.quantize(64, method=Image.Quantize.MEDIANCUT), "PNG")


def _transparent(rng: np.random.Generator, size: int) -> bytes:
    scene = _scene(rng, *_sides(rng, size, 1.0, 1.5)).convert("RGBA")
    alpha = np.linspace(0, 255, scene.width).astype(np.uint8)
    scene.putalpha(Image.fromarray(np.tile(alpha, (scene.height, 1))))
    return _saved(scene, "PNG")


def _cmyk(rng: np.random.Generator, size: int) -> bytes:
    scene = _scene(rng, *_sides(rng, size, 1.0, 1.5))
    return _saved(scene.convert("CMYK"), "JPEG", quality=90)


_KINDS: tuple[tuple[str, Callable[[np.random.Generator, int], bytes]], ...] = (
    ("turned.jpg", _jpeg_turned),
    ("fine.png", _png_fine),
    ("lossless.webp", _webp),
    ("small.png", _png_small),
    ("large.jpg", _jpeg_large),
    ("grey.png", _grey),
    ("palette.png", _palette),
    ("transparent.png", _transparent),
    ("cmyk.jpg", _cmyk),
)


def _turned(scene: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored image is rotated by 90 degrees
    return _saved(scene.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif)


_OWN_SHAPE_KINDS: tuple[tuple[str, Callable[[Image.Image], bytes]], ...] = (
    ("turned.jpg", _turned),
    ("plain.png", lambda scene: _saved(scene, "PNG")),
    ("lossless.webp", lambda scene: _saved(scene, "WEBP", lossless=True)),
    ("grey.png", lambda scene: _saved(scene.convert("L"), "PNG")),
    ("palette.png", lambda scene: _saved(scene.quantize(64), "PNG")),
    ("cmyk.jpg", lambda scene: _saved(scene.convert("CMYK"), "JPEG", quality=90)),
)
