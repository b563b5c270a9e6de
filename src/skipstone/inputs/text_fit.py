"""What the input `text` learns from the training texts: vocabularies and document frequencies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.inputs.subwords import count_parts
from skipstone.inputs.text_features import (
    FIRST,
    bag_rows,
    columns_of,
    counted_pairs,
    grams_of_block,
    places,
)
from skipstone.inputs.text_grams import letters_of, plain, token_grams
from skipstone.inputs.text_options import TextOptions, parse_range

#: Letters that are looked at together: bounds memory, whatever the corpus.
CHUNK = 1 << 20

Arrays = dict[str, np.ndarray]


def chunks(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """(number of the first text, texts) of about `CHUNK` letters each."""
    begin, size = 0, 0
    for number, text in enumerate(texts):
        size += len(text) + 1
        if size >= CHUNK:
            yield begin, texts[begin : number + 1]
            begin, size = number + 1, 0
    if begin < len(texts):
        yield begin, texts[begin:]


class Frequencies:
    """In how many texts each hash occurs.

    What chunks bring waits until it outnumbers what is merged: then sorting all of it costs each
    hash a few sorts in a corpus of any size, not one a chunk.
    """

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = [np.zeros(0, np.uint64)]  # the merged ones, then waiting
        self._texts: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._waiting = 0

    def add(self, text: np.ndarray, hashes: np.ndarray) -> None:
        found, code = np.unique(hashes, return_inverse=True)
        _, code, _ = counted_pairs(text, code, len(found))
        self._hashes.append(found)
        self._texts.append(np.bincount(code, minlength=len(found)))
        self._waiting += len(found)
        if self._waiting > len(self._hashes[0]):
            self._merge()

    def _merge(self) -> None:
        hashes, code = np.unique(np.concatenate(self._hashes), return_inverse=True)
        texts = np.bincount(code, np.concatenate(self._texts), len(hashes))
        self._hashes, self._texts = [hashes], [texts.astype(np.int64)]
        self._waiting = 0

    def kept(self, most: int, least: int) -> tuple[np.ndarray, np.ndarray]:
        """(hashes in order, texts of each): those in `least` texts, the commonest `most`."""
        self._merge()
        hashes, texts = self._hashes[0], self._texts[0]
        keep = np.flatnonzero(texts >= least)
        if len(keep) > most:
            keep = keep[np.argsort(-texts[keep], kind="stable")[:most]]
            keep.sort()
        return hashes[keep], texts[keep]


def fit_tokens(texts: Sequence[str], *, split: str, most: int, least: int) -> np.ndarray:
    """The vocabulary of a sequence model: sorted hashes."""
    seen = Frequencies()
    for _, part in chunks(texts):
        tokens = token_grams(letters_of(part), split=split)
        seen.add(tokens.text, tokens.hashes)
    return seen.kept(most, least)[0]


def longer(texts: Sequence[str], *, split: str, most: int) -> int:
    """How many texts have more than `most` tokens."""
    found = 0
    for _, part in chunks(texts):
        tokens = token_grams(letters_of(part), split=split)
        found += int((np.bincount(tokens.text, minlength=len(part)) > most).sum())
    return found


def fit_bag(
    texts: Sequence[str],
    blocks: Sequence[Mapping[str, Any]],
    *,
    most: int,
    least: int,
    idf: bool,
) -> tuple[list[dict[str, Any]], Arrays]:
    """Blocks with their `start` and `size`, and arrays "vocabulary.N" and "idf.N".

    The inverse document frequency is ln((1 + texts) / (1 + texts with it)) + 1.
    """
    placed, arrays, start = [], {}, 0
    for number, given in enumerate(blocks):
        block = dict(given)
        if block["bits"]:
            block["size"] = 1 << block["bits"]
            texts_with = np.zeros(block["size"], np.int64)
            for _, part in chunks(texts):
                grams = grams_of_block(letters_of(part), block)
                for gram in grams:
                    column = columns_of(gram.hashes, block, np.zeros(0, np.uint64))
                    _, column, _ = counted_pairs(gram.text, column, block["size"])
                    texts_with += np.bincount(column, minlength=block["size"])
        else:
            seen = Frequencies()
            for _, part in chunks(texts):
                for gram in grams_of_block(letters_of(part), block):
                    seen.add(gram.text, gram.hashes)
            vocabulary, texts_with = seen.kept(most, least)
            arrays[f"vocabulary.{number}"] = vocabulary
            block["size"] = len(vocabulary)
        if idf:
            weight = np.log((1 + len(texts)) / (1 + texts_with)) + 1
            arrays[f"idf.{number}"] = weight.astype(np.float32)
        placed.append({**block, "start": start})
        start += block["size"]
    return placed, arrays


@dataclass(frozen=True, slots=True)
class KnownWords:
    """Words that an input knows, and int64 (W,): the id of each, as the network gets it.

    Args:
        unknown: the id of words never seen, where there is one.
    """

    words: list[str]
    ids: np.ndarray
    unknown: int | None


def words_known(texts: Sequence[str], vocabulary: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The words of `texts` (already `plain`) that a vocabulary holds, each once, and the place of
    each in it: int64 (W,), growing."""
    found: dict[int, str] = {}
    for _, part in chunks(texts):
        joined = "\n".join(part)
        tokens = token_grams(letters_of(part))
        hashes, first = np.unique(tokens.hashes, return_index=True)
        place = places(hashes, vocabulary, missing=-1)
        spans = zip(place.tolist(), tokens.first[first], tokens.last[first], strict=True)
        for at, begin, end in spans:
            if at >= 0 and at not in found:
                found[at] = joined[begin:end]
    order = sorted(found)
    return [found[at] for at in order], np.array(order, np.int64)


def narrow(
    state: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kept: np.ndarray
) -> tuple[dict[str, Any], Arrays]:
    """State and arrays of an input that knows only the entries `kept`, counted from 0 through all
    of its vocabularies, ascending."""
    if "blocks" not in state:
        return dict(state), {"vocabulary": arrays["vocabulary"][kept]}
    blocks, found, start = [], {}, 0
    for number, block in enumerate(state["blocks"]):
        own = kept[(kept >= block["start"]) & (kept < block["start"] + block["size"])]
        for name in (f"vocabulary.{number}", f"idf.{number}"):
            if name in arrays:
                found[name] = arrays[name][own - block["start"]]
        blocks.append({**block, "start": start, "size": len(own)})
        start += len(own)
    return {**state, "blocks": blocks}, found


def bag_matrix(texts: Sequence[str], spec: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """scipy.sparse.csr_array float32 (texts, features): the rows that `encode_text` gives."""
    from scipy.sparse import csr_array

    width = sum(block["size"] for block in spec["blocks"])
    rows, columns, values = [], [], []
    for begin, part in chunks(texts):
        letters = letters_of([plain(text, spec["lowercase"]) for text in part])
        for row, column, value in bag_rows(letters, spec, arrays):
            rows.append((row + begin).astype(np.int32))  # as scikit-learn's solvers want them
            columns.append(column.astype(np.int32))
            values.append(value.astype(np.float32))
    if not rows:
        return csr_array((len(texts), width), dtype=np.float32)
    found = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.concatenate(values), found), (len(texts), width), dtype=np.float32)


def common_tokens(texts: Sequence[str], most: int = 256) -> list[str]:
    """The commonest tokens of the texts: what generated samples are made of."""
    sample = "\n".join(texts)[:CHUNK]
    tokens = token_grams(letters_of([sample]))
    _, first, counts = np.unique(tokens.hashes, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    spans = zip(tokens.first[first[order]], tokens.last[first[order]], strict=True)
    return [sample[begin:end] for begin, end in spans]


# --- what options mean ---------------------------------------------------------------------------

#: Up to so many letters in all, runs of letters are counted, too.
_FEW_LETTERS = 2_000_000


def unfitted(options: TextOptions) -> dict[str, Any]:
    """Enough to build a network of the size that the options allow, for its cost."""
    size = options.vocabulary + FIRST if options.form == "tokens" else options.features + 1
    parts = subwords_of(options)
    return {
        "form": options.form,
        "lowercase": options.lowercase,
        "split": options.split,
        "max_length": options.max_length,
        "size": size + (count_parts(parts) if parts else 0),
        "subwords": parts,
        "blocks": [],
        "weighting": options.weighting,
    }


def blocks_of(options: TextOptions, letters: int) -> list[dict[str, Any]]:
    """The kinds of n-grams and pairs that options mean for a corpus of so many letters."""
    few, some = letters <= _FEW_LETTERS, letters <= 2 * _FEW_LETTERS
    ranges = {
        "word": "1-3" if few else "1-2",
        "char": "2-6" if few else "3-5" if some else "none",
    }
    blocks = []
    for kind, given in (("word", options.word_ngrams), ("char", options.char_ngrams)):
        found = parse_range(ranges[kind] if given == "auto" else given)
        assert found is not None, "options are checked when they are made"
        if found[1]:
            blocks.append({"kind": kind, "shortest": found[0], "longest": found[1]})
    for kind, longest in (("skip", options.skip_grams), ("opening", options.opening_words)):
        if longest:
            blocks.append({"kind": kind, "shortest": 1, "longest": longest})
    return [{**block, "bits": options.hash_bits} for block in blocks]


def subwords_of(options: TextOptions) -> dict[str, int] | None:
    """Which parts of words are told apart: {"shortest", "longest", "bits"}; None for none."""
    shortest, longest = options.parts
    if not longest or options.form != "tokens":
        return None
    return {"shortest": shortest, "longest": longest, "bits": options.subword_bits}
