"""Tokenizers that somebody else wrote: what would stop the process, or fill it, is one sentence."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from skipstone.core.errors import DamagedError
from skipstone.text.bpe import BpeTokenizer

pytest.importorskip("tokenizers")

WORDS = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}


def _stored(**parts: Any) -> np.ndarray:
    empty = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder"))
    content = {"version": "1.0", "added_tokens": [], **empty, "model": WORDS, **parts}
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _replace(text: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Removed",
        "invert": False,
    }


def test_a_sound_tokenizer_answers() -> None:
    stored = _stored(normalizer=_replace("``", '"'), pre_tokenizer=_split(" "))
    assert BpeTokenizer(stored, max_length=8).encode_ids("a b a").tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "be read"),
        ({"normalizer": _replace("a", "a" * 100)}, "multiplies texts by up to 100"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [_replace("a", "aaa")] * 3}},
            "multiplies texts by up to 27",
        ),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 1000}}, "multiplies"),
        ({"model": {**WORDS, "unk_token": "[NONE]"}}, "encode a text"),
        ({"pre_tokenizer": _split("^(a+)+$")}, "encode a text: .*retry"),
    ],
)
def test_a_hostile_tokenizer_is_refused(parts: dict[str, Any], words: str) -> None:
    started = time.process_time()
    with pytest.raises(DamagedError, match=words):
        BpeTokenizer(_stored(**parts), max_length=8).encode_ids("a" * 28 + "b")
    assert time.process_time() - started < 10
