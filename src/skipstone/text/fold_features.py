"""Bags of n-grams for cross-validation: the n-grams of all texts are counted once, and each fold takes
the vocabulary, the document frequencies and the features of its own texts from these counts.

What a fold gets equals, bit for bit, what `TextInput.fit` and `make_feature_matrix` give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skipstone.text.features import apply_weighting, count_pairs
from skipstone.text.fit_vocabulary import (
    Arrays,
    block_hashes,
    iterate_chunks,
    select_most_common,
)


class NGramCounts(NamedTuple):
    """Counts of a block's n-grams, ordered by text, then by n-gram.

    Args:
        hashes: uint64 (G,), ascending.
        text, gram, times: of each pair of a text and an n-gram in it.
    """

    hashes: np.ndarray
    text: np.ndarray
    gram: np.ndarray
    times: np.ndarray


def count_ngrams(
    texts: Sequence[str], blocks: Sequence[Mapping[str, Any]], shared: dict[str, Any]
) -> list[NGramCounts]:
    """The counts of each block in `texts` (already normalised); `shared` keeps them, so that inputs
    with the same blocks count once."""
    counted = []
    for block in blocks:
        key = json.dumps(dict(block), sort_keys=True)
        if key not in shared:
            shared[key] = _count_block(texts, block)
        counted.append(shared[key])
    return counted


def _count_block(texts: Sequence[str], block: Mapping[str, Any]) -> NGramCounts:
    hashes, text = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for begin, part in iterate_chunks(texts):
        part_text, part_hashes = block_hashes(part, block)
        hashes.append(part_hashes)
        text.append(part_text.astype(np.int64) + begin)
    distinct, gram = np.unique(np.concatenate(hashes), return_inverse=True)
    return NGramCounts(distinct, *count_pairs(np.concatenate(text), gram, len(distinct)))


def fit_bag(
    counted: Sequence[NGramCounts],
    blocks: Sequence[Mapping[str, Any]],
    rows: np.ndarray,
    texts: int,
    *,
    max_count: int,
    min_texts: int,
    weighting: str,
) -> tuple[list[dict[str, Any]], Arrays, Any]:
    """Blocks and arrays as of `build_bag_vocabularies` on the texts at `rows`, and the features of
    all `texts`: scipy.sparse.csr_array (texts, F)."""
    from scipy.sparse import csr_array

    inside = np.zeros(texts, bool)
    inside[rows] = True
    fitted, arrays, start = [], Arrays(), 0
    places, columns, values = [], [], []
    for number, (block, counts) in enumerate(zip(blocks, counted, strict=True)):
        frequency = np.bincount(counts.gram[inside[counts.text]], minlength=len(counts.hashes))
        chosen = select_most_common(frequency, max_count, min_texts)
        column_of = np.full(len(counts.hashes), -1)
        column_of[chosen] = np.arange(len(chosen))
        column = column_of[counts.gram]
        known = column >= 0
        text, column = counts.text[known], column[known]
        value = apply_weighting(counts.times[known], weighting)
        arrays[f"vocabulary.{number}"] = counts.hashes[chosen]
        if weighting == "tfidf":
            idf = (np.log((1 + len(rows)) / (1 + frequency[chosen])) + 1).astype(np.float32)
            arrays[f"idf.{number}"] = idf
            value = value * idf[column]
        length = np.sqrt(np.bincount(text, value * value, texts))
        places.append(text.astype(np.int32))
        columns.append((column + start).astype(np.int32))
        values.append((value / np.maximum(length, 1e-12)[text]).astype(np.float32))
        fitted.append({**block, "start": start, "size": len(chosen)})
        start += len(chosen)
    where = np.concatenate(places), np.concatenate(columns)
    matrix = csr_array((np.concatenate(values), where), (texts, start), dtype=np.float32)
    return fitted, arrays, matrix
