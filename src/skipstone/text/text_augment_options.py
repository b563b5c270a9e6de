"""Options of the augmentation of texts. Free of torch, so that ``--help`` stays fast.

    light      delete 0.05, swap 0.05
    standard   delete 0.1, swap 0.1
    strong     delete 0.1, swap 0.1, noise 0.05, mixup 0.2

The default is none: a mirrored image keeps its class, a text without its "not" may not. A table of
synonyms adds to any preset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skipstone.core.errors import UsageError
from skipstone.core.options import Range, check_options, option
from skipstone.inputs.augmentation_options import AugmentationOptions, describe_strengths

#: {operation: (strength when named alone, help text)}, in the order in which they run.
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
    "insert": (
        0.1,
        "texts: behind a word, with probability s, a synonym of another one of the table (Wei and "
        "Zou 2019); without a table a punctuation mark (AEDA, Karimi 2021)",
    ),
    "word_mixup": (
        0.2,
        "texts: blend the vectors of the words of pairs of them, place by place, share from "
        "Beta(s, s) (wordMixup, Guo 2019)",
    ),
    "mixup": (
        0.2,
        "texts: blend the model's pooled features of pairs of them, share from Beta(s, s) "
        "(senMixup, Guo 2019)",
    ),
}
#: Those that mix the texts of a batch: by word vectors, by pooled features.
TEXT_MIXING = ("word_mixup", "mixup")

TEXT_PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": {"delete": 0.05, "swap": 0.05},
    "standard": {"delete": 0.1, "swap": 0.1},
    "strong": {"delete": 0.1, "swap": 0.1, "noise": 0.05, "mixup": 0.2},
}


def _operation(name: str) -> float | None:
    strength, text = TEXT_OPERATIONS[name]
    help = f"{text}; 0 is off, s is {strength:.3g} when named alone"
    return option(None, range=Range(0, math.inf if name in TEXT_MIXING else 1), help=help)


@dataclass(frozen=True, kw_only=True)
class TextAugmentOptions(AugmentationOptions):
    """A preset, operations by name, or both; an operation's own value overrides the preset's.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    augmentation_factory = "skipstone.text.augment:make_text_augmentation"
    mixing_factory = "skipstone.text.augment:make_text_mixing"
    what = "texts"
    preset_names = tuple(TEXT_PRESETS)
    strengths_alone = MappingProxyType({name: row[0] for name, row in TEXT_OPERATIONS.items()})

    augment: str = option(
        "none",
        help="texts: none (default), light, standard or strong; or operations by name, separated "
        "by commas: delete,swap,noise,insert",
    )
    synonyms: float | None = _operation("synonyms")
    delete: float | None = _operation("delete")
    swap: float | None = _operation("swap")
    noise: float | None = _operation("noise")
    insert: float | None = _operation("insert")
    word_mixup: float | None = _operation("word_mixup")
    mixup: float | None = _operation("mixup")
    synonym_table: str | None = option(
        None,
        metavar="FILE",
        names_outside=True,
        help="texts: CSV or TSV, a word and its synonyms a row; turns --synonyms on",
    )
    custom: str | None = option(
        None,
        help="texts: your own importable callable, 'package.module:name', that takes and returns "
        "a str; it comes last",
        names_outside=True,
    )

    def __post_init__(self) -> None:
        problems = self.list_unknown_names()
        if self.custom is not None and not all(self.custom.partition(":")):
            problems.append(f"custom is {self.custom!r}; write 'package.module:name'")
        check_options(self, problems)
        if "synonyms" in self.get_strengths() and self.synonym_table is None:
            raise UsageError(
                "synonyms need a table of them.", hint="Name it: --synonym-table words.csv"
            )

    @property
    def source_files(self) -> tuple[str, ...]:
        """The table of synonyms."""
        return () if self.synonym_table is None else (self.synonym_table,)

    @property
    def backbone_requirements(self) -> Mapping[str, str]:
        mixes_words = "word_mixup" in self.get_strengths()
        return {"token embeddings": "--word-mixup"} if mixes_words else {}

    def get_strengths(self) -> dict[str, float]:
        """{operation: strength} of the enabled ones in the order in which they run."""
        strengths = self.enabled_strengths(TEXT_PRESETS.get(self.augment))
        if self.synonym_table is not None and self.synonyms is None:
            strengths = {"synonyms": self.strengths_alone["synonyms"], **strengths}
        return strengths  # synonyms run first

    def describe_operations(self, size: int = 0) -> str:
        """One sentence for the user; `size` is ignored."""
        return describe_strengths(f"{self.augment!r}", self.get_strengths(), self.custom)
