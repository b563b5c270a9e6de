"""Resize masks from a source to its record, the network's input, and draw masks.

A record is its source shifted, scaled, cropped or padded, as `Meta.to_source` states. All of these
are parallel to the axes, so a mask is resized by indexing rows and columns.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.disk import read_regular
from skipstone.core.errors import DamagedError, DataError
from skipstone.core.options import check_types
from skipstone.data.mask_files import IGNORE_INDEX, MaskTable, load_mask_codes
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import TYPICAL_QUANTILE
from skipstone.tasks.label_answers import softmax
from skipstone.tasks.segmentation.crf import CrfOptions, refine_with_crf
from skipstone.tasks.segmentation.standalone import valid_region

#: Opacity of the class's colour in an overlay.
OVERLAY_OPACITY = 0.55


def resize_to_record(mask: np.ndarray, meta: SampleMeta | None) -> np.ndarray:
    """A source's class indices (h, w) on its record (H, W): nearest neighbour, IGNORE in padding.

    Raises:
        DataError: mask and source differ in size.
    """
    if meta is None or meta.to_source is None or not meta.size:
        return mask
    if mask.shape != tuple(meta.size):
        raise DataError(size_mismatch_message(mask, meta))
    a, _, c, _, e, f = meta.to_source
    rows = np.floor(e * (np.arange(meta.shape[0]) + 0.5) + f).astype(np.int64)
    columns = np.floor(a * (np.arange(meta.shape[1]) + 0.5) + c).astype(np.int64)
    inside_y = (rows >= 0) & (rows < mask.shape[0])
    inside_x = (columns >= 0) & (columns < mask.shape[1])
    resized = mask[np.ix_(rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1))]
    resized[~inside_y] = IGNORE_INDEX
    resized[:, ~inside_x] = IGNORE_INDEX
    return resized


def size_mismatch_message(mask: np.ndarray, meta: SampleMeta) -> str:
    """The message for a mask that differs in size from its image."""
    rotated = ""
    if mask.shape == tuple(meta.size)[::-1]:
        rotated = " (the image was rotated by its EXIF orientation; save it upright)"
    return (
        f"{meta.name}: the image has {meta.size[1]} x {meta.size[0]} pixels and its mask "
        f"{mask.shape[1]} x {mask.shape[0]}{rotated}."
    )


# --- drawing ------------------------------------------------------------------------------------


def overlay_mask(
    picture: np.ndarray, codes: np.ndarray, colours: Sequence[Sequence[int]]
) -> np.ndarray:
    """uint8 (H, W, 3): an image (H, W, 1 or 3) tinted by class; IGNORE is not tinted."""
    base = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    table = np.zeros((256, 3), np.float32)
    table[: len(colours)] = np.asarray(colours, np.float32)
    share = np.where(codes == IGNORE_INDEX, 0.0, OVERLAY_OPACITY).astype(np.float32)[..., None]
    mixed = base * (1 - share) + table[codes] * share
    return np.asarray(mixed.round().astype(np.uint8))


def hstack_images(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Images (H, W, 3) of equal height in a row, with white gaps."""
    height = pictures[0].shape[0]
    white = np.full((height, gap, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for picture in pictures:
        parts += [picture, white]
    return np.concatenate(parts[:-1], axis=1)


def encode_jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()


TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class MaskLoader:
    """{"mask": path} -> class indices; `codes` maps the manifest's indices to the model's."""

    root: Path
    table: MaskTable
    codes: np.ndarray

    def __call__(self, value: Any) -> np.ndarray:
        if not isinstance(value, Mapping) or not isinstance(value.get("mask"), str):
            raise DataError(f"{describe_value(value)} has no path of a mask.")
        path = self.root / value["mask"]
        try:
            data = read_regular(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        return np.asarray(self.codes[load_mask_codes(data, self.table, str(path))])


def refine_logits(
    logits: np.ndarray, picture: np.ndarray, meta: SampleMeta, options: Mapping[str, Any]
) -> np.ndarray:
    """Log-probabilities (K, H, W) after a CRF over the record without its padding."""
    rows, columns = valid_region(meta)
    log_probability = logits.copy()
    try:
        check_types("crf", CrfOptions, options)
        crf_options = CrfOptions(**options)
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the model's CRF options are not valid: {error}") from None
    probability = refine_with_crf(logits[:, rows, columns], picture[rows, columns], crf_options)
    log_probability[:, rows, columns] = np.log(np.maximum(probability, TINY))
    return log_probability


def pixel_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, H * W, K)."""
    n, classes = logits.shape[:2]
    flat = np.moveaxis(logits.reshape(n, classes, -1), 1, 2)
    return softmax(flat.reshape(-1, classes), temperature).reshape(n, -1, classes)


def typical_relative_difference(reference: np.ndarray, outputs: np.ndarray) -> float:
    """The TYPICAL quantile over pixels of the difference of logits (N, K, H, W), relative to their
    scale (as in `max_relative_difference`); infinite for NaN."""
    if not reference.size:
        return 0.0
    gap = np.abs(reference - outputs).max(axis=1)
    scale = max(float(np.median(np.abs(reference).max(axis=(1, 2, 3)))), TINY)
    return float(np.quantile(np.where(np.isnan(gap), np.inf, gap), TYPICAL_QUANTILE)) / scale


def describe_value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    return repr(value)
