"""What a picture file is and whether all of it can be decoded, for the audit. Free of torch."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Examined:
    """One source as found.

    Args:
        problem: what is wrong, in a few words ("truncated: ..."); "" where nothing is.
        size: (height, width) as a person sees it; () where unknown.
        format: "JPEG", "PNG", ...; "array" for a member of a container.
        mode: Pillow's name: "RGB", "L", "RGBA", "P", "CMYK", "I;16"; with "+" for several frames.
        turned: whether an EXIF orientation other than upright is set.
    """

    problem: str = ""
    size: tuple[int, ...] = ()
    format: str = ""
    mode: str = ""
    turned: bool = False


def examine(data: bytes | np.ndarray) -> Examined:
    """Decode all of it. Never raises: what goes wrong is in `problem`."""
    if isinstance(data, np.ndarray):
        height, width, channels = data.shape
        return Examined(
            "", (height, width), "array", {1: "L", 3: "RGB"}.get(channels, str(channels))
        )
    if not data:
        return Examined("empty: the file has no bytes")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            form, mode = str(picture.format), picture.mode
            width, height = picture.size
            turn = picture.getexif().get(_ORIENTATION, 1)
            frames = getattr(picture, "n_frames", 1)
            picture.load()
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error
        return Examined(_problem(error))
    size = (width, height) if turn in (5, 6, 7, 8) else (height, width)
    return Examined("", size, form, mode + ("+" if frames > 1 else ""), turn not in (0, 1))


def _problem(error: Exception) -> str:
    text = str(error).replace("\n", " ")
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, by its bytes"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {text}"
    if "truncated" in text or "Truncated" in text or "broken data stream" in text:
        return f"truncated: {text}"
    return f"damaged: {text or type(error).__name__}"
