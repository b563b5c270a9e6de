"""The geometry between a record and its source; the stand-alone script embeds this text."""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.image.decode import compute_boxes, decode_with_size


def decode_with_geometry(
    data: bytes | np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """`pixels.decode_pixels`, and the record's geometry: {"size", "to_source"}, as in `Meta`."""
    record, size = decode_with_size(data, spec)
    return record, {"size": size, "to_source": affine_to_source(size, spec)}


def affine_to_source(
    size: tuple[int, int], spec: dict[str, Any]
) -> tuple[float, float, float, float, float, float]:
    """The affine from record coordinates to those of a source of (height, width) `size`."""
    source, target = compute_boxes(*size, spec)
    a = (source[2] - source[0]) / (target[2] - target[0])
    e = (source[3] - source[1]) / (target[3] - target[1])
    return (a, 0.0, source[0] - a * target[0], 0.0, e, source[1] - e * target[1])
