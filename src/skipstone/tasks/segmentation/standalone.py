"""From logits on a record to a mask of its source.

The text of this file is embedded in the stand-alone script that `export` writes, so it needs only
numpy and Pillow. A `meta` is a `data.samples.Meta` or, in the script, a `Seen`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

#: `data.masks.IGNORE`, which never stands for a class.
IGNORE_VALUE = 255


class RecordGeometry(NamedTuple):
    """The geometry of a record (H, W) of a source, as in `Meta`."""

    size: tuple[int, ...]
    to_source: tuple[float, float, float, float, float, float] | None
    shape: tuple[int, ...]


class MaskPrediction(NamedTuple):
    """The predicted mask of an image.

    Args:
        fields: {"label": the predicted classes, largest first, "share": of the record's valid
            pixels, "probability": mean over these pixels}.
        mask: class indices of the source's pixels, uint8 (h, w).
    """

    fields: dict[str, Any]
    mask: np.ndarray


def predict_mask(
    logits: np.ndarray, meta: Any, temperature: float, names: Sequence[str]
) -> MaskPrediction:
    """From the logits (K, H, W) of one record."""
    rows, columns = valid_region(meta)
    labels = logits.argmax(axis=0).astype(np.uint8)
    label = labels[rows, columns]
    top = top_probability(logits[:, rows, columns], temperature)
    pixels = np.bincount(label.ravel(), minlength=len(names))
    sums = np.bincount(label.ravel(), weights=top.ravel(), minlength=len(names))
    present = [int(code) for code in np.argsort(-pixels, kind="stable") if pixels[code]]
    fields = {
        "label": [names[code] for code in present],
        "share": [float(pixels[code] / label.size) for code in present],
        "probability": [float(sums[code] / pixels[code]) for code in present],
    }
    return MaskPrediction(fields, resize_to_source(logits, meta, labels))


def top_probability(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Greatest class probability of each pixel, (H, W), from logits (K, H, W)."""
    scaled = (logits - logits.max(axis=0)) / np.float32(temperature)
    return np.asarray(1 / np.exp(scaled).sum(axis=0, dtype=np.float64))


def valid_region(meta: Any) -> tuple[slice, slice]:
    """Rows and columns of the record that show the source, without padding."""
    if meta.to_source is None or not meta.size or not meta.shape:
        return slice(None), slice(None)
    a, _, c, _, e, f = meta.to_source
    y0, y1 = round(-f / e), round((meta.size[0] - f) / e)
    x0, x1 = round(-c / a), round((meta.size[1] - c) / a)
    return (
        slice(max(y0, 0), min(max(y1, y0 + 1), meta.shape[0])),
        slice(max(x0, 0), min(max(x1, x0 + 1), meta.shape[1])),
    )


def resize_to_source(logits: np.ndarray, meta: Any, labels: np.ndarray | None = None) -> np.ndarray:
    """The most probable class of each pixel of the source, uint8 (h, w), from logits (K, H, W).

    A record in the source's resolution is unpadded; otherwise logits are resized bilinearly. Pixels
    outside of the record (after a crop) get the class of the nearest pixel.

    Args:
        labels: the argmax of the logits, uint8 (H, W), if already known.
    """
    labels = logits.argmax(axis=0).astype(np.uint8) if labels is None else labels
    if meta.to_source is None or not meta.size:
        return labels
    a, _, c, _, e, f = meta.to_source
    height, width = meta.size
    if a == 1 and e == 1 and c == int(c) and f == int(f):
        return _index_nearest(labels, meta)
    box = (-c / a, -f / e, (width - c) / a, (height - f) / e)
    record = logits.shape[1:]
    if box[0] < 0 or box[1] < 0 or box[2] > record[1] or box[3] > record[0]:
        return _index_nearest(labels, meta)
    return _resize_bilinear(logits, (height, width), box)


def _index_nearest(labels: np.ndarray, meta: Any) -> np.ndarray:
    assert meta.to_source is not None
    a, _, c, _, e, f = meta.to_source
    rows = np.floor((np.arange(meta.size[0]) + 0.5 - f) / e).astype(np.int64)
    columns = np.floor((np.arange(meta.size[1]) + 0.5 - c) / a).astype(np.int64)
    index = np.ix_(rows.clip(0, labels.shape[0] - 1), columns.clip(0, labels.shape[1] - 1))
    return np.asarray(labels[index])


def _resize_bilinear(
    logits: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Class by class: memory for one class in the source's size, not for all."""
    best = np.full(size, -np.inf, np.float32)
    label = np.zeros(size, np.uint8)
    for code, plane in enumerate(logits):
        image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
        value = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box=box))
        better = value > best
        best[better], label[better] = value[better], code
    return label


def encode_index_png(
    codes: np.ndarray, values: Sequence[int], colours: Sequence[Sequence[int]]
) -> bytes:
    """A palette PNG: a pixel of class k holds values[k], shown as colours[k]. Without colours a
    grey PNG."""
    lookup = np.full(256, IGNORE_VALUE, np.uint8)
    lookup[: len(values)] = values
    image = Image.fromarray(lookup[codes])
    if colours:
        palette = np.full((256, 3), 255, np.uint8)
        for value, colour in zip(values, colours, strict=True):
            palette[value] = colour
        image.putpalette(palette.ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def mask_values(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
    """The pixel value of each class in a written mask: the user's own, if all classes have one that
    fits.

    Args:
        rows: (value, colour, name) each, as in `data.masks.MaskTable.to_json`.
    """
    user_values = {name: value for value, _, name in reversed(rows) if name is not None}
    values = [user_values.get(name) for name in names]
    fitting = [value for value in values if value is not None and value < IGNORE_VALUE]
    return fitting if len(fitting) == len(values) else list(range(len(values)))


def decode_masks(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The predicted classes, and "mask": a PNG of the source's size; see `label_answers`."""
    names, colours = schema["classes"], schema.get("colours") or []
    values = mask_values(names, schema.get("masks") or [])
    palette = colours if len(colours) == len(names) else []
    temperature = float(post.get("temperature", 1.0))
    predictions = []
    for logits, geometry in zip(outputs["logits"], geometries, strict=True):
        meta = RecordGeometry(geometry["size"], geometry["to_source"], logits.shape[1:])
        prediction = predict_mask(logits, meta, temperature, names)
        png = encode_index_png(prediction.mask, values, palette)
        predictions.append({**prediction.fields, "mask": png})
    return predictions
