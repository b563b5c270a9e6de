"""Generated texts whose answers change when anything in the way from bytes to numbers does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Letters that are stored in two ways, joined, turned, or lone: each tests a rule of tokenising.
_ODD = (
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


def golden_texts(count: int, common: Sequence[str]) -> list[tuple[str, bytes]]:
    """`count` files (name, bytes): common tokens in no order, odd ones among them; the same on
    every call. One is a single token, one is long, one is not UTF-8 but marked UTF-16."""
    files = []
    words = list(common) or ["a", "text", "of", "words"]
    for number in range(count):
        rng = np.random.default_rng([number, 2014])
        length = (1, 5, 12, 30, 200)[number % 5]
        chosen = [words[at] for at in rng.integers(0, len(words), length)]
        if number % 3 == 1:
            chosen.insert(int(rng.integers(0, length + 1)), _ODD[number % len(_ODD)])
        text = " ".join(chosen)
        if number % 4 == 3:
            text = text.upper() + "\r\n"
        encoding = "utf-16" if number % 7 == 6 else "utf-8"
        files.append((f"golden-{number:03d}.txt", text.encode(encoding)))
    return files
