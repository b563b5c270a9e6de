"""Pixels of record: the one decode and the one resize of photos, used everywhere.

Needs numpy and Pillow only. The stand-alone script that ``export`` writes embeds the text of this
file, so it imports nothing else.

    file bytes -> decode (first frame, EXIF upright) -> 8-bit grey or RGB -> one resize -> (H, W, C)

`spec` is a dict with "size" (side of the square), "resize" (squash, crop, letterbox, keep),
"channels" (1 or 3) and "interpolation" (bilinear, bicubic, lanczos, nearest, box). With "crop" the
square has "crop_share" of the shorter side. With "keep" the record has the image's own shape,
reduced to a longest side of "size", and is padded to a multiple of "pad" on the right and below.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

import numpy as np
from PIL import Image

from skipstone.image.picture_file import UnreadableImage, convert_parser_errors, open_image

LARGE_PIXELS = 50_000_000  # threads decode images from this size one at a time
LETTERBOX_GREY = 128

Box = tuple[float, float, float, float]  # left, top, right, bottom

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
}

# EXIF orientation -> (swap axes, then mirror x, then mirror y) that makes the image upright.
_ORIENTATIONS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
_ORIENTATION_TAG = 0x0112


def decode_pixels(data: bytes | np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """An image file's bytes, or an array, as the record: uint8 (H, W, channels).

    Raises:
        Unreadable: (a ValueError) not a readable image; the message says why.
    """
    return decode_with_size(data, spec)[0]


def decode_with_size(
    data: bytes | np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """`decode_pixels`, and the (height, width) of the upright source."""
    return decode_for_specs(data, [spec])[0]


def decode_for_specs(
    data: bytes | np.ndarray, specs: list[dict[str, Any]], opened: Any = None
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """`decode_with_size` for several specs, with identical pixels.

    Decodes a file once; a JPEG once for each scale that the specs need.

    Args:
        opened: the file's `open_image`, if the caller has it.
    """
    if isinstance(data, np.ndarray):
        return [_of_array(data, spec) for spec in specs]
    with convert_parser_errors():
        image = open_image(data) if opened is None else opened
        with _LargeImages.lock if _is_large(image) else contextlib.nullcontext():
            return _decode_file(image, data, specs)


def _of_array(data: np.ndarray, spec: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    array = _checked(data)
    height, width, channels = array.shape
    if (height, width, channels) == (*record_shape(height, width, spec), spec["channels"]):
        return array.copy(), (height, width)  # the argument may be a read-only view
    image: Image.Image = Image.fromarray(array[..., 0] if channels == 1 else array)
    box = (0.0, 0.0, float(width), float(height))
    return _record(image, box, (height, width), spec), (height, width)


def compute_boxes(
    height: float, width: float, spec: dict[str, Any]
) -> tuple[Box, tuple[int, int, int, int]]:
    """(box of the source, box of the record that it fills)"""
    size = spec["size"]
    if spec["resize"] == "keep":
        scale = min(1.0, size / max(height, width))
        new_size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return (0.0, 0.0, width, height), (0, 0, *new_size)
    if spec["resize"] == "crop":
        side = min(height, width) * spec.get("crop_share", 1.0)
        crop_x, crop_y = (width - side) / 2, (height - side) / 2
        return (crop_x, crop_y, crop_x + side, crop_y + side), (0, 0, size, size)
    if spec["resize"] == "letterbox":
        scale = size / max(height, width)
        new_height = min(size, max(1, round(height * scale)))
        new_width = min(size, max(1, round(width * scale)))
        x, y = (size - new_width) // 2, (size - new_height) // 2
        return (0.0, 0.0, width, height), (x, y, x + new_width, y + new_height)
    return (0.0, 0.0, width, height), (0, 0, size, size)


def record_shape(height: float, width: float, spec: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of the record of a source of this size."""
    if spec["resize"] != "keep":
        return spec["size"], spec["size"]
    _, (_, _, right, bottom) = compute_boxes(height, width, spec)
    pad = spec["pad"]
    return -(-bottom // pad) * pad, -(-right // pad) * pad


def _checked(array: np.ndarray) -> np.ndarray:
    """An array as uint8 (H, W, C)."""
    if array.dtype == np.uint16:
        array = _to_8_bits(array)
    if array.dtype != np.uint8:
        raise ValueError(f"an array of {array.dtype} is not a picture; allowed: uint8, uint16")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"an array of shape {array.shape} is not a picture; "
            "allowed: (height, width) or (height, width, 1, 3 or 4)"
        )
    return array


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, rounded: 65535 = 255 * 257."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


class _LargeImages:
    """Threads decode images that take much memory one at a time."""

    lock = threading.Lock()

    @classmethod
    def _reset_lock(cls) -> None:
        """In a process that was forked while another thread held the lock it would never open."""
        cls.lock = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_LargeImages._reset_lock)


def _is_large(image: Any) -> bool:
    """Whether decoding takes a quarter of a gigabyte or more; baseline JPEGs take little."""
    is_scaled = image.format == "JPEG" and "progressive" not in image.info
    return not is_scaled and image.width * image.height >= LARGE_PIXELS


def exif_orientation(image: Any) -> int:
    """EXIF's orientation, 1 (upright) to 8.

    Call it after `load`: a PNG's EXIF may follow its pixels, and `load` makes a TIFF upright.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1  # the EXIF block is damaged, not the pixels


def _decode_file(
    image: Any, data: bytes, specs: list[dict[str, Any]]
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    if image.format != "JPEG":
        image.load()
        width, height = image.size
        box = (0.0, 0.0, float(width), float(height))
        return [_finished(image, box, (height, width), spec) for spec in specs]
    width, height = image.size
    loaded: dict[tuple[int, int], Any] = {}  # {decoded size: image}
    records = []
    for spec in specs:
        image = open_image(data) if loaded else image
        box = _draft(image, spec) or (0.0, 0.0, float(width), float(height))
        image = loaded.setdefault(image.size, image)
        image.load()
        records.append(_finished(image, box, (height, width), spec))
    return records


def _finished(
    image: Any, box: Box, size: tuple[int, int], spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """The record of a loaded image.

    Args:
        box: where in `image` the source lies.
        size: (height, width) of the source.
    """
    orientation = exif_orientation(image)
    colour = _eight_bit(image, spec["channels"])
    if orientation in _ORIENTATIONS:
        size = size[::-1] if _ORIENTATIONS[orientation][0] else size
        colour, box = _upright(colour, box, orientation)
    return _record(colour, box, size, spec), size


def _draft(image: Any, spec: dict[str, Any]) -> Box | None:
    """Let the JPEG decoder scale by 1/2, 1/4 or 1/8, but not below twice the record's size, or
    twice the spec's "draft" size if it has one.

    Memory and time then depend on the record, not on the file. Returns the source's box in the
    scaled image, whose last row and column may be part of a pixel; None without scaling.
    """
    width, height = image.size
    source, target = compute_boxes(height, width, {**spec, "size": spec.get("draft", spec["size"])})
    wanted = (
        -int(-width * 2 * (target[2] - target[0]) // (source[2] - source[0])),
        -int(-height * 2 * (target[3] - target[1]) // (source[3] - source[1])),
    )
    drafted = image.draft(None, wanted)
    return None if drafted is None else tuple(map(float, drafted[1]))  # type: ignore[return-value]


def _eight_bit(image: Image.Image, channels: int) -> Image.Image:
    """Convert any mode to "L" or "RGB"; transparent pixels become white."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bits(np.asarray(image).astype(np.uint16)))
    elif image.mode in ("I", "F"):
        raise UnreadableImage(
            "not read",
            "32-bit pixels have no defined black and white; convert it to 8 or 16 bits per channel",
        )
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, opaque).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _upright(image: Image.Image, box: Box, orientation: int) -> tuple[Image.Image, Box]:
    swap, mirror_x, mirror_y = _ORIENTATIONS[orientation]
    x0, y0, x1, y1 = box
    if swap:
        image = image.transpose(Image.Transpose.TRANSPOSE)
        x0, y0, x1, y1 = y0, x0, y1, x1
    if mirror_x:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x0, x1 = image.width - x1, image.width - x0
    if mirror_y:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        y0, y1 = image.height - y1, image.height - y0
    return image, (x0, y0, x1, y1)


def _record(
    image: Image.Image, box: Box, size: tuple[int, int], spec: dict[str, Any]
) -> np.ndarray:
    """The one resize.

    Args:
        box: where in `image` the source lies.
        size: (height, width) of the source.
    """
    image = _eight_bit(image, spec["channels"])
    source, target = compute_boxes(*size, spec)
    scale_x, scale_y = (box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0]
    inner = (
        max(box[0] + source[0] * scale_x, 0.0),
        max(box[1] + source[1] * scale_y, 0.0),
        min(box[0] + source[2] * scale_x, float(image.width)),
        min(box[1] + source[3] * scale_y, float(image.height)),
    )
    small = image.resize(
        (target[2] - target[0], target[3] - target[1]), _FILTERS[spec["interpolation"]], box=inner
    )
    pixels = np.asarray(small).reshape(small.height, small.width, spec["channels"])
    shape = record_shape(*size, spec)
    if pixels.shape[:2] == shape:
        return pixels.copy()  # a writable array
    record = np.full((*shape, spec["channels"]), LETTERBOX_GREY, np.uint8)
    record[target[1] : target[3], target[0] : target[2]] = pixels
    return record
