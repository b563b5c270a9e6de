"""Word vectors from a file as the start of a network's embedding.

What ships is an ordinary network: its embedding holds the vectors, and the file is needed no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from skipstone import events
from skipstone.data.sources import Source
from skipstone.errors import UsageError
from skipstone.inputs.base import Input
from skipstone.inputs.text_fit import KnownWords
from skipstone.inputs.vector_files import FoundVectors, look_at_vectors, read_vectors
from skipstone.inputs.wanted_words import BY_PARTS, MISSING, OTHER_CASE, WantedWords
from skipstone.models.network import Network
from skipstone.models.vector_options import VectorOptions
from skipstone.registry import BACKBONES, Entry


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words that an input knows.

    Args:
        known: the words, and the embedding's row of each.
        found: what the file has for them.
        frozen: whether the embedding learns nothing.
    """

    path: Path
    known: KnownWords
    found: FoundVectors
    frozen: bool

    def fill(self, network: Network, module: str, *, seed: int) -> None:
        """Put them into the embedding called `module` of the network's backbone.

        Words that the file lacks, and the one that stands for those never seen, start at random
        within +-a, where a gives them the variance of those that were found (Kim 2014, section
        4.3): by length they cannot be told from the others. Runs of words keep their fresh start;
        frozen, where they could learn nothing, they add nothing.
        """
        embedding = network.backbone.get_submodule(module)
        assert isinstance(embedding, nn.Embedding)
        here = self.found.how != MISSING
        reach = float(np.sqrt(3 * self.found.vectors[here].var()))
        dice = np.random.default_rng([seed, 1408, 5882])
        weight = embedding.weight.detach().numpy().copy()
        if self.frozen:
            weight[:] = 0
        unknown = [] if self.known.unknown is None else [self.known.unknown]
        lost = np.concatenate([np.array(unknown, np.int64), self.known.ids[~here]])
        weight[lost] = dice.uniform(-reach, reach, (len(lost), weight.shape[1]))
        weight[self.known.ids[here]] = self.found.vectors[here]
        with torch.no_grad():
            embedding.weight.copy_(torch.from_numpy(weight))
        if self.frozen:
            network.fixed = frozenset({f"backbone.{module}.weight"})

    def __str__(self) -> str:
        """How many words were found, and what becomes of the others."""
        how, form = self.found.how, self.found.form
        total, missing = len(how), int((how == MISSING).sum())
        ways = [
            f"{count:,} {words}"
            for count, words in (
                (int((how == OTHER_CASE).sum()), "with other letter case"),
                (int((how == BY_PARTS).sum()), "from the parts of words"),
            )
            if count
        ]
        told = f"vectors: {total - missing:,} of {total:,} words found in {self.path.name}"
        told += f" ({form.name}, {self.found.rows:,} x {form.dimension}"
        told += f"; {', '.join(ways)})" if ways else ")"
        if missing:
            told += f"; the other {missing:,} start at random, spread as those found are"
        if self.found.cut:
            told += f"; {self.found.cut:,} words of the file are cut off and passed over"
        return told + ("; they stay as they are." if self.frozen else ".")

    def to_json(self) -> dict[str, Any]:
        """For the identity of a run."""
        return {"file": str(self.path.resolve()), "frozen": self.frozen}

    def facts(self) -> dict[str, Any]:
        """For the lineage of a bundle."""
        return {
            **self.to_json(),
            "sha256": self.found.sha256,
            "form": self.found.form.name,
            "words": len(self.found.how),
            "found": int((self.found.how != MISSING).sum()),
        }


def vector_size(
    options: VectorOptions, entry: Entry, given: Mapping[str, Any], *, weights: str
) -> dict[str, Any]:
    """The option of a backbone that a file's dimension decides; nothing without a file.

    Args:
        given: the backbone's options that the user named.
        weights: "none", or what else the network starts with.

    Raises:
        UsageError: the backbone has no word vectors or starts with others, or another size was
            asked for.
        DataError: the file is no file of vectors.
    """
    if options.vectors is None:
        return {}
    name = entry.facts.get("vectors")
    if name is None:
        having = [other.name for other in BACKBONES if "vectors" in other.facts]
        solved = entry.facts.get("learner", "gradient") != "gradient"
        raise UsageError(
            f"--vectors: {entry.name!r} "
            + (
                "is solved on counts of n-grams, and has no place for word vectors."
                if solved
                else "does not learn from vectors of words."
            ),
            hint=f"Choose --model {' or '.join(having)}, or leave --vectors out.",
        )
    if weights != "none":
        raise UsageError(
            f"--weights {weights} brings vectors of its own, --vectors {options.vectors} others.",
            hint="Give one of the two.",
        )
    form = look_at_vectors(Path(options.vectors))
    if given.get(name, form.dimension) != form.dimension:
        raise UsageError(
            f"--{name} is {given[name]}, and the vectors of {options.vectors} have "
            f"{form.dimension} numbers.",
            hint=f"Leave --{name} out: the vectors decide it.",
        )
    return {name: form.dimension}


def whole_words(options: VectorOptions, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a model wants of its input; with a file of vectors without the parts of words, which
    those were learnt without."""
    parts = () if options.vectors is None else ("subwords",)
    return {name: value for name, value in wanted.items() if name not in parts}


def word_vectors(
    options: VectorOptions, input: Input, sources: Sequence[Source]
) -> WordVectors | None:
    """The vectors of the words that `input`, fitted on `sources`, knows; said in a note.

    Raises:
        UsageError: the input knows no words, or the file none of them.
        DataError: the file is damaged; the row is named.
    """
    if options.vectors is None:
        return None
    words = getattr(input, "words", None)
    if words is None:
        raise UsageError(
            "--vectors: this input has no words.", hint="Leave --vectors out, or choose a text."
        )
    try:
        known: KnownWords = words(sources)
    except UsageError as error:
        raise UsageError(f"--vectors: {error.message}", hint=error.hint) from error
    path = Path(options.vectors)
    found = read_vectors(path, WantedWords(known.words))
    if bool((found.how == MISSING).all()):
        raise UsageError(
            f"--vectors: none of the {len(known.words):,} words of these texts is among the "
            f"{found.rows:,} of {path}.",
            hint="Is it of the same language?",
        )
    made = WordVectors(path, known, found, options.freeze_vectors)
    events.note(str(made))
    return made
