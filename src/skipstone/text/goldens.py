"""Golden texts: generated files that reveal any change of decoding and tokenization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Words with composed and combining letters, joiners, punctuation, scripts without spaces: each
#: tests a rule of tokenization.
_SPECIAL_WORDS = (
    *("naïve", "nai\u0308ve", "ÉCOLE", "e\u0301cole", "don't", "state-of-the-art", "3.14", "№5"),
    *(
        "機械学習は面白い",
        "ภาษาไทย",
        "हिन्दी",
        "العربية",
        "می\u200cخواهم",
        "👩\u200d🔬",
        "ﬁx",
        "İstanbul",
    ),
)


def make_golden_texts(count: int, common: Sequence[str]) -> list[tuple[str, bytes]]:
    """`count` files (name, bytes) of common tokens in random order, some with special words; the
    same on every call. They include a single token, a long text, and UTF-16 with its mark."""
    files = []
    words = list(common) or ["a", "text", "of", "words"]
    for number in range(count):
        rng = np.random.default_rng([number, 2014])
        length = (1, 5, 12, 30, 200)[number % 5]
        chosen = [words[at] for at in rng.integers(0, len(words), length)]
        if number % 3 == 1:
            chosen.insert(
                int(rng.integers(0, length + 1)), _SPECIAL_WORDS[number % len(_SPECIAL_WORDS)]
            )
        text = " ".join(chosen)
        if number % 4 == 3:
            text = text.upper() + "\r\n"
        encoding = "utf-16" if number % 7 == 6 else "utf-8"
        files.append((f"golden-{number:03d}.txt", text.encode(encoding)))
    return files
