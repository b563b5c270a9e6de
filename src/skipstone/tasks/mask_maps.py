"""Masks between a source and the record that the network sees, and masks as pictures for people.

A record shows its source moved, scaled, cut or filled up: `Meta.to_source` says how. All of it is
along the axes, so a mask is laid on a record by picking rows and columns.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from skipstone.data.masks import IGNORE
from skipstone.data.samples import Meta
from skipstone.errors import DataError

#: How much of an overlay is the class's colour.
TINT = 0.55


def on_record(mask: np.ndarray, meta: Meta | None) -> np.ndarray:
    """A source's codes (h, w) as the record's (H, W): nearest; IGNORE where the source is not.

    Raises:
        DataError: the mask has not the size of its source.
    """
    if meta is None or meta.to_source is None or not meta.size:
        return mask
    if mask.shape != tuple(meta.size):
        raise DataError(sizes_differ(mask, meta))
    a, _, c, _, e, f = meta.to_source
    rows = np.floor(e * (np.arange(meta.shape[0]) + 0.5) + f).astype(np.int64)
    columns = np.floor(a * (np.arange(meta.shape[1]) + 0.5) + c).astype(np.int64)
    inside_y = (rows >= 0) & (rows < mask.shape[0])
    inside_x = (columns >= 0) & (columns < mask.shape[1])
    laid = mask[np.ix_(rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1))]
    laid[~inside_y] = IGNORE
    laid[:, ~inside_x] = IGNORE
    return laid


def sizes_differ(mask: np.ndarray, meta: Meta) -> str:
    """The sentence for a mask that has not the size of its picture."""
    turned = ""
    if mask.shape == tuple(meta.size)[::-1]:
        turned = " (the picture is turned upright as its EXIF says; save it upright)"
    return (
        f"{meta.name}: the picture has {meta.size[1]} x {meta.size[0]} pixels and its mask "
        f"{mask.shape[1]} x {mask.shape[0]}{turned}."
    )


# --- for people ---------------------------------------------------------------------------------


def overlay(picture: np.ndarray, codes: np.ndarray, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """uint8 (H, W, 3): a picture (H, W, 1 or 3) tinted by class; IGNORE stays as it is."""
    base = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    table = np.zeros((256, 3), np.float32)
    table[: len(colours)] = np.asarray(colours, np.float32)
    share = np.where(codes == IGNORE, 0.0, TINT).astype(np.float32)[..., None]
    mixed = base * (1 - share) + table[codes] * share
    return np.asarray(mixed.round().astype(np.uint8))


def beside(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures (H, W, 3) of one height in a row, white between them."""
    height = pictures[0].shape[0]
    white = np.full((height, gap, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for picture in pictures:
        parts += [picture, white]
    return np.concatenate(parts[:-1], axis=1)


def jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()
