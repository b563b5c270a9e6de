"""The input `text`: UTF-8 to token ids, or to a weighted bag of n-grams.

file bytes --decode--> plain text --text_features.py--> {"tokens": (L,)} or {"features", "values"}

With the parts of words, tokens are (L, 1 + P): subwords.py.

Texts differ in length, so its arrays do: batches are padded to their longest (`ragged`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from skipstone.data.sources import Source, read_source
from skipstone.errors import DamagedError, DataError, Refusal, UsageError
from skipstone.inputs.base import Array, Emits, FreeAxis, Raw
from skipstone.inputs.subwords import MOST_PARTS, count_parts
from skipstone.inputs.text_check import check_ids, check_state
from skipstone.inputs.text_features import FIRST, PAD, UNKNOWN, encode_text, packed, text_of
from skipstone.inputs.text_fit import (
    KnownWords,
    bag_matrix,
    blocks_of,
    common_tokens,
    fit_bag,
    fit_tokens,
    longer,
    narrow,
    subwords_of,
    unfitted,
    words_known,
)
from skipstone.inputs.text_golden import golden_texts
from skipstone.inputs.text_grams import plain
from skipstone.inputs.text_options import TextOptions
from skipstone.inputs.text_pairs import Pairs, learn_pairs, read_tokenizer
from skipstone.inputs.text_pieces import pieces_of

#: Bytes of texts and what was made of them that are kept: epochs see the same ones again.
_REMEMBERED = 256 << 20
#: What Python adds to an entry.
_ENTRY = 1 << 10
_EXAMPLE = 9  # tokens of an example for tracing


class TextInput:
    """Texts as sequences of token ids, or as bags of n-grams.

    Args:
        options: form, vocabulary, n-grams.
        state: what `fit` found, JSON-able.
        arrays: vocabularies: sorted hashes of tokens or n-grams, and their idf.

    Raises:
        DamagedError: the arrays are not those that the state was stored with.
    """

    def __init__(
        self,
        options: TextOptions,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        self.options = options
        self._arrays = dict(arrays or {})
        self._state = unfitted(options) if state is None else dict(state)
        if state is not None and digest_of_arrays(self._arrays) != self._state.get("digest"):
            raise DamagedError("the vocabulary is not the one that this text input was made with.")
        if state is not None:
            check_state(self._state, self._arrays)
        most = self._state["max_length"] if "pairs" in self._arrays else 0
        self._pairs = Pairs(self._arrays["pairs"], most=most) if most else None
        if self._pairs is not None:
            check_ids(self._pairs.largest, int(self._state["size"]))
        self._remembered: dict[bytes, dict[str, Array]] = {}
        self._room = _REMEMBERED

    @property
    def ragged(self) -> frozenset[str]:
        return frozenset(self.example(1))

    @property
    def free_axes(self) -> dict[str, dict[int, FreeAxis]]:
        """The axes, beside the batch, that have any size, for export."""
        sequence = self._form() == "tokens"
        most = max(int(self._state["max_length"]), _EXAMPLE) if sequence else None
        return {name: {1: FreeAxis("length", most=most)} for name in self.ragged}

    @property
    def notes(self) -> list[str]:
        """What a person should know of how the training texts are read, a sentence each."""
        cut, most = self._state.get("cut", 0), self._state.get("max_length")
        if not cut:
            return []
        return [
            f"{cut:,} of {self._state['texts']:,} training texts are longer than {most} tokens and "
            "are read up to there (--max-length)."
        ]

    def fit(self, sources: Sequence[Source]) -> TextInput:
        """An input whose vocabulary is that of `sources`, the fit split."""
        texts = [text for text in self._readable(sources) if text is not None]
        if not texts:
            raise DataError("there are no texts to fit the text input on.")
        lengths = np.array([len(text) for text in texts])
        state: dict[str, Any] = {
            "form": self.options.form,
            "lowercase": self.options.lowercase,
            "texts": len(texts),
            "letters": int(lengths.sum()),
            "typical_length": int(np.median(lengths)),
            "common": common_tokens(texts),
        }
        arrays: dict[str, Array] = {}
        if self.options.form == "tokens":
            arrays, size = self._fit_tokens(texts)
            state |= {"split": self.options.split, "max_length": self.options.max_length}
            state |= {"size": size + FIRST, "foreign": bool(self.options.tokenizer)}
            if parts := subwords_of(self.options):
                state |= {"subwords": parts, "size": state["size"] + count_parts(parts)}
            state["cut"] = self._cut(texts, arrays)
        elif self.options.form == "bag":
            state["blocks"], arrays = fit_bag(
                self._plain(texts),
                blocks_of(self.options, state["letters"]),
                most=self.options.features,
                least=self.options.min_count,
                idf=self.options.weighting == "tfidf",
            )
            state["weighting"] = self.options.weighting
            state["size"] = sum(block["size"] for block in state["blocks"]) + 1
        # where the tokenizer lay is nobody's business in a bundle, which holds it
        options = replace(self.options, tokenizer=Path(self.options.tokenizer).name)
        return TextInput(options, {**state, "digest": digest_of_arrays(arrays)}, arrays)

    def _fit_tokens(self, texts: Sequence[str]) -> tuple[dict[str, Array], int]:
        """The vocabulary's arrays, and how many tokens it has."""
        if self.options.tokenizer:
            pairs = read_tokenizer(Path(self.options.tokenizer).expanduser())
            return {"pairs": pairs}, Pairs(pairs, most=1).largest + 1
        texts = self._plain(texts)
        most, least = self.options.vocabulary, self.options.min_count
        if self.options.split == "bpe":
            pairs = learn_pairs(texts, most=most, least=least)
            return {"pairs": pairs}, len(Pairs(pairs, most=1))
        found = fit_tokens(texts, split=self.options.split, most=most, least=least)
        return {"vocabulary": found}, len(found)

    def _cut(self, texts: Sequence[str], arrays: Mapping[str, Array]) -> int:
        """How many texts are longer than what is read of them."""
        most = self.options.max_length
        if self.options.tokenizer:
            return Pairs(arrays["pairs"], most=most).cut(texts)
        if "pairs" in arrays:
            return Pairs(arrays["pairs"], most=most).cut(self._plain(texts))
        return longer(self._plain(texts), split=self.options.split, most=most)

    @property
    def spec(self) -> dict[str, Any] | None:
        """What `text_features.decode_text` needs, as JSON; None where it cannot do it alone."""
        if "pairs" in self._arrays:
            return None
        facts = ("form", "lowercase", "split", "max_length", "subwords", "blocks", "weighting")
        spec = {name: self._state[name] for name in facts if name in self._state}
        return {**spec, "arrays": {name: packed(value) for name, value in self._arrays.items()}}

    def emits(self) -> Emits:
        return Emits(self._form(), int(self._state["size"]))

    def decode(self, source: Source) -> Raw:
        """The record is the text's UTF-8 bytes; `size` its number of letters."""
        text = self._text(source)
        return Raw(np.frombuffer(text.encode(), np.uint8), (len(text),))

    def encode(self, raw: Raw) -> dict[str, Array]:
        data = raw.value.tobytes()
        found = self._remembered.get(data)
        if found is None:
            found = self._encode_text(data)
            size = len(data) + sum(array.nbytes for array in found.values()) + _ENTRY
            if not raw.once and size <= self._room:
                self._room -= size  # two threads may count one text twice: less is kept then
                self._remembered[data] = found
        return dict(found)

    @property
    def standalone(self) -> str | None:
        """The function that decodes in the exported script; it has no byte pairs."""
        return None if "pairs" in self._arrays else "skipstone.inputs.text_features:decode_text"

    def pieces(self, source: Source) -> tuple[list[str], list[int]]:
        """A text in pieces that make it up, and which of them are words or signs."""
        return pieces_of(self._text(source))

    def matrix(self, sources: Sequence[Source]) -> tuple[Any, list[int]]:
        """Bags of many texts at once: scipy.sparse.csr_array (rows, features), and the places of
        the sources that could be read, one a row."""
        texts = self._readable(sources)
        rows = [row for row, text in enumerate(texts) if text is not None]
        found = [text for text in texts if text is not None]
        return bag_matrix(found, self._state, self._arrays), rows

    @property
    def kinds(self) -> tuple[slice, ...]:
        """Columns of `matrix` by the kind of their n-grams: words, letters, pairs."""
        return tuple(
            slice(block["start"], block["start"] + block["size"]) for block in self._state["blocks"]
        )

    def words(self, sources: Sequence[Source]) -> KnownWords:
        """The words that this input knows, as `sources`, which it was fitted on, write them.

        Raises:
            UsageError: what it knows are no words.
        """
        if self._form() == "tokens":
            if self._state["split"] != "word":
                raise UsageError(
                    f"with --split {self._state['split']} a text is no row of words.",
                    hint="Use --split word.",
                )
            vocabulary, first, unknown = self._arrays["vocabulary"], FIRST, UNKNOWN
        else:
            number = next((at for at, b in enumerate(self._state["blocks"]) if _has_words(b)), None)
            if number is None:
                raise UsageError(
                    "by --hash-bits, or without runs of one word, no feature of a text is a word "
                    "that is known by itself.",
                    hint="Use --hash-bits 0 and --word-ngrams 1-2.",
                )
            vocabulary = self._arrays[f"vocabulary.{number}"]
            first, unknown = self._state["blocks"][number]["start"] + 1, None  # 0 is padding
        texts = [text for text in self._readable(sources) if text is not None]
        known, at = words_known(self._plain(texts), vocabulary)
        return KnownWords(known, at + first, unknown)

    @property
    def missing(self) -> int:
        """Of a sequence the id of a token never seen; a bag has no place for one."""
        return UNKNOWN if self._form() == "tokens" else PAD

    def entries(self) -> range:
        """Ids that `narrowed` can take away.

        Raises:
            Refusal: byte pairs, which are made of each other, and hashed n-grams.
        """
        if self._pairs is not None:
            raise Refusal(
                "byte pairs and other parts of words are made of each other, so none can be taken "
                "out of this vocabulary.",
                hint="Train with fewer: --split bpe --vocabulary N, or with --split word.",
            )
        if any(block["bits"] for block in self._state.get("blocks", ())):
            raise Refusal(
                "hashed n-grams have no vocabulary that could be made smaller.",
                hint="Train with fewer --hash-bits, or without.",
            )
        return range(self.missing + 1, int(self._state["size"]) - self._parts)

    @property
    def _parts(self) -> int:
        """Ids of parts of words, which come behind those of the vocabulary."""
        parts = self._state.get("subwords")
        return count_parts(parts) if parts else 0

    def narrowed(self, kept: Array) -> TextInput:
        """The input that knows only the entries `kept`: ids of `entries()`, ascending."""
        known = self.entries()
        assert known.start <= kept[0] <= kept[-1] < known.stop
        state, arrays = narrow(self._state, self._arrays, kept - known.start)
        size = known.start + len(kept) + self._parts
        state |= {"size": size, "digest": digest_of_arrays(arrays)}
        return TextInput(self.options, state, arrays)

    def front(self) -> nn.Module:
        return TextFront(self._form())

    def example(self, batch: int) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        size, shape = int(self._state["size"]), (batch, _EXAMPLE)
        if self._form() == "tokens":
            places = (*shape, 1 + MOST_PARTS) if self._parts else shape
            return {"tokens": rng.integers(1, max(size, 2), places).astype(np.int32)}
        features = rng.integers(1, max(size, 2), shape).astype(np.int32)
        return {"features": features, "values": rng.random(shape, np.float32)}

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        return golden_texts(count, self._state.get("common", ()))

    def state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        return dict(self._state), dict(self._arrays)

    def _form(self) -> str:
        form = str(self._state["form"])
        if form == "auto":
            raise UsageError(
                "the text input has no form yet: a model decides whether it is a sequence of "
                "tokens or a bag of n-grams.",
                hint="Say so: --form tokens or --form bag",
            )
        return form

    def _encode_text(self, data: bytes) -> dict[str, Array]:
        if self._pairs is not None:
            text = data.decode()
            if not self._state.get("foreign"):  # one that came with a model does this itself
                text = plain(text, self._state["lowercase"])
            ids = (self._pairs.ids(text) + FIRST).astype(np.int32)
            return {"tokens": ids if len(ids) else np.array([UNKNOWN], np.int32)}
        found: dict[str, Array] = encode_text(data.decode(), self._state, self._arrays)
        return found

    def _text(self, source: Source) -> str:
        data = read_source(source)
        if not isinstance(data, bytes):
            raise DataError(f"{source.name}: an array of numbers is no text.")
        try:
            return text_of(data)
        except ValueError as error:
            raise DataError(f"{source.name}, {error}.") from error

    def _readable(self, sources: Sequence[Source]) -> list[str | None]:
        found: list[str | None] = []
        for source in sources:
            try:
                found.append(self._text(source))
            except DataError:
                found.append(None)
        return found

    def _plain(self, texts: Sequence[str]) -> list[str]:
        return [plain(text, self.options.lowercase) for text in texts]


class TextFront(nn.Module):
    """The network's arrays as a backbone takes them: token ids (N, L), or the pair of features
    (N, F) and their values (N, F)."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: dict[str, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        return x["tokens"] if self.form == "tokens" else (x["features"], x["values"])

    def extra_repr(self) -> str:
        return self.form


def _has_words(block: Mapping[str, Any]) -> bool:
    return block["kind"] == "word" and block["shortest"] == 1 and not block["bits"]


def digest_of_arrays(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of arrays by name, type and values."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        found.update(value.tobytes())
    return found.hexdigest()
