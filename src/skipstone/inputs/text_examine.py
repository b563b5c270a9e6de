"""Inspect a text for the audit: its encoding and whether it can be read. Free of torch."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np

from skipstone.inputs.examined import Examined
from skipstone.inputs.text_features import text_of

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LOST = "\ufffd"  # programs write it for a letter that they could not read


def examine_text(data: bytes | np.ndarray) -> Examined:
    """Inspect a text. Never raises: `problem` says what is wrong.

    Copies may differ in spaces, line ends and how Unicode composes letters (NFC).
    """
    if isinstance(data, np.ndarray):
        return Examined("not read: an array of numbers, not a text")
    form = "UTF-16" if data.startswith(_UTF16_MARKS) else "UTF-8"
    try:
        text = text_of(data)
    except ValueError as error:
        return Examined(f"bad bytes: {error}")
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if not plain:
        return Examined("no text: it has no letter")
    lost = text.count(_LOST)
    letters = "1 letter was" if lost == 1 else f"{lost:,} letters were"
    damage = f"{letters} lost before it was saved (U+FFFD)" if lost else ""
    digest = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return Examined("", (len(plain),), form, shows=text, damage=damage, same=digest)
