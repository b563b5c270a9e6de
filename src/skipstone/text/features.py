"""Encode a text as token ids, or as a weighted bag of n-grams.

Needs numpy and the standard library only: the same functions fit a vocabulary on a corpus, encode
one text for a prediction, and run in the exported script.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from skipstone.inputs.base import FIRST, PAD, UNKNOWN
from skipstone.text.ngrams import (
    Letters,
    NGrams,
    char_ngrams,
    hash_tokens,
    normalize_text,
    opening_pairs,
    skip_grams,
    to_letters,
    word_ngrams,
)
from skipstone.text.subwords import subword_ids

#: Kinds of features of a bag: word n-grams, character n-grams, skip-grams, pairs with a text's
#: first words.
#: Bytes of one text.
MAX_TEXT_BYTES = 16 << 20
FEATURE_KINDS = ("word", "char", "skip", "opening")


def encode_text(text: str, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """The network's arrays for one text, without the batch dimension.

    {"tokens": int32 (L,) or, with subwords, (L, 1 + P)}, or {"features": int32 (F,), "values":
    float32 (F,)}.

    Args:
        text: not yet normalised.
        spec: {"text_features", "token_level", "lowercase", "max_length"}, or {"text_features", "blocks", ...}.
        arrays: the fitted vocabularies.
    """
    letters = to_letters([normalize_text(text, spec["lowercase"])])
    if spec["text_features"] == "tokens":
        return {"tokens": token_ids(text, letters, spec, arrays["vocabulary"])}
    columns, values = [], []
    for _, column, value in bag_rows(letters, spec, arrays):
        columns.append(column + 1)  # 0 is padding
        values.append(value)
    features = np.concatenate([*columns, np.zeros(1, np.int64)]).astype(np.int32)
    return {
        "features": features,
        "values": np.concatenate([*values, np.zeros(1)]).astype(np.float32),
    }


def token_ids(
    text: str, letters: Letters, spec: Mapping[str, Any], vocabulary: np.ndarray
) -> np.ndarray:
    """int32 (L,): ids of a text's tokens; with subwords (L, 1 + P): each token's id, then its
    subwords', which follow the vocabulary's ids and are padded with 0."""
    tokens = hash_tokens(letters, level=spec["token_level"])
    most = spec["max_length"]
    ids = lookup_indices(tokens.hashes[:most], vocabulary, missing=UNKNOWN - FIRST) + FIRST
    if not len(ids):
        ids = np.array([UNKNOWN])
    if spec.get("subwords"):
        first, last = tokens.first[:most], tokens.last[:most]
        parts = subword_ids(letters, _capitals(text, letters), first, last, spec["subwords"])
        part_ids = np.zeros((len(ids), parts.shape[1]), np.int64)  # an empty text has one token
        part_ids[: len(parts)] = np.where(parts < 0, PAD, parts + FIRST + len(vocabulary))
        ids = np.concatenate([ids[:, None], part_ids], axis=1)
    return ids.astype(np.int32)


def _capitals(text: str, letters: Letters) -> np.ndarray:
    """bool (L,): whether lowercasing changed each letter; all False if it changed their number
    ("\u0130" becomes two)."""
    written = to_letters([normalize_text(text, False)]).points
    if len(written) != len(letters.points):
        return np.zeros(len(letters.points), bool)
    return np.asarray(written != letters.points)


def lookup_indices(hashes: np.ndarray, vocabulary: np.ndarray, *, missing: int) -> np.ndarray:
    """int64: the index of each hash in a sorted vocabulary, or `missing`."""
    if not len(vocabulary):
        return np.full(len(hashes), missing, np.int64)
    at = np.searchsorted(vocabulary, hashes)
    at[at == len(vocabulary)] = 0
    return np.where(vocabulary[at] == hashes, at, missing)


def block_ngrams(letters: Letters, block: Mapping[str, Any]) -> list[NGrams]:
    """The n-grams of a block: {"kind": one of `FEATURE_KINDS`, "shortest", "longest"}."""
    kind, shortest, longest = block["kind"], block["shortest"], block["longest"]
    if kind == "char":
        return char_ngrams(letters, shortest, longest)
    tokens = hash_tokens(letters)
    if kind == "skip":
        return skip_grams(tokens, letters.count, longest)[shortest - 1 :]
    if kind == "opening":
        return opening_pairs(tokens, longest)[shortest - 1 :]
    return word_ngrams(tokens, longest)[shortest - 1 :]


def bag_rows(
    letters: Letters, spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(text, column, value), one triple of arrays per block: sorted, each pair once.

    Values are counts, weighted by `weighting` and scaled to length 1 for each text and block. A
    block's columns begin at its `start`.
    """
    rows = []
    for number, block in enumerate(spec["blocks"]):
        grams = block_ngrams(letters, block)
        hashes = np.concatenate([part.hashes for part in grams]) if grams else _NOTHING
        text = np.concatenate([part.text for part in grams]) if grams else _NOTHING
        column = feature_columns(hashes, block, arrays.get(f"vocabulary.{number}", _NOTHING))
        text, column, counts = count_pairs(text, column, block["size"])
        value = apply_weighting(counts, spec["weighting"])
        if f"idf.{number}" in arrays:
            value = value * arrays[f"idf.{number}"][column]
        length = np.sqrt(np.bincount(text, value * value, letters.count))
        value = value / np.maximum(length, 1e-12)[text]
        rows.append((text, column + block["start"], value))
    return rows


_NOTHING = np.zeros(0, np.uint64)


def feature_columns(
    hashes: np.ndarray, block: Mapping[str, Any], vocabulary: np.ndarray
) -> np.ndarray:
    """Columns of n-grams; -1 if out of vocabulary, which hashed ones never are."""
    if block["bits"]:
        return (hashes >> np.uint64(64 - block["bits"])).astype(np.int64)
    return lookup_indices(hashes, vocabulary, missing=-1)


def count_pairs(
    text: np.ndarray, column: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (text, column) pairs in order, and the count of each; without columns of -1."""
    known = column >= 0
    keys, counts = np.unique(
        text[known].astype(np.int64) * max(size, 1) + column[known], return_counts=True
    )
    return keys // max(size, 1), keys % max(size, 1), counts


def apply_weighting(counts: np.ndarray, weighting: str) -> np.ndarray:
    """Values for counts: the counts, 1 (binary), or 1 + log count (tfidf)."""
    if weighting == "binary":
        return np.ones(len(counts))
    return 1 + np.log(counts) if weighting == "tfidf" else counts.astype(np.float64)


# --- the exported script ------------------------------------------------------------------------


def pack_array(array: np.ndarray) -> dict[str, str]:
    """An array as JSON."""
    return {"type": array.dtype.str, "data": base64.b64encode(array.tobytes()).decode()}


def decode_text(data: bytes, spec: Any) -> Any:
    """A file's bytes to the network's arrays. Raises ValueError with the reason."""
    arrays = {
        name: np.frombuffer(base64.b64decode(value["data"]), value["type"])
        for name, value in spec["arrays"].items()
    }
    return encode_text(decode_utf8(data), spec, arrays)


def decode_utf8(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 with its byte order mark. Raises ValueError with the line, or for a
    text of more than MAX_TEXT_BYTES: each of its words takes many times its own size."""
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"{len(data):,} bytes are more than a text may have ({MAX_TEXT_BYTES:,})")
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        what = f"0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        if (
            data[error.start] == 0xED
            and b"\xa0" <= data[error.start + 1 : error.start + 2] < b"\xc0"
        ):
            what = "half a letter, whose other half is missing"  # a surrogate, as JSON escapes it
        raise ValueError(f"line {line}, byte {error.start - start + 1}: {what}") from None
