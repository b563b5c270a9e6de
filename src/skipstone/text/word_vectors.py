"""Initialises a network's embedding with word vectors from a file.

The trained model holds the vectors itself and does not need the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.core.specs import BackboneSpec
from skipstone.data.sources import Source
from skipstone.inputs.base import Input, KnownWords, WordVocabulary
from skipstone.models.network import Network
from skipstone.models.text_backbone_options import VectorOptions
from skipstone.text.vector_files import FileVectors, detect_vector_format, read_vectors
from skipstone.text.vector_filter import BY_SUBWORDS, MISSING, OTHER_CASE, VectorFilter


@dataclass(frozen=True)
class WordVectors:
    """Pretrained vectors for the words of an input's vocabulary.

    Args:
        vocabulary: the words, and the embedding's row of each.
        matches: their vectors in the file.
        frozen: whether the embedding is not trained.
    """

    path: Path
    vocabulary: KnownWords
    matches: FileVectors
    frozen: bool

    def fill_embedding(self, network: Network, module: str, *, seed: int) -> None:
        """Copy them into the embedding `module` of the network's backbone.

        Words that the file lacks and the unknown word are drawn uniformly from [-a, a], where a
        gives the variance of the file's vectors (Kim 2014, section 4.3). Other rows, such as word
        n-grams, keep their initial values; if frozen they are zero.
        """
        embedding = network.backbone.get_submodule(module)
        assert isinstance(embedding, nn.Embedding)
        in_file = self.matches.match_kinds != MISSING
        bound = float(np.sqrt(3 * self.matches.vectors[in_file].var()))
        rng = np.random.default_rng([seed, 1408, 5882])
        weight = embedding.weight.detach().numpy().copy()
        if self.frozen:
            weight[:] = 0
        unknown = [] if self.vocabulary.unknown_id is None else [self.vocabulary.unknown_id]
        missing = np.concatenate([np.array(unknown, np.int64), self.vocabulary.ids[~in_file]])
        weight[missing] = rng.uniform(-bound, bound, (len(missing), weight.shape[1]))
        weight[self.vocabulary.ids[in_file]] = self.matches.vectors[in_file]
        with torch.no_grad():
            embedding.weight.copy_(torch.from_numpy(weight))
        if self.frozen:
            network.fixed = frozenset({f"backbone.{module}.weight"})

    def __str__(self) -> str:
        """How many words the file has, and how the others are initialised."""
        how, form = self.matches.match_kinds, self.matches.form
        total, missing = len(how), int((how == MISSING).sum())
        details = [
            f"{count:,} {words}"
            for count, words in (
                (int((how == OTHER_CASE).sum()), "with other letter case"),
                (int((how == BY_SUBWORDS).sum()), "from subwords"),
            )
            if count
        ]
        text = f"vectors: {total - missing:,} of {total:,} words found in {self.path.name}"
        text += f" ({form.name}, {self.matches.rows:,} x {form.dimension}"
        text += f"; {', '.join(details)})" if details else ")"
        if missing:
            text += f"; the other {missing:,} start at random with the same variance"
        if self.matches.truncated_words:
            text += f"; {self.matches.truncated_words:,} truncated words of the file are ignored"
        return text + ("; the vectors are not trained." if self.frozen else ".")

    def to_json(self) -> dict[str, Any]:
        """JSON that identifies them in a run's configuration."""
        return {"file": str(self.path.resolve()), "frozen": self.frozen}

    def to_lineage(self) -> dict[str, Any]:
        """JSON for the lineage of a bundle."""
        return {
            **self.to_json(),
            "sha256": self.matches.sha256,
            "form": self.matches.form.name,
            "words": len(self.matches.match_kinds),
            "found": int((self.matches.match_kinds != MISSING).sum()),
        }


def embedding_size_option(
    options: VectorOptions, entry: BackboneSpec, user_options: Mapping[str, Any], *, weights: str
) -> dict[str, Any]:
    """The option that sets the size of the backbone's embedding, from the file's dimension.

    Empty without a file.

    Args:
        user_options: the backbone's options that the user set.
        weights: initial weights of the network, or "none".

    Raises:
        UsageError: the backbone has no word vectors, its weights bring their own, or the user set
            another size.
        DataError: the file does not hold vectors.
    """
    if options.vectors is None:
        return {}
    name = entry.embedding
    if name is None:
        models = [other.name for other in BACKBONES if other.embedding is not None]
        raise UsageError(
            f"--vectors: the model {entry.name!r} has no word vectors.",
            hint=f"Choose --model {' or '.join(models)}, or omit --vectors.",
        )
    if weights != "none":
        raise UsageError(
            f"--weights {weights} and --vectors {options.vectors} both set the word vectors.",
            hint="Give one of the two.",
        )
    form = detect_vector_format(Path(options.vectors))
    if user_options.get(name, form.dimension) != form.dimension:
        raise UsageError(
            f"--{name} is {user_options[name]}, and the vectors of {options.vectors} have "
            f"dimension {form.dimension}.",
            hint=f"Omit --{name}: the vectors set it.",
        )
    return {name: form.dimension}


def drop_subword_options(
    options: VectorOptions, input_options: Mapping[str, Any]
) -> dict[str, Any]:
    """A model's input options; without subwords if word vectors come from a file, because those
    were trained without."""
    dropped = () if options.vectors is None else ("subwords",)
    return {name: value for name, value in input_options.items() if name not in dropped}


def load_word_vectors(
    options: VectorOptions, input: Input, sources: Sequence[Source]
) -> WordVectors | None:
    """The vectors for the words of `input`, which is fitted on `sources`. Emits a note.

    Raises:
        UsageError: the input has no words, or the file has none of them.
        DataError: the file is damaged; the message names the row.
    """
    if options.vectors is None:
        return None
    if not isinstance(input, WordVocabulary):
        raise UsageError("--vectors: this input has no words.", hint="Omit --vectors.")
    try:
        known = input.find_known_words(sources)
    except UsageError as error:
        raise UsageError(f"--vectors: {error.message}", hint=error.hint) from error
    path = Path(options.vectors)
    matches = read_vectors(path, VectorFilter(known.words))
    if bool((matches.match_kinds == MISSING).all()):
        raise UsageError(
            f"--vectors: none of the {len(known.words):,} words of these texts is among the "
            f"{matches.rows:,} of {path}.",
            hint="Is the file of the same language?",
        )
    vectors = WordVectors(path, known, matches, options.freeze_vectors)
    events.emit_note(str(vectors))
    return vectors
