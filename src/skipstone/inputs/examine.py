"""What a picture file is and whether it can be decoded, for the audit. Free of torch.

The rules are those of `inputs/pixels.py`: what is called sound here is what training can read.
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

# All of a file is decoded, for a record of a thumbnail's size; a JPEG at an eighth of its own where
# that is enough, so that a picture of 200 megapixels takes tens of megabytes. It is never less than
# a record of 192 pixels wants, the usual one of photos: then one decode serves both.
_SPEC = {"size": SIDE, "resize": "squash", "channels": 3, "interpolation": "bilinear", "draft": 192}

#: A record (H, W, C) uint8, and the (height, width) of its source.
Decoded = tuple[np.ndarray, tuple[int, int]]


def examine(data: bytes | np.ndarray) -> Examined:
    """Decode all of it. Never raises: what goes wrong is in `problem`."""
    return examine_and_decode(data, None)[0]


def examine_and_decode(
    data: bytes | np.ndarray, spec: dict[str, Any] | None
) -> tuple[Examined, Decoded | None]:
    """`examine`, and the record by `spec` from the same decode; None where there is none, or where
    it takes more than the decode of photos."""
    specs = [_SPEC] if spec is None else [_SPEC, spec]
    if isinstance(data, np.ndarray):
        height, width, channels = data.shape
        mode = {1: "L", 3: "RGB"}.get(channels, str(channels))
        try:
            (record, _), *more = decode_each(data, specs)
        except ValueError:  # readable, but not to be shown: 16 channels, floats
            return Examined("", (height, width), "array", mode), None
        small = thumbnail(record, (height, width))
        found = Examined("", (height, width), "array", mode, shows=small)
        return found, more[0] if more else None
    try:
        kind = kind_of(data)
        if not kind.photo:
            return _examine_deep(data, kind), None
        image = open_picture(data)
        several = "mp" in image.info  # MPO: a phone's depth map or second view behind the photo
        form = "MPO" if several else str(image.format)
        mode = image.mode + ("+" if several or getattr(image, "n_frames", 1) > 1 else "")
        orientation = orientation_of(image) if image.format == "TIFF" else 1  # gone once decoded
        (record, size), *more = decode_each(data, specs, image)
        if image.format != "TIFF":  # a PNG's may lie behind its pixels: asked before, it decodes
            orientation = orientation_of(image)
        turned = orientation not in (0, 1)
    except Unreadable as error:
        return Examined(f"{error.kind}: {error}"), None
    except Exception as error:  # a plugin asked for frames or EXIF raises what it likes
        return Examined(f"damaged: {error or type(error).__name__}"), None
    small = thumbnail(record, size)
    damage = jpeg_damage(data, size[0] * size[1], small.grey) if image.format == "JPEG" else ""
    found = Examined("", size, form, mode, turned, small, damage=damage)
    return found, more[0] if more else None


def preview(data: bytes | np.ndarray, side: int) -> np.ndarray | None:
    """uint8 (H, W, 3), its longer side `side`, for a person to look at; None where unreadable."""
    spec = {"size": side, "resize": "letterbox", "channels": 3, "interpolation": "lanczos"}
    try:
        record, size = _record(data, kind_of(data), spec)
    except Exception:  # what is wrong with it `examine` has said
        return None
    left, top, right, bottom = place(*size, spec)[1]
    return record[top:bottom, left:right]


def _examine_deep(data: bytes, kind: PixelKind) -> Examined:
    """All of it is decoded; pages of which nothing says what they are count as the first's."""
    record, size = _record(data, kind, _SPEC)
    form = next(name for head, name in _FORMATS.items() if data.startswith(head))
    several = f" in {kind.pages} pages" if kind.pages > 1 else ""
    words = f"{kind}{several}"
    return Examined("", size, form, words, shows=thumbnail(record, size), kind=words)


def _record(
    data: bytes | np.ndarray, kind: PixelKind, spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 (H, W, 3) of any picture, deep ones as they are shown; and the source's size."""
    if kind.photo:
        return decode_with_size(data, spec)
    own = {"channels": kind.channels, "dtype": kind.dtype, "pages": "first"}
    record, size = decode_deep_with_size(data, {**spec, **own, "any_depth": False, "limits": None})
    seen = shown(record)
    return (np.repeat(seen, 3, axis=2) if seen.shape[2] == 1 else seen), size


_FORMATS = {b"II": "TIFF", b"MM": "TIFF", b"\x93NUMPY": "NPY", b"\x89PNG": "PNG"}
