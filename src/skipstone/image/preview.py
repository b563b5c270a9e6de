"""Convert records of any depth and number of channels to images for display."""

from __future__ import annotations

import numpy as np

from skipstone.inputs.base import Array

#: Pixels below this quantile become black, those above 1 - this white.
_TAIL = 0.01


def to_display(record: Array, like: Array | None = None) -> Array:
    """(H, W, C) of any real type as uint8 (H, W, 1 or 3).

    Returns 8-bit grey and RGB unchanged. Otherwise the first three channels become red, green and
    blue (two: red and green; one: grey), each stretched between its 1 % and 99 % quantiles.

    Args:
        like: a record whose quantiles are used instead, so that two views are comparable.
    """
    if record.dtype == np.uint8 and record.shape[2] in (1, 3):
        return record
    values = record[..., :3].astype(np.float64)
    reference = values if like is None else like[..., :3].astype(np.float64)
    low, high = np.quantile(reference, [_TAIL, 1 - _TAIL], axis=(0, 1))
    spread = np.where(high > low, high - low, 1.0)
    stretched = np.clip((values - low) / spread, 0, 1) * 255
    image: Array = np.rint(stretched).astype(np.uint8)
    if image.shape[2] == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    return image
