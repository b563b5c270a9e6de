"""The input `text`: UTF-8 to token ids, or to a weighted bag of n-grams.

file bytes --decode--> plain text --text_features.py--> {"tokens": (L,)} or {"features", "values"}

With subwords, tokens are (L, 1 + P): subwords.py.

Arrays differ in length as texts do; batches are padded to the longest (`ragged`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from skipstone.core.errors import DamagedError, DataError, Refusal, UsageError
from skipstone.data.sources import Source, read_source
from skipstone.inputs.base import (
    FIRST,
    PAD,
    UNKNOWN,
    Array,
    DecodedSample,
    DynamicAxis,
    FeatureSpec,
    FitPart,
    Input,
    KnownWords,
)
from skipstone.text.bpe import BpeTokenizer, read_tokenizer, train_bpe
from skipstone.text.features import decode_utf8, encode_text, pack_array
from skipstone.text.fit_vocabulary import (
    SMALL_CORPUS,
    build_bag_vocabularies,
    build_vocabulary,
    choose_ngram_blocks,
    common_tokens,
    count_longer_texts,
    find_known_words,
    make_bag_matrix,
    make_unfitted_state,
    restrict_state,
    subword_settings,
)
from skipstone.text.fold_features import count_ngrams, fit_bag
from skipstone.text.goldens import make_golden_texts
from skipstone.text.ngrams import normalize_text
from skipstone.text.options import TextOptions
from skipstone.text.state_checks import validate_ids, validate_state
from skipstone.text.subwords import MAX_SUBWORDS, count_subword_ids
from skipstone.text.token_spans import split_into_spans

#: Bytes of the cache of encoded texts, which every epoch needs again.
_CACHE_BYTES = 256 << 20
#: What Python adds to a cache entry.
_ENTRY_BYTES = 1 << 10
_EXAMPLE_LENGTH = 9  # tokens of an example for tracing


class TextInput(Input):
    """Texts as sequences of token ids, or as bags of n-grams.

    Args:
        options: text features, vocabulary, n-grams.
        get_state: the fitted state, JSON-able.
        arrays: vocabularies (sorted hashes of tokens or n-grams) and their idf.

    Raises:
        DamagedError: the arrays do not match the state.
    """

    def __init__(
        self,
        options: TextOptions,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        self.options = options
        self._arrays = dict(arrays or {})
        self._state = make_unfitted_state(options) if state is None else dict(state)
        if state is not None and hash_arrays(self._arrays) != self._state.get("digest"):
            raise DamagedError("the vocabulary is not the one that this text input was made with.")
        if state is not None:
            validate_state(self._state, self._arrays)
        max_length = self._state["max_length"] if "pairs" in self._arrays else 0
        self._tokenizer = (
            BpeTokenizer(self._arrays["pairs"], max_length=max_length) if max_length else None
        )
        if self._tokenizer is not None:
            validate_ids(self._tokenizer.max_id, int(self._state["size"]))
        self._cache: dict[bytes, dict[str, Array]] = {}
        self._free_bytes = _CACHE_BYTES

    @property
    def ragged_arrays(self) -> frozenset[str]:
        return frozenset(self.make_example(1))

    @property
    def dynamic_axes(self) -> dict[str, dict[int, DynamicAxis]]:
        is_sequence = self._text_features() == "tokens"
        longest = max(int(self._state["max_length"]), _EXAMPLE_LENGTH) if is_sequence else None
        return {name: {1: DynamicAxis("length", max_size=longest)} for name in self.ragged_arrays}

    @property
    def fit_notes(self) -> list[str]:
        """A warning if training texts are truncated."""
        truncated, max_length = self._state.get("cut", 0), self._state.get("max_length")
        if not truncated:
            return []
        return [
            f"{truncated:,} of {self._state['texts']:,} training texts are longer than "
            f"{max_length} tokens and are truncated there (--max-length)."
        ]

    def fit(self, sources: Sequence[Source]) -> TextInput:
        """An input with the vocabulary of `sources`, the training rows."""
        texts = [text for text in self._readable(sources) if text is not None]
        if not texts:
            raise DataError("fitting the text input needs texts, but got none.")
        lengths = np.array([len(text) for text in texts])
        state: dict[str, Any] = {
            "text_features": self.options.text_features,
            "lowercase": self.options.lowercase,
            "texts": len(texts),
            "letters": int(lengths.sum()),
            "typical_length": int(np.median(lengths)),
            "common": common_tokens(texts),
        }
        arrays: dict[str, Array] = {}
        if self.options.text_features == "tokens":
            arrays, size = self._fit_tokens(texts)
            state |= {
                "token_level": self.options.token_level,
                "max_length": self.options.max_length,
            }
            state |= {"size": size + FIRST, "foreign": bool(self.options.tokenizer)}
            if subwords := subword_settings(self.options):
                state |= {"subwords": subwords, "size": state["size"] + count_subword_ids(subwords)}
            state["cut"] = self._count_truncated(texts, arrays)
        elif self.options.text_features == "bag":
            state["blocks"], arrays = build_bag_vocabularies(
                self._plain(texts),
                choose_ngram_blocks(self.options, state["letters"]),
                max_count=self.options.max_features,
                min_texts=self.options.min_count,
                idf=self.options.weighting == "tfidf",
            )
            state["weighting"] = self.options.weighting
            state["size"] = sum(block["size"] for block in state["blocks"]) + 1
        # a bundle holds the tokenizer, and must not reveal the user's folders
        options = replace(self.options, tokenizer=Path(self.options.tokenizer).name)
        return TextInput(options, {**state, "digest": hash_arrays(arrays)}, arrays)

    def _fit_tokens(self, texts: Sequence[str]) -> tuple[dict[str, Array], int]:
        """The vocabulary's arrays, and how many tokens it has."""
        if self.options.tokenizer:
            stored = read_tokenizer(Path(self.options.tokenizer).expanduser())
            return {"pairs": stored}, BpeTokenizer(stored, max_length=1).max_id + 1
        texts = self._plain(texts)
        most, least = self.options.vocabulary, self.options.min_count
        if self.options.token_level == "bpe":
            stored = train_bpe(texts, max_tokens=most, min_count=least)
            return {"pairs": stored}, len(BpeTokenizer(stored, max_length=1))
        vocabulary = build_vocabulary(
            texts, level=self.options.token_level, max_count=most, min_texts=least
        )
        return {"vocabulary": vocabulary}, len(vocabulary)

    def _count_truncated(self, texts: Sequence[str], arrays: Mapping[str, Array]) -> int:
        """How many texts are longer than `max_length` tokens."""
        max_length = self.options.max_length
        if self.options.tokenizer:
            return BpeTokenizer(arrays["pairs"], max_length=max_length).count_truncated(texts)
        if "pairs" in arrays:
            return BpeTokenizer(arrays["pairs"], max_length=max_length).count_truncated(
                self._plain(texts)
            )
        return count_longer_texts(
            self._plain(texts), level=self.options.token_level, max_length=max_length
        )

    @property
    def decode_spec(self) -> dict[str, Any] | None:
        """Settings of `text_features.decode_text`; None with a tokenizer, which it lacks."""
        if "pairs" in self._arrays:
            return None
        names = (
            "text_features",
            "lowercase",
            "token_level",
            "max_length",
            "subwords",
            "blocks",
            "weighting",
        )
        spec = {name: self._state[name] for name in names if name in self._state}
        return {**spec, "arrays": {name: pack_array(value) for name, value in self._arrays.items()}}

    def feature_spec(self) -> FeatureSpec:
        return FeatureSpec(self._text_features(), int(self._state["size"]))

    def decode(self, source: Source) -> DecodedSample:
        """The record holds the text's UTF-8 bytes; `size` is its number of letters."""
        text = self._text(source)
        return DecodedSample(np.frombuffer(text.encode(), np.uint8), (len(text),))

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        data = raw.value.tobytes()
        arrays = self._cache.get(data)
        if arrays is None:
            arrays = self._encode_text(data)
            size = len(data) + sum(array.nbytes for array in arrays.values()) + _ENTRY_BYTES
            if not raw.is_augmented and size <= self._free_bytes:
                self._free_bytes -= size  # two threads may both subtract: the cache holds less then
                self._cache[data] = arrays
        return dict(arrays)

    @property
    def standalone_decoder(self) -> str | None:
        """None with a tokenizer: the script does not contain its library."""
        return None if "pairs" in self._arrays else "skipstone.text.features:decode_text"

    def split_tokens(self, source: Source) -> tuple[list[str], list[int]]:
        """Substrings that make up the text, and the indices of those that are tokens."""
        return split_into_spans(self._text(source))

    def make_feature_matrix(self, sources: Sequence[Source]) -> tuple[Any, list[int]]:
        """Bags of many texts: scipy.sparse.csr_array (rows, features), and the indices of the
        readable sources, one per row."""
        texts = self._readable(sources)
        rows = [row for row, text in enumerate(texts) if text is not None]
        readable = [text for text in texts if text is not None]
        return make_bag_matrix(readable, self._state, self._arrays), rows

    def prepare_folds(self, sources: Sequence[Source], shared: dict[str, Any]) -> FitPart | None:
        """See `inputs.base.FoldFeatures`; None where counting all n-grams at once takes too much
        memory, and for hashed n-grams."""
        texts = [text for text in self._readable(sources) if text is not None]
        lengths = np.array([len(text) for text in texts])
        if self.options.hash_bits or lengths.sum() > SMALL_CORPUS or len(texts) < len(sources):
            return None
        blocks = choose_ngram_blocks(self.options, int(lengths.sum()))
        plain = self._plain(texts)
        counted = count_ngrams(plain, blocks, shared.setdefault(str(self.options.lowercase), {}))

        def fit_part(rows: Array) -> tuple[TextInput, Any]:
            weighting = self.options.weighting
            fitted, arrays, matrix = fit_bag(
                *(counted, blocks, rows, len(texts)),
                max_count=self.options.max_features,
                min_texts=self.options.min_count,
                weighting=weighting,
            )
            size = matrix.shape[1] + 1
            state = {**self._state, "blocks": fitted, "size": size, "digest": hash_arrays(arrays)}
            return TextInput(self.options, state, arrays), matrix

        return fit_part

    @property
    def feature_groups(self) -> tuple[slice, ...]:
        """Column ranges of `make_feature_matrix`, one per kind of n-gram: words, letters, pairs."""
        blocks = self._state.get("blocks", ())
        return tuple(slice(block["start"], block["start"] + block["size"]) for block in blocks)

    def find_known_words(self, sources: Sequence[Source]) -> KnownWords:
        """The vocabulary as `sources`, its training rows, write it.

        Raises:
            UsageError: the vocabulary does not hold words.
        """
        if self._text_features() == "tokens":
            if self._state["token_level"] != "word":
                raise UsageError(
                    f"with --token-level {self._state['token_level']} tokens are not words.",
                    hint="Use --token-level word.",
                )
            vocabulary, first, unknown = self._arrays["vocabulary"], FIRST, UNKNOWN
        else:
            number = next((at for at, b in enumerate(self._state["blocks"]) if _has_words(b)), None)
            if number is None:
                raise UsageError(
                    "with --hash-bits, or without n-grams of one word, no feature stands for one "
                    "word.",
                    hint="Use --hash-bits 0 and --word-ngrams 1-2.",
                )
            vocabulary = self._arrays[f"vocabulary.{number}"]
            first, unknown = self._state["blocks"][number]["start"] + 1, None  # 0 is padding
        texts = [text for text in self._readable(sources) if text is not None]
        known, at = find_known_words(self._plain(texts), vocabulary)
        return KnownWords(known, at + first, unknown)

    @property
    def unknown_id(self) -> int:
        """The id of out-of-vocabulary tokens; a bag leaves them out (padding)."""
        return UNKNOWN if self._text_features() == "tokens" else PAD

    def removable_ids(self) -> range:
        """The ids that `restrict_vocabulary` can remove.

        Raises:
            Refusal: byte pairs, which depend on each other, and hashed n-grams.
        """
        if self._tokenizer is not None:
            raise Refusal(
                "byte pairs and other subword tokens depend on each other, so this vocabulary "
                "cannot lose any of them.",
                hint="Train with fewer: --token-level bpe --vocabulary N, or with --token-level word.",
            )
        if any(block["bits"] for block in self._state.get("blocks", ())):
            raise Refusal(
                "hashed n-grams have no vocabulary to make smaller.",
                hint="Train with fewer --hash-bits, or without.",
            )
        return range(self.unknown_id + 1, int(self._state["size"]) - self._subword_count)

    @property
    def _subword_count(self) -> int:
        """Number of subword ids, which follow those of the vocabulary."""
        subwords = self._state.get("subwords")
        return count_subword_ids(subwords) if subwords else 0

    def restrict_vocabulary(self, kept_ids: Array) -> TextInput:
        """The input with the entries `kept_ids` only: ids of `removable_ids()`, ascending."""
        ids = self.removable_ids()
        assert ids.start <= kept_ids[0] <= kept_ids[-1] < ids.stop
        state, arrays = restrict_state(self._state, self._arrays, kept_ids - ids.start)
        size = ids.start + len(kept_ids) + self._subword_count
        state |= {"size": size, "digest": hash_arrays(arrays)}
        return TextInput(self.options, state, arrays)

    def preprocessing_module(self) -> nn.Module:
        return TextPreprocessing(self._text_features())

    def make_example(self, batch: int) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        size, shape = int(self._state["size"]), (batch, _EXAMPLE_LENGTH)
        if self._text_features() == "tokens":
            token_shape = (*shape, 1 + MAX_SUBWORDS) if self._subword_count else shape
            return {"tokens": rng.integers(1, max(size, 2), token_shape).astype(np.int32)}
        features = rng.integers(1, max(size, 2), shape).astype(np.int32)
        return {"features": features, "values": rng.random(shape, np.float32)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        return make_golden_texts(count, self._state.get("common", ()))

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        return dict(self._state), dict(self._arrays)

    def _text_features(self) -> str:
        features = str(self._state["text_features"])
        if features == "auto":
            raise UsageError(
                "text_features is still auto: the model decides whether texts become sequences "
                "of tokens or bags of n-grams.",
                hint="Set it: --text-features tokens or --text-features bag",
            )
        return features

    def _encode_text(self, data: bytes) -> dict[str, Array]:
        if self._tokenizer is not None:
            text = data.decode()
            if not self._state.get("foreign"):  # a model's own tokenizer normalises by itself
                text = normalize_text(text, self._state["lowercase"])
            ids = (self._tokenizer.encode_ids(text) + FIRST).astype(np.int32)
            return {"tokens": ids if len(ids) else np.array([UNKNOWN], np.int32)}
        arrays: dict[str, Array] = encode_text(data.decode(), self._state, self._arrays)
        return arrays

    def _text(self, source: Source) -> str:
        data = read_source(source)
        if not isinstance(data, bytes):
            raise DataError(f"{source.name}: an array of numbers, not a text.")
        try:
            return decode_utf8(data)
        except ValueError as error:
            raise DataError(f"{source.name}, {error}.") from error

    def _readable(self, sources: Sequence[Source]) -> list[str | None]:
        """The text of each source; None for an unreadable one."""
        texts: list[str | None] = []
        for source in sources:
            try:
                texts.append(self._text(source))
            except DataError:
                texts.append(None)
        return texts

    def _plain(self, texts: Sequence[str]) -> list[str]:
        return [normalize_text(text, self.options.lowercase) for text in texts]


class TextPreprocessing(nn.Module):
    """dict of arrays -> what a backbone takes: token ids (N, L), or the pair of features (N, F)
    and their values (N, F)."""

    def __init__(self, features: str) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: dict[str, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        return x["tokens"] if self.features == "tokens" else (x["features"], x["values"])

    def extra_repr(self) -> str:
        return self.features


def _has_words(block: Mapping[str, Any]) -> bool:
    return block["kind"] == "word" and block["shortest"] == 1 and not block["bits"]


def hash_arrays(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of arrays by name, type, shape and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
