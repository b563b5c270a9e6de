"""Inspect a text for the audit: its encoding and whether it can be read. Free of torch."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import numpy as np

from skipstone.core.disk import open_regular
from skipstone.inputs.inspection import InspectionResult
from skipstone.text.features import decode_utf8

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BLOCK = 4096
_LOST = "\ufffd"  # programs write it for a letter that they could not read


def inspect_text(data: bytes | np.ndarray) -> InspectionResult:
    """Inspect a text. Never raises: `problem` says what is wrong.

    Copies may differ in spaces, line ends and how Unicode composes letters (NFC).
    """
    if isinstance(data, np.ndarray):
        return InspectionResult("not read: an array of numbers, not a text")
    form = "UTF-16" if data.startswith(_UTF16_MARKS) else "UTF-8"
    try:
        text = decode_utf8(data)
    except ValueError as error:
        return InspectionResult(f"bad bytes: {error}")
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if not plain:
        return InspectionResult("no text: it has no letter")
    lost = text.count(_LOST)
    letters = "1 letter was" if lost == 1 else f"{lost:,} letters were"
    damage = f"{letters} lost before it was saved (U+FFFD)" if lost else ""
    digest = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return InspectionResult(
        "", (len(plain),), form, content=text, damage=damage, copy_digest=digest
    )


def is_blank_file(file: Path) -> bool:
    """Whether the file holds only whitespace."""
    try:
        with open_regular(file) as stream:
            return not any(block.strip() for block in iter(lambda: stream.read(_BLOCK), b""))
    except OSError:  # reading the text reports it
        return False


def not_text_reason(name: str, head: bytes) -> str | None:
    """Texts have names of all kinds (README, mail.eml); a NUL byte is in none of them, except in
    UTF-16 with its mark."""
    is_wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return "files that are not text" if b"\0" in head and not is_wide else None
