"""Images of samples as data URIs: the network's input, small enough for a page."""

from __future__ import annotations

import base64
import io

import numpy as np

from skipstone.image.preview import to_display

MAX_SIDE = 192
#: Characters of all data URIs of one gallery together.
MAX_GALLERY_CHARACTERS = 2_000_000
#: Longest side of images that show several views side by side.
MAX_WIDE_SIDE = 3 * MAX_SIDE


def encode_data_uri(record: np.ndarray, side: int = MAX_SIDE) -> str | None:
    """A record (H, W, C) as a data URI, drawn by `to_display`; None if it is not an image.

    Args:
        side: the longest side of the result. An image less than half as large is enlarged without
            interpolation, which would invent detail.
    """
    from PIL import Image

    if record.ndim != 3 or 0 in record.shape or record.dtype.kind not in "uf":
        return None
    record = to_display(record)
    picture = Image.fromarray(record[:, :, 0] if record.shape[2] == 1 else record)
    longest = max(picture.size)
    if longest < side // 2:
        times = max(1, side // longest)
        picture = picture.resize(
            (picture.width * times, picture.height * times), Image.Resampling.NEAREST
        )
        return _uri(picture, "PNG")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _uri(picture, "JPEG")


def _uri(picture: object, kind: str) -> str:
    content = io.BytesIO()
    options = {"quality": 82} if kind == "JPEG" else {"optimize": True}
    picture.save(content, kind, **options)  # type: ignore[attr-defined]
    data = base64.b64encode(content.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{data}"


def encode_sound_uri(wav: bytes) -> str:
    """A WAV file as a data URI."""
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"
