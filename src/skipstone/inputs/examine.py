"""Inspect an image file for the audit: what it is and whether it decodes. Free of torch.

It decodes by `inputs/pixels.py`, so a file without a problem is one that training can read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.inputs.deep import PixelKind, decode_deep_with_size, kind_of
from skipstone.inputs.examined import Examined
from skipstone.inputs.jpeg_scan import jpeg_damage
from skipstone.inputs.picture_file import Unreadable, open_picture
from skipstone.inputs.pixels import decode_each, decode_with_size, orientation_of, place
from skipstone.inputs.shown import shown
from skipstone.inputs.thumbnail import SIDE, thumbnail

# The whole file is decoded to a record of a thumbnail's size; a JPEG at down to an eighth of its
# size, so that 200 megapixels take tens of megabytes. "draft" keeps the scale that a record of 192
# pixels, the usual size for photos, needs: one decode then serves both.
_SPEC = {"size": SIDE, "resize": "squash", "channels": 3, "interpolation": "bilinear", "draft": 192}

#: A record (H, W, C) uint8, and the (height, width) of its source.
Decoded = tuple[np.ndarray, tuple[int, int]]


def examine(data: bytes | np.ndarray) -> Examined:
    """Decode the whole file. Never raises: `problem` says what is wrong."""
    return examine_and_decode(data, None)[0]


def examine_and_decode(
    data: bytes | np.ndarray, spec: dict[str, Any] | None
) -> tuple[Examined, Decoded | None]:
    """`examine`, and the record by `spec` from the same decode; None without a record, or if it
    needs the decode of deeper images."""
    specs = [_SPEC] if spec is None else [_SPEC, spec]
    if isinstance(data, np.ndarray):
        height, width, channels = data.shape
        mode = {1: "L", 3: "RGB"}.get(channels, str(channels))
        try:
            (record, _), *more = decode_each(data, specs)
        except ValueError:  # readable, but without a thumbnail: 16 channels, floats
            return Examined("", (height, width), "array", mode), None
        small = thumbnail(record, (height, width))
        examined = Examined("", (height, width), "array", mode, shows=small)
        return examined, more[0] if more else None
    try:
        kind = kind_of(data)
        if not kind.photo:
            return _examine_deep(data, kind), None
        image = open_picture(data)
        is_mpo = "mp" in image.info  # a phone's depth map or second view follows the photo
        form = "MPO" if is_mpo else str(image.format)
        mode = image.mode + ("+" if is_mpo or getattr(image, "n_frames", 1) > 1 else "")
        orientation = orientation_of(image) if image.format == "TIFF" else 1  # decoding removes it
        (record, size), *more = decode_each(data, specs, image)
        if image.format != "TIFF":  # a PNG's may follow its pixels, so that reading it decodes
            orientation = orientation_of(image)
        is_rotated = orientation not in (0, 1)
    except Unreadable as error:
        return Examined(f"{error.kind}: {error}"), None
    except Exception as error:  # Pillow's plugins raise anything for damaged frames or EXIF
        return Examined(f"damaged: {error or type(error).__name__}"), None
    small = thumbnail(record, size)
    damage = jpeg_damage(data, size[0] * size[1], small.grey) if image.format == "JPEG" else ""
    examined = Examined("", size, form, mode, is_rotated, small, damage=damage)
    return examined, more[0] if more else None


def preview(data: bytes | np.ndarray, side: int) -> np.ndarray | None:
    """An image to display, uint8 (H, W, 3) of longer side `side`; None if unreadable."""
    spec = {"size": side, "resize": "letterbox", "channels": 3, "interpolation": "lanczos"}
    try:
        record, size = _record(data, kind_of(data), spec)
    except Exception:  # `examine` reports the reason
        return None
    x0, y0, x1, y1 = place(*size, spec)[1]
    return record[y0:y1, x0:x1]


def _examine_deep(data: bytes, kind: PixelKind) -> Examined:
    """Decode the whole file; of pages that may be channels or not, the first one."""
    record, size = _record(data, kind, _SPEC)
    form = next(name for head, name in _FORMATS.items() if data.startswith(head))
    pages = f" in {kind.pages} pages" if kind.pages > 1 else ""
    description = f"{kind}{pages}"
    return Examined("", size, form, description, shows=thumbnail(record, size), kind=description)


def _record(
    data: bytes | np.ndarray, kind: PixelKind, spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 (H, W, 3) of any image, deeper ones as displayed; and the source's size."""
    if kind.photo:
        return decode_with_size(data, spec)
    deep_spec = {
        **spec,
        "channels": kind.channels,
        "dtype": kind.dtype,
        "pages": "first",
        "any_depth": False,
        "limits": None,
    }
    record, size = decode_deep_with_size(data, deep_spec)
    display = shown(record)
    return (np.repeat(display, 3, axis=2) if display.shape[2] == 1 else display), size


_FORMATS = {b"II": "TIFF", b"MM": "TIFF", b"\x93NUMPY": "NPY", b"\x89PNG": "PNG"}
