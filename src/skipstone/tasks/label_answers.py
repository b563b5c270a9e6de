"""Decode outputs of classify and tag with numpy alone.

The text of this file is embedded in the stand-alone script that `export` writes, so it imports
nothing else. `Task.predict` uses the same functions.

Each `decode_` function takes outputs by name (N, ...), the task's schema and options and the
post-processing, all as stored in a bundle, and the geometry of each sample ({"size", "to_source"},
as in `Meta`; {} for samples without coordinates). It returns N dicts; a value of bytes is a file.
Masks are decoded in `segmentation/standalone.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, K) -> (N, K) float64."""
    scaled = logits.astype(np.float64) / temperature
    power = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def sigmoid(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Any shape, float64, without overflow; NaN stays NaN."""
    scaled = logits.astype(np.float64) / temperature
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)))


def rank_labels(probability: np.ndarray, names: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """The most probable class of each row (N, K), its probability, and the next ones."""
    best = np.argsort(-probability, axis=1, kind="stable")[:, :top_k]
    predictions = []
    for row, codes in zip(probability, best, strict=True):
        top = [{"label": names[code], "probability": float(row[code])} for code in codes]
        predictions.append({**top[0], "top": top})
    return predictions


def select_tags(
    probability: np.ndarray, names: Sequence[str], thresholds: np.ndarray
) -> list[dict[str, Any]]:
    """Every tag of a row (N, K) at or above its threshold, most probable first, and all
    probabilities."""
    predictions = []
    for row in probability:
        codes = sorted(np.flatnonzero(row >= thresholds).tolist(), key=lambda code: -row[code])
        predictions.append(
            {
                "label": [names[code] for code in codes],
                "probability": [float(row[code]) for code in codes],
                "probabilities": dict(zip(names, row.tolist(), strict=True)),
            }
        )
    return predictions


def decode_labels(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    probability = softmax(outputs["logits"], float(post.get("temperature", 1.0)))
    return rank_labels(probability, schema["classes"], options.get("top_k", 5))


def decode_tags(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    geometries: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    names = schema["classes"]
    probability = sigmoid(outputs["logits"], float(post.get("temperature", 1.0)))
    thresholds = np.asarray(post.get("thresholds", [0.5] * len(names)), np.float64)
    return select_tags(probability, names, thresholds)
