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


def seen_part(meta: Meta) -> tuple[slice, slice]:
    """Rows and columns of the record that show the source."""
    if meta.to_source is None or not meta.size or not meta.shape:
        return slice(None), slice(None)
    a, _, c, _, e, f = meta.to_source
    top, bottom = round(-f / e), round((meta.size[0] - f) / e)
    left, right = round(-c / a), round((meta.size[1] - c) / a)
    return (
        slice(max(top, 0), min(max(bottom, top + 1), meta.shape[0])),
        slice(max(left, 0), min(max(right, left + 1), meta.shape[1])),
    )


def on_source(logits: np.ndarray, meta: Meta, labels: np.ndarray | None = None) -> np.ndarray:
    """The likeliest class of each pixel of the source, uint8 (h, w), from logits (K, H, W); their
    argmax, uint8 (H, W), may be handed over where it is known.

    Where the record is as large as the source its padding is cut off; else logits are enlarged
    bilinearly. What the record does not show (a crop's sides) gets its nearest pixel's class.
    """
    labels = logits.argmax(axis=0).astype(np.uint8) if labels is None else labels
    if meta.to_source is None or not meta.size:
        return labels
    a, _, c, _, e, f = meta.to_source
    height, width = meta.size
    if a == 1 and e == 1 and c == int(c) and f == int(f):
        return _picked(labels, meta)
    box = (-c / a, -f / e, (width - c) / a, (height - f) / e)
    record = logits.shape[1:]
    if box[0] < 0 or box[1] < 0 or box[2] > record[1] or box[3] > record[0]:
        return _picked(labels, meta)
    return _enlarged(logits, (height, width), box)


def _picked(labels: np.ndarray, meta: Meta) -> np.ndarray:
    assert meta.to_source is not None
    a, _, c, _, e, f = meta.to_source
    rows = np.floor((np.arange(meta.size[0]) + 0.5 - f) / e).astype(np.int64)
    columns = np.floor((np.arange(meta.size[1]) + 0.5 - c) / a).astype(np.int64)
    place = np.ix_(rows.clip(0, labels.shape[0] - 1), columns.clip(0, labels.shape[1] - 1))
    return np.asarray(labels[place])


def _enlarged(
    logits: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Class by class, so that not all classes are held at the source's size."""
    from PIL import Image

    best = np.full(size, -np.inf, np.float32)
    label = np.zeros(size, np.uint8)
    for code, plane in enumerate(logits):
        image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
        value = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box=box))
        better = value > best
        best[better], label[better] = value[better], code
    return label


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


def index_png(codes: np.ndarray, values: Sequence[int], colours: Sequence[Sequence[int]]) -> bytes:
    """A palette PNG: the pixel of class k holds values[k], drawn in colours[k]."""
    from PIL import Image

    lookup = np.full(256, IGNORE, np.uint8)
    lookup[: len(values)] = values
    palette = np.full((256, 3), 255, np.uint8)
    for value, colour in zip(values, colours, strict=True):
        palette[value] = colour
    image = Image.fromarray(lookup[codes])
    image.putpalette(palette.ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()
