"""Opening masks by their own table, and turning logits of pixels into probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.data.masks import MaskTable, open_mask
from skipstone.data.samples import Meta
from skipstone.errors import DamagedError, DataError
from skipstone.option_types import check_types
from skipstone.tasks.base import TYPICAL
from skipstone.tasks.calibration import softmax
from skipstone.tasks.crf import CrfOptions, refine
from skipstone.tasks.mask_source import seen_part

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Opener:
    """{"mask": path} -> codes; `codes` brings the manifest's class numbers to the model's."""

    root: Path
    table: MaskTable
    codes: np.ndarray

    def __call__(self, value: Any) -> np.ndarray:
        if not isinstance(value, Mapping) or not isinstance(value.get("mask"), str):
            raise DataError(f"{shown(value)} says no mask's path.")
        path = self.root / value["mask"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        return np.asarray(self.codes[open_mask(data, self.table, str(path))])


def refined(
    logits: np.ndarray, picture: np.ndarray, meta: Meta, options: Mapping[str, Any]
) -> np.ndarray:
    """Log-probabilities (K, H, W) after a CRF over the part of the record that shows the source."""
    rows, columns = seen_part(meta)
    found = logits.copy()
    try:
        check_types("crf", CrfOptions, options)
        chosen = CrfOptions(**options)
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the model's refinement by a CRF cannot be done: {error}") from None
    probability = refine(logits[:, rows, columns], picture[rows, columns], chosen)
    found[:, rows, columns] = np.log(np.maximum(probability, TINY))
    return found


def pixel_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, H * W, K)."""
    n, classes = logits.shape[:2]
    flat = np.moveaxis(logits.reshape(n, classes, -1), 1, 2)
    return softmax(flat.reshape(-1, classes), temperature).reshape(n, -1, classes)


def typical_difference(reference: np.ndarray, outputs: np.ndarray) -> float:
    """That TYPICAL of all pixels keep within, of logits (N, K, H, W), relative to their scale (as
    in `labels.raw_difference`); infinite for NaN."""
    if not reference.size:
        return 0.0
    gap = np.abs(reference - outputs).max(axis=1)
    scale = max(float(np.median(np.abs(reference).max(axis=(1, 2, 3)))), TINY)
    return float(np.quantile(np.where(np.isnan(gap), np.inf, gap), TYPICAL)) / scale


def shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    return repr(value)
