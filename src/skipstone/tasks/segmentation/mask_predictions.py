"""Load masks by their table of codes, and turn logits of pixels into probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.errors import DamagedError, DataError
from skipstone.core.options import check_types
from skipstone.data.mask_files import MaskTable, load_mask_codes
from skipstone.data.samples import SampleMeta
from skipstone.tasks.base import TYPICAL_QUANTILE
from skipstone.tasks.segmentation.crf import CrfOptions, refine_with_crf
from skipstone.tasks.segmentation.standalone import valid_region
from skipstone.tasks.temperature import softmax

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
            data = path.read_bytes()
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
    scale (as in `labels.raw_difference`); infinite for NaN."""
    if not reference.size:
        return 0.0
    gap = np.abs(reference - outputs).max(axis=1)
    scale = max(float(np.median(np.abs(reference).max(axis=(1, 2, 3)))), TINY)
    return float(np.quantile(np.where(np.isnan(gap), np.inf, gap), TYPICAL_QUANTILE)) / scale


def describe_value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    return repr(value)
