"""Golden files of images beyond photos, as `inputs.golden` generates photos.

They cover every pixel layout of a TIFF, sizes above and below the record's, an EXIF orientation,
and values over the range of the training rows, down to the last bit.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from skipstone.image.channel_stats import ChannelStats
from skipstone.image.high_depth import PixelFormat


def make_high_depth_golden_images(
    count: int,
    size: int,
    kind: PixelFormat,
    levels: tuple[ChannelStats, Sequence[float]],
    pages: str,
    *,
    own_shapes: bool = False,
) -> list[tuple[str, bytes]]:
    """`count` files (name, bytes) for a record of `size` pixels; the same on every call.

    Args:
        levels: channel statistics of the training rows, and a typical difference of neighbouring
            pixels per channel.
        own_shapes: records have the images' own shapes; all are padded to 2 x 3 times `size`.
    """
    files = []
    for number in range(count):
        rng = np.random.default_rng([number, size, kind.channels])
        layout = _LAYOUTS[number % len(_LAYOUTS)]
        height, width = (max(3, int(size * factor)) | 1 for factor in rng.uniform(0.6, 1.9, 2))
        if own_shapes:
            height, width = (int(rng.integers(n * size + 1, (n + 1) * size + 1)) for n in (1, 2))
            if layout == "turned":
                height, width = width, height
        pixels = _scene(rng, (height, width), kind, levels)
        if layout == "array":
            files.append((f"golden-{number:03d}-array.npy", _npy(pixels)))
        else:
            files.append((f"golden-{number:03d}-{layout}.tif", _tiff(pixels, layout, pages)))
    return files


_LAYOUTS = ("contiguous", "planar", "packed", "tiled", "big", "turned", "array")


def _scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    kind: PixelFormat,
    levels: tuple[ChannelStats, Sequence[float]],
) -> np.ndarray:
    """A gradient from low to high with stripes, discs and noise, different in each channel."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = []
    overall, fine = levels
    for low, high, step in zip(overall.low, overall.high, fine, strict=True):
        turn = rng.uniform(0, 2 * np.pi)
        plane = low + (high - low) * (0.5 + 0.3 * (x * np.cos(turn) + y * np.sin(turn)))
        plane += step * np.sin(2 * np.pi * rng.uniform(2, 20) * (x + 0.3 * y))
        for _ in range(3):
            cx, cy, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.2)
            plane[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] += step * rng.uniform(-3, 3)
        plane += step * rng.normal(0, 0.3, plane.shape)
        channels.append(plane)
    pixels = np.stack(channels, axis=-1)
    dtype = np.dtype(kind.dtype)
    if dtype.kind == "u":
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(dtype).max)
    scene: np.ndarray = pixels.astype(dtype)
    return scene


def _npy(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, pixels, allow_pickle=False)
    return stream.getvalue()


def _tiff(pixels: np.ndarray, layout: str, pages: str) -> bytes:
    """An image (H, W, C) as a TIFF in one of the layouts that cameras and programs write."""
    import tifffile

    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    if pages == "channels" and pixels.shape[2] > 1:
        array = np.moveaxis(pixels, -1, 0)  # a page each
    elif pixels.shape[2] == 1:
        array = pixels[..., 0]
    elif layout == "planar":
        array, options["planarconfig"] = np.moveaxis(pixels, -1, 0), "separate"
    else:
        array, options["planarconfig"] = pixels, "contig"
    if layout in ("packed", "tiled"):
        options |= {"compression": "zlib", "predictor": True}
    if layout == "tiled":
        options["tile"] = (16, 16)
    if layout == "turned":
        options["extratags"] = [(274, "H", 1, 6, True)]
    stream = io.BytesIO()
    with tifffile.TiffWriter(
        stream, bigtiff=layout == "big", byteorder=">" if layout == "planar" else "<"
    ) as file:
        file.write(np.ascontiguousarray(array), **options)
    return stream.getvalue()
