"""Decode outputs of classify and tag with numpy alone.

The text of this file is embedded in the stand-alone script that `export` writes, so it imports
nothing else. `Task.predict` must return the same fields; a test compares the two.

Each function takes outputs by name (N, ...), the task's schema and options and the
post-processing, all as stored in a bundle, and the geometry of each sample ({"size", "to_source"},
as in `Meta`; {} for samples without coordinates). It returns N dicts; a value of bytes is a file.
Masks are decoded in `tasks.mask_source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def decode_labels(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The most probable class, its probability, and the next ones."""
    names = schema["classes"]
    scaled = outputs["logits"].astype(np.float64) / float(post.get("temperature", 1.0))  # (N, K)
    power = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probability = power / power.sum(axis=1, keepdims=True)
    best = np.argsort(-probability, axis=1, kind="stable")[:, : options.get("top_k", 5)]
    predictions = []
    for row, codes in zip(probability, best, strict=True):
        top = [{"label": names[code], "probability": float(row[code])} for code in codes]
        predictions.append({**top[0], "top": top})
    return predictions


def decode_tags(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Every tag at or above its threshold, most probable first, and all probabilities."""
    names = schema["classes"]
    scaled = outputs["logits"].astype(np.float64) / float(post.get("temperature", 1.0))  # (N, K)
    probability = np.exp(-np.logaddexp(0.0, -scaled))
    thresholds = np.asarray(post.get("thresholds", [0.5] * len(names)), np.float64)
    predictions = []
    for row in probability:
        codes = sorted(np.flatnonzero(row >= thresholds), key=lambda code: -row[code])
        predictions.append(
            {
                "label": [names[code] for code in codes],
                "probability": [float(row[code]) for code in codes],
                "probabilities": dict(zip(names, row.tolist(), strict=True)),
            }
        )
    return predictions
