"""Options of the augmentation of texts. Free of torch, so that ``--help`` stays fast.

    light      delete 0.05, swap 0.05
    standard   delete 0.1, swap 0.1
    strong     delete 0.1, swap 0.1, noise 0.05, mixup 0.2

Nothing is done unless it is asked for: a picture that is mirrored shows the same, a text without
its "not" does not. A table of synonyms joins any of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from skipstone.errors import UsageError, did_you_mean
from skipstone.option_types import Range, check_options

#: What each operation does with strength s, and its strength when named alone.
TEXT_OPERATIONS: Mapping[str, tuple[float, str]] = {
    "synonyms": (
        0.2,
        "texts: a synonym of the table in place of a word, with probability s (Wei and Zou 2019)",
    ),
    "delete": (0.1, "texts: leave a word out with probability s (Wei and Zou 2019)"),
    "swap": (
        0.1,
        "texts: a word changes places with another with probability s (Wei and Zou 2019)",
    ),
    "noise": (
        0.1,
        "texts: misspell a word with probability s: a letter left out, doubled, changed, or "
        "swapped with the next (Belinkov and Bisk 2018)",
    ),
    "word_mixup": (
        0.2,
        "texts: blend the vectors of the words of pairs of them, place by place, share from "
        "Beta(s, s) (wordMixup, Guo 2019)",
    ),
    "mixup": (
        0.2,
        "texts: blend what the model makes of pairs of them, its pooled features, share from "
        "Beta(s, s) (senMixup, Guo 2019)",
    ),
}
#: Those that mix the texts of a batch, and change no text: by vectors of words, by features.
TEXT_MIXING = ("word_mixup", "mixup")

TEXT_PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": {"delete": 0.05, "swap": 0.05},
    "standard": {"delete": 0.1, "swap": 0.1},
    "strong": {"delete": 0.1, "swap": 0.1, "noise": 0.05, "mixup": 0.2},
}


def _operation(name: str) -> float | None:
    strength, text = TEXT_OPERATIONS[name]
    value: float | None = field(
        default=None,
        metadata={"help": f"{text}; 0 is off, s is {strength:.3g} when named alone"},
    )
    return value


@dataclass(frozen=True, kw_only=True)
class TextAugmentOptions:
    """A preset, or operations by name, or both: an operation's own value wins over the preset's.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    #: Who makes of these options what changes samples, and what mixes batches.
    maker = "skipstone.prepare.text_augment:make_text_augment"
    mixer = "skipstone.prepare.mix:make_text_mix"

    augment: str = field(
        default="none",
        metadata={
            "help": "texts: none (default), light, standard or strong; or operations by name, "
            "separated by commas: delete,swap,noise"
        },
    )
    synonyms: float | None = _operation("synonyms")
    delete: float | None = _operation("delete")
    swap: float | None = _operation("swap")
    noise: float | None = _operation("noise")
    word_mixup: float | None = _operation("word_mixup")
    mixup: float | None = _operation("mixup")
    synonym_table: str | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "texts: CSV or TSV, a word and its synonyms a row; turns --synonyms on",
        },
    )
    custom: str | None = field(
        default=None,
        metadata={
            "help": "texts: your own importable callable, 'package.module:name', that takes and "
            "returns a str; it comes last"
        },
    )

    def __post_init__(self) -> None:
        problems = []
        if self.augment not in TEXT_PRESETS:
            for word in self._words():
                if word not in TEXT_OPERATIONS:
                    names = [_typed(name) for name in TEXT_OPERATIONS]
                    hint = did_you_mean(_typed(word), [*TEXT_PRESETS, *names])
                    problems.append(
                        f"{_typed(word)!r} is neither a preset ({', '.join(TEXT_PRESETS)}) nor an "
                        f"operation on texts ({', '.join(names)}). {hint}".rstrip(" ?.")
                    )
        if self.custom is not None and not all(self.custom.partition(":")):
            problems.append(f"custom is {self.custom!r}; write 'package.module:name'")
        ranges = {
            name: Range(0, math.inf if name in TEXT_MIXING else 1) for name in TEXT_OPERATIONS
        }
        check_options(self, problems, **ranges)
        if "synonyms" in self.strengths() and self.synonym_table is None:
            raise UsageError(
                "synonyms need a table of them.", hint="Name it: --synonym-table words.csv"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """Files that decide what is done."""
        return () if self.synonym_table is None else (self.synonym_table,)

    @property
    def needs(self) -> Mapping[str, str]:
        """What the backbone has to offer, and the flag that wants it."""
        on = "word_mixup" in self.strengths()
        return {"vectors in order": "--word-mixup"} if on else {}

    def strengths(self) -> dict[str, float]:
        """Each operation that is on, in the order in which they run."""
        if self.augment in TEXT_PRESETS:
            chosen = dict(TEXT_PRESETS[self.augment])
        else:
            chosen = {w: TEXT_OPERATIONS[w][0] for w in self._words() if w in TEXT_OPERATIONS}
        if self.synonym_table is not None:
            chosen.setdefault("synonyms", TEXT_OPERATIONS["synonyms"][0])
        for name in TEXT_OPERATIONS:
            value = getattr(self, name)
            if value is not None:
                chosen[name] = float(value)
        return {name: chosen[name] for name in TEXT_OPERATIONS if chosen.get(name, 0) > 0}

    def describe(self, size: int = 0) -> str:
        """One sentence for the user; texts are changed alike at any `size`."""
        parts = [f"{_typed(name)} {strength:.3g}" for name, strength in self.strengths().items()]
        if self.custom is not None:
            parts.append(self.custom)
        return f"augmentation '{self.augment}': {', '.join(parts) or 'nothing'}"

    def _words(self) -> list[str]:
        return [word.strip().replace("-", "_") for word in self.augment.split(",")]


def _typed(name: str) -> str:
    """An operation as its flag is written."""
    return name.replace("_", "-")
