"""What classify and tag make of raw outputs, with numpy alone.

The text of this file is embedded in the stand-alone script that `export` writes, so it imports
nothing else; the tasks' own `predict` must give the same fields (a test holds them together).

Each function takes outputs by name (N, ...), the task's schema and options, and the
post-processing, all as they are in a bundle, and of each sample what its record shows of its source
({"size", "to_source"}, as in `Meta`; {} where that means nothing). It returns N dicts; a value of
bytes is a file that goes with the answer. Masks have theirs in `tasks.mask_source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def classify_answers(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    seen: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The likeliest class, its probability, and the next ones."""
    names = schema["classes"]
    scaled = outputs["logits"].astype(np.float64) / float(post.get("temperature", 1.0))  # (N, K)
    power = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probability = power / power.sum(axis=1, keepdims=True)
    best = np.argsort(-probability, axis=1, kind="stable")[:, : options.get("top_k", 5)]
    answers = []
    for row, codes in zip(probability, best, strict=True):
        top = [{"label": names[code], "probability": float(row[code])} for code in codes]
        answers.append({**top[0], "top": top})
    return answers


def tag_answers(
    outputs: Mapping[str, np.ndarray],
    schema: Mapping[str, Any],
    options: Mapping[str, Any],
    post: Mapping[str, Any],
    seen: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Every tag at or above its threshold, likeliest first, and all probabilities."""
    names = schema["classes"]
    scaled = outputs["logits"].astype(np.float64) / float(post.get("temperature", 1.0))  # (N, K)
    probability = np.exp(-np.logaddexp(0.0, -scaled))
    thresholds = np.asarray(post.get("thresholds", [0.5] * len(names)), np.float64)
    answers = []
    for row in probability:
        codes = sorted(np.flatnonzero(row >= thresholds), key=lambda code: -row[code])
        answers.append(
            {
                "label": [names[code] for code in codes],
                "probability": [float(row[code]) for code in codes],
                "probabilities": dict(zip(names, row.tolist(), strict=True)),
            }
        )
    return answers
