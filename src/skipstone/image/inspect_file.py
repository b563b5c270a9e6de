"""Inspect an image file for the audit: what it is and whether it decodes. Free of torch.

It decodes by `image/decode.py`, so a file without a problem is one that training can read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.image.decode import (
    compute_boxes,
    decode_for_specs,
    decode_with_size,
    exif_orientation,
)
from skipstone.image.high_depth import PixelFormat, decode_high_depth_with_size, detect_pixel_format
from skipstone.image.jpeg_scan import find_jpeg_damage
from skipstone.image.picture_file import UnreadableImage, open_image
from skipstone.image.preview import to_display
from skipstone.image.thumbnail import SIDE, make_thumbnail
from skipstone.inputs.inspection import InspectionResult

# The whole file is decoded to a record of a thumbnail's size; a JPEG at down to an eighth of its
# size, so that 200 megapixels take tens of megabytes. "draft" keeps the scale that a record of 192
# pixels, the usual size for photos, needs: one decode then serves both.
_SPEC = {"size": SIDE, "resize": "squash", "channels": 3, "interpolation": "bilinear", "draft": 192}

#: A record (H, W, C) uint8, and the (height, width) of its source.
Decoded = tuple[np.ndarray, tuple[int, int]]


def inspect_image(data: bytes | np.ndarray) -> InspectionResult:
    """Decode the whole file. Never raises: `problem` says what is wrong."""
    return inspect_and_decode_image(data, None)[0]


def inspect_and_decode_image(
    data: bytes | np.ndarray, spec: dict[str, Any] | None
) -> tuple[InspectionResult, Decoded | None]:
    """`examine`, and the record by `spec` from the same decode; None without a record, or if it
    needs the decode of deeper images."""
    specs = [_SPEC] if spec is None else [_SPEC, spec]
    if isinstance(data, np.ndarray):
        height, width, channels = data.shape
        mode = {1: "L", 3: "RGB"}.get(channels, str(channels))
        try:
            (record, _), *more = decode_for_specs(data, specs)
        except ValueError:  # readable, but without a thumbnail: 16 channels, floats
            return InspectionResult("", (height, width), "array", mode), None
        small = make_thumbnail(record, (height, width))
        examined = InspectionResult("", (height, width), "array", mode, content=small)
        return examined, more[0] if more else None
    try:
        kind = detect_pixel_format(data)
        if not kind.is_photo:
            return _examine_deep(data, kind), None
        image = open_image(data)
        is_mpo = "mp" in image.info  # a phone's depth map or second view follows the photo
        form = "MPO" if is_mpo else str(image.format)
        mode = image.mode + ("+" if is_mpo or getattr(image, "n_frames", 1) > 1 else "")
        orientation = (
            exif_orientation(image) if image.format == "TIFF" else 1
        )  # decoding removes it
        (record, size), *more = decode_for_specs(data, specs, image)
        if image.format != "TIFF":  # a PNG's may follow its pixels, so that reading it decodes
            orientation = exif_orientation(image)
        is_rotated = orientation not in (0, 1)
    except UnreadableImage as error:
        return InspectionResult(f"{error.kind}: {error}"), None
    except Exception as error:  # Pillow's plugins raise anything for damaged frames or EXIF
        return InspectionResult(f"damaged: {error or type(error).__name__}"), None
    small = make_thumbnail(record, size)
    damage = find_jpeg_damage(data, size[0] * size[1], small.grey) if image.format == "JPEG" else ""
    examined = InspectionResult("", size, form, mode, is_rotated, small, damage=damage)
    return examined, more[0] if more else None


def make_preview(data: bytes | np.ndarray, side: int) -> np.ndarray | None:
    """An image to display, uint8 (H, W, 3) of longer side `side`; None if unreadable."""
    spec = {"size": side, "resize": "letterbox", "channels": 3, "interpolation": "lanczos"}
    try:
        record, size = _record(data, detect_pixel_format(data), spec)
    except Exception:  # `examine` reports the reason
        return None
    x0, y0, x1, y1 = compute_boxes(*size, spec)[1]
    return record[y0:y1, x0:x1]


def _examine_deep(data: bytes, kind: PixelFormat) -> InspectionResult:
    """Decode the whole file; of pages that may be channels or not, the first one."""
    record, size = _record(data, kind, _SPEC)
    form = next(name for head, name in _FORMATS.items() if data.startswith(head))
    pages = f" in {kind.pages} pages" if kind.pages > 1 else ""
    description = f"{kind}{pages}"
    return InspectionResult(
        "", size, form, description, content=make_thumbnail(record, size), pixel_format=description
    )


def _record(
    data: bytes | np.ndarray, kind: PixelFormat, spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 (H, W, 3) of any image, deeper ones as displayed; and the source's size."""
    if kind.is_photo:
        return decode_with_size(data, spec)
    deep_spec = {
        **spec,
        "channels": kind.channels,
        "dtype": kind.dtype,
        "pages": "first",
        "any_depth": False,
        "limits": None,
    }
    record, size = decode_high_depth_with_size(data, deep_spec)
    display = to_display(record)
    return (np.repeat(display, 3, axis=2) if display.shape[2] == 1 else display), size


_FORMATS = {b"II": "TIFF", b"MM": "TIFF", b"\x93NUMPY": "NPY", b"\x89PNG": "PNG"}
