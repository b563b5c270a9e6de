"""Fitting the input `text` on the training texts: vocabularies and document frequencies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skipstone.inputs.base import FIRST
from skipstone.text.features import (
    bag_rows,
    block_ngrams,
    count_pairs,
    feature_columns,
    lookup_indices,
)
from skipstone.text.ngrams import hash_tokens, normalize_text, to_letters
from skipstone.text.options import TextOptions, parse_range
from skipstone.text.subwords import count_subword_ids

#: Letters per chunk: bounds memory for a corpus of any size.
CHUNK = 1 << 20

Arrays = dict[str, np.ndarray]


def iterate_chunks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Chunks of about `CHUNK` letters: (index of the first text, texts)."""
    begin, size = 0, 0
    for number, text in enumerate(texts):
        size += len(text) + 1
        if size >= CHUNK:
            yield begin, texts[begin : number + 1]
            begin, size = number + 1, 0
    if begin < len(texts):
        yield begin, texts[begin:]


class DocumentFrequencies:
    """Document frequencies: in how many texts each hash occurs.

    Hashes of new chunks are pending until they outnumber the merged ones. Each hash is then sorted
    a few times, not once per chunk.
    """

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = [np.zeros(0, np.uint64)]  # merged, then pending ones
        self._texts: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._pending = 0

    def add_chunk(self, text: np.ndarray, hashes: np.ndarray) -> None:
        """Count the `hashes` of a chunk; `text` says which text each is from."""
        distinct, code = np.unique(hashes, return_inverse=True)
        _, code, _ = count_pairs(text, code, len(distinct))
        self._hashes.append(distinct)
        self._texts.append(np.bincount(code, minlength=len(distinct)))
        self._pending += len(distinct)
        if self._pending > len(self._hashes[0]):
            self._merge()

    def _merge(self) -> None:
        hashes, code = np.unique(np.concatenate(self._hashes), return_inverse=True)
        texts = np.bincount(code, np.concatenate(self._texts), len(hashes))
        self._hashes, self._texts = [hashes], [texts.astype(np.int64)]
        self._pending = 0

    def select_most_common(self, max_count: int, min_texts: int) -> tuple[np.ndarray, np.ndarray]:
        """(hashes in order, texts of each): the `max_count` commonest ones in at min_texts `min_texts` texts."""
        self._merge()
        hashes, texts = self._hashes[0], self._texts[0]
        chosen = select_most_common(texts, max_count, min_texts)
        return hashes[chosen], texts[chosen]


def select_most_common(texts: np.ndarray, max_count: int, min_texts: int) -> np.ndarray:
    """Indices, ascending, of the `max_count` greatest of the counts `texts` that are at least
    `min_texts`, which is at least 1; of equal ones the first."""
    chosen = np.flatnonzero(texts >= min_texts)
    if len(chosen) > max_count:
        chosen = chosen[np.argsort(-texts[chosen], kind="stable")[:max_count]]
        chosen.sort()
    return chosen


def build_vocabulary(
    texts: Sequence[str], *, level: str, max_count: int, min_texts: int
) -> np.ndarray:
    """The vocabulary of a sequence model: sorted hashes.

    Args:
        max_count: entries at max_count, the commonest ones.
        min_texts: texts that a token has to occur in.
    """
    frequencies = DocumentFrequencies()
    for _, part in iterate_chunks(texts):
        tokens = hash_tokens(to_letters(part), level=level)
        frequencies.add_chunk(tokens.text, tokens.hashes)
    return frequencies.select_most_common(max_count, min_texts)[0]


def count_longer_texts(texts: Sequence[str], *, level: str, max_length: int) -> int:
    """How many texts have more than `max_length` tokens."""
    count = 0
    for _, part in iterate_chunks(texts):
        tokens = hash_tokens(to_letters(part), level=level)
        count += int((np.bincount(tokens.text, minlength=len(part)) > max_length).sum())
    return count


def build_bag_vocabularies(
    texts: Sequence[str],
    blocks: Sequence[Mapping[str, Any]],
    *,
    max_count: int,
    min_texts: int,
    idf: bool,
) -> tuple[list[dict[str, Any]], Arrays]:
    """Blocks with their `start` and `size`, and arrays "vocabulary.N" and "idf.N".

    The inverse document frequency is ln((1 + texts) / (1 + texts with it)) + 1.
    """
    fitted, arrays, start = [], {}, 0
    for number, unfitted_block in enumerate(blocks):
        block = dict(unfitted_block)
        if block["bits"]:
            block["size"] = 1 << block["bits"]
            texts_with = np.zeros(block["size"], np.int64)
            for _, part in iterate_chunks(texts):
                text, hashes = block_hashes(part, block)
                column = feature_columns(hashes, block, np.zeros(0, np.uint64))
                _, column, _ = count_pairs(text, column, block["size"])
                texts_with += np.bincount(column, minlength=block["size"])
        else:
            frequencies = DocumentFrequencies()
            for _, part in iterate_chunks(texts):
                frequencies.add_chunk(*block_hashes(part, block))
            vocabulary, texts_with = frequencies.select_most_common(max_count, min_texts)
            arrays[f"vocabulary.{number}"] = vocabulary
            block["size"] = len(vocabulary)
        if idf:
            weight = np.log((1 + len(texts)) / (1 + texts_with)) + 1
            arrays[f"idf.{number}"] = weight.astype(np.float32)
        fitted.append({**block, "start": start})
        start += block["size"]
    return fitted, arrays


def block_hashes(texts: Sequence[str], block: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(index of the text, hash) of every n-gram of a block in `texts`, already normalised."""
    grams = block_ngrams(to_letters(texts), block)
    if not grams:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    text = np.concatenate([part.text for part in grams])
    return text, np.concatenate([part.hashes for part in grams])


def find_known_words(texts: Sequence[str], vocabulary: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The distinct words of `texts` (already `plain`) that a vocabulary holds, and the index of
    each in it: int64 (W,), ascending."""
    words: dict[int, str] = {}
    for _, part in iterate_chunks(texts):
        joined = "\n".join(part)
        tokens = hash_tokens(to_letters(part))
        hashes, first = np.unique(tokens.hashes, return_index=True)
        place = lookup_indices(hashes, vocabulary, missing=-1)
        spans = zip(place.tolist(), tokens.first[first], tokens.last[first], strict=True)
        for at, begin, end in spans:
            if at >= 0 and at not in words:
                words[at] = joined[begin:end]
    order = sorted(words)
    return [words[at] for at in order], np.array(order, np.int64)


def restrict_state(
    state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], indices: np.ndarray
) -> tuple[dict[str, Any], Arrays]:
    """State and arrays of an input with the entries `indices` only: ascending indices from 0 through
    all of its vocabularies."""
    if "blocks" not in state:
        return dict(state), {"vocabulary": arrays["vocabulary"][indices]}
    blocks, smaller, start = [], {}, 0
    for number, block in enumerate(state["blocks"]):
        of_block = indices[(indices >= block["start"]) & (indices < block["start"] + block["size"])]
        for name in (f"vocabulary.{number}", f"idf.{number}"):
            if name in arrays:
                smaller[name] = arrays[name][of_block - block["start"]]
        blocks.append({**block, "start": start, "size": len(of_block)})
        start += len(of_block)
    return {**state, "blocks": blocks}, smaller


def make_bag_matrix(
    texts: Sequence[str], spec: Mapping[str, Any], arrays: Mapping[str, Any]
) -> Any:
    """scipy.sparse.csr_array float32 (texts, features): the rows that `encode_text` gives."""
    from scipy.sparse import csr_array

    width = sum(block["size"] for block in spec["blocks"])
    rows, columns, values = [], [], []
    for begin, part in iterate_chunks(texts):
        letters = to_letters([normalize_text(text, spec["lowercase"]) for text in part])
        for row, column, value in bag_rows(letters, spec, arrays):
            rows.append((row + begin).astype(np.int32))  # scikit-learn's solvers need int32
            columns.append(column.astype(np.int32))
            values.append(value.astype(np.float32))
    if not rows:
        return csr_array((len(texts), width), dtype=np.float32)
    places = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.concatenate(values), places), (len(texts), width), dtype=np.float32)


def common_tokens(texts: Sequence[str], most: int = 256) -> list[str]:
    """The commonest tokens of the texts, which generated goldens consist of."""
    sample = "\n".join(texts)[:CHUNK]
    tokens = hash_tokens(to_letters([sample]))
    _, first, counts = np.unique(tokens.hashes, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    spans = zip(tokens.first[first[order]], tokens.last[first[order]], strict=True)
    return [sample[begin:end] for begin, end in spans]


# --- options -------------------------------------------------------------------------------------

#: A corpus of up to so many letters also gets character n-grams, by default.
SMALL_CORPUS = 2_000_000


def make_unfitted_state(options: TextOptions) -> dict[str, Any]:
    """A state for estimating a network's cost, of the largest size that the options allow."""
    size = (
        options.vocabulary + FIRST
        if options.text_features == "tokens"
        else options.max_features + 1
    )
    subwords = subword_settings(options)
    return {
        "text_features": options.text_features,
        "lowercase": options.lowercase,
        "token_level": options.token_level,
        "max_length": options.max_length,
        "size": size + (count_subword_ids(subwords) if subwords else 0),
        "subwords": subwords,
        "blocks": [],
        "weighting": options.weighting,
    }


def choose_ngram_blocks(options: TextOptions, letters: int) -> list[dict[str, Any]]:
    """The kinds of n-grams and word pairs for a corpus of so many letters."""
    is_small, is_medium = letters <= SMALL_CORPUS, letters <= 2 * SMALL_CORPUS
    defaults = {
        "word": "1-3" if is_small else "1-2",
        "char": "2-6" if is_small else "3-5" if is_medium else "none",
    }
    blocks = []
    for kind, value in (("word", options.word_ngrams), ("char", options.char_ngrams)):
        lengths = parse_range(defaults[kind] if value == "auto" else value)
        assert lengths is not None, "TextOptions checks them"
        if lengths[1]:
            blocks.append({"kind": kind, "shortest": lengths[0], "longest": lengths[1]})
    for kind, longest in (("skip", options.skip_grams), ("opening", options.opening_words)):
        if longest:
            blocks.append({"kind": kind, "shortest": 1, "longest": longest})
    return [{**block, "bits": options.hash_bits} for block in blocks]


def subword_settings(options: TextOptions) -> dict[str, int] | None:
    """Settings of subwords: {"shortest", "longest", "bits"}; None without them."""
    shortest, longest = options.subword_range
    if not longest or options.text_features != "tokens":
        return None
    return {"shortest": shortest, "longest": longest, "bits": options.subword_bits}
