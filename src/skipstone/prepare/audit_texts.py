"""What only texts can have wrong, and how long they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from skipstone.inputs.text_grams import letters_of, token_grams
from skipstone.inputs.text_options import TextOptions
from skipstone.prepare.checks import Seen
from skipstone.prepare.findings import Finding
from skipstone.words import counted

Array = np.ndarray

#: Upper ends of the classes of lengths: each twice the one before.
_BINS = 24


def audit_texts(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts; the fact `audit` of the input `text`."""
    rows = [
        row
        for row, read in enumerate(seen.reads)
        if read.examined is not None and not read.examined.problem
    ]
    texts = [str(seen.reads[row].examined.shows) for row in rows]  # type: ignore[union-attr]
    tokens = np.bincount(token_grams(letters_of(texts)).text, minlength=len(texts))
    letters = np.array([len(text) for text in texts])
    most = TextOptions().max_length
    counts: dict[str, Any] = {"letters": _quartiles(letters), "tokens": _quartiles(tokens)}
    if len(texts):
        counts["histograms"] = {"tokens": _classes(tokens)}
        counts[f"texts_over_{most}_tokens"] = int((tokens > most).sum())
    found = []
    long = [rows[at] for at in np.flatnonzero(tokens > most)]
    if long:
        lengths = [f"{count:,} tokens" for count in tokens[tokens > most].tolist()]
        count = counted(len(long), "text")
        found.append(
            seen.finding(
                "long_text",
                long,
                f"{count} {'has' if len(long) == 1 else 'have'} more than {most} tokens, such as "
                f"{seen.names[long[0]]} ({lengths[0]}): there a sequence model stops reading.",
                lengths,
            )
        )
    return found, counts


def _quartiles(values: Array) -> dict[str, float]:
    """Least, quartiles, greatest."""
    if not len(values):
        return {}
    names = ("min", "lower_quartile", "median", "upper_quartile", "max")
    found = np.percentile(values, (0, 25, 50, 75, 100))
    return {name: float(value) for name, value in zip(names, found, strict=True)}


def _classes(values: Array) -> dict[str, int]:
    """{"9-16": how many} in classes of doubling width, from the least that has any."""
    upper = 1 << np.arange(_BINS)
    at = np.searchsorted(upper, values)
    found = np.bincount(at, minlength=1)
    first = int(np.flatnonzero(found)[0])
    return {
        _range(1 if not bin else (1 << (bin - 1)) + 1, 1 << bin): int(found[bin])
        for bin in range(first, len(found))
    }


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low >= high else f"{low:,}-{high:,}"
