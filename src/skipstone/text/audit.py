"""The audit of texts: their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.auditing.checks import AuditContext
from skipstone.core.formatting import pluralize
from skipstone.data.findings import Finding
from skipstone.text.ngrams import hash_tokens, to_letters
from skipstone.text.options import TextOptions

Array = np.ndarray

#: Bins of the histogram of lengths, of doubling width.
_BINS = 24
#: Texts whose letters are in memory.
_CHUNK = 1 << 13


def audit_texts(seen: AuditContext) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts; `audit` of the spec of the input `text`."""
    rows = [
        row
        for row, read in enumerate(seen.scans)
        if read.examined is not None and not read.examined.problem
    ]
    texts = [str(seen.scans[row].examined.content) for row in rows]  # type: ignore[union-attr]
    tokens = _count_tokens(texts)
    letters = np.array([len(text) for text in texts])
    max_length = TextOptions().max_length
    counts: dict[str, Any] = {"letters": _quartiles(letters), "tokens": _quartiles(tokens)}
    if len(texts):
        counts["histograms"] = {"tokens": _histogram(tokens)}
        counts[f"texts_over_{max_length}_tokens"] = int((tokens > max_length).sum())
    findings = []
    long = [rows[index] for index in np.flatnonzero(tokens > max_length)]
    if long:
        lengths = [f"{count:,} tokens" for count in tokens[tokens > max_length].tolist()]
        count = pluralize(len(long), "text")
        findings.append(
            seen.make_finding(
                "long_text",
                long,
                f"{count} {'has' if len(long) == 1 else 'have'} more than {max_length} tokens, "
                f"such as {seen.names[long[0]]} ({lengths[0]}): a sequence model reads no further.",
                lengths,
            )
        )
    return findings, counts


def _count_tokens(texts: list[str]) -> Array:
    """int64 (N,). In parts, because the letters of a text take many times its memory meanwhile."""
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        counts.append(np.bincount(hash_tokens(to_letters(part)).text, minlength=len(part)))
    return np.concatenate(counts)


def _quartiles(values: Array) -> dict[str, float]:
    """Minimum, quartiles, maximum."""
    if not len(values):
        return {}
    names = ("min", "lower_quartile", "median", "upper_quartile", "max")
    quantiles = np.percentile(values, (0, 25, 50, 75, 100))
    return {name: float(value) for name, value in zip(names, quantiles, strict=True)}


def _histogram(values: Array) -> dict[str, int]:
    """{"9-16": count} in bins of doubling width, from the first that is not empty."""
    counts = np.bincount(np.searchsorted(1 << np.arange(_BINS), values), minlength=1)
    first = int(np.flatnonzero(counts)[0])
    return {
        _range(1 if not bin else (1 << (bin - 1)) + 1, 1 << bin): int(counts[bin])
        for bin in range(first, len(counts))
    }


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low >= high else f"{low:,}-{high:,}"
