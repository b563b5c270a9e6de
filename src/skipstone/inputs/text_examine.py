"""What a text is and whether it can be read, for the audit. Free of torch."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np

from skipstone.inputs.examined import Examined
from skipstone.inputs.text_features import text_of

_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LOST = "\ufffd"  # what programs put where they could not read a letter


def examine_text(data: bytes | np.ndarray) -> Examined:
    """Never raises: what is wrong is in `problem`. Texts are the same where they differ in spaces
    and line ends only, or in how Unicode composes a letter (NFC)."""
    if isinstance(data, np.ndarray):
        return Examined("not read: an array of numbers is no text")
    form = "UTF-16" if data.startswith(_MARKS) else "UTF-8"
    try:
        text = text_of(data)
    except ValueError as error:
        return Examined(f"bad bytes: {error}")
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if not plain:
        return Examined("no text: not a single letter")
    lost = text.count(_LOST)
    letters = "1 letter was" if lost == 1 else f"{lost:,} letters were"
    damage = f"{letters} lost before it was saved (U+FFFD)" if lost else ""
    same = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return Examined("", (len(plain),), form, shows=text, damage=damage, same=same)
