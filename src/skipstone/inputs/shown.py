"""Records as pictures that a person can look at, whatever their depth and channels."""

from __future__ import annotations

import numpy as np

from skipstone.inputs.base import Array

#: Darker and brighter pixels than these quantiles of a picture become black and white.
_TAIL = 0.01


def shown(record: Array, like: Array | None = None) -> Array:
    """(H, W, C) of any real type as uint8 (H, W, 1 or 3).

    8-bit grey and RGB are returned as they are. Of anything else the first three channels become
    red, green and blue (of two, red and green; of one, grey), each stretched between its 1 % and
    99 % quantiles, for one by one their ranges mean nothing to a screen.

    Args:
        like: a record whose quantiles are taken instead, so that two views can be compared.
    """
    if record.dtype == np.uint8 and record.shape[2] in (1, 3):
        return record
    seen = record[..., :3].astype(np.float64)
    reference = seen if like is None else like[..., :3].astype(np.float64)
    low, high = np.quantile(reference, [_TAIL, 1 - _TAIL], axis=(0, 1))
    spread = np.where(high > low, high - low, 1.0)
    grey = np.clip((seen - low) / spread, 0, 1) * 255
    picture: Array = np.rint(grey).astype(np.uint8)
    if picture.shape[2] == 2:
        picture = np.concatenate([picture, np.zeros_like(picture[..., :1])], axis=2)
    return picture
