"""Damage inside a JPEG that decoders pass over in silence: they fill in grey, or show garbage.

Two things are never in a sound file. A marker that has no place within the coded data (ITU-T T.81,
section B.1.1): there, every byte FF is followed by 00 or by a restart marker. And a long run of
zero bytes, as a disk leaves where it never wrote: read as code it would stand for many blocks of
one flat colour, so a picture that is not flat cannot have it.
"""

from __future__ import annotations

import re

import numpy as np

_EOI, _SOS, _DHT, _DNL, _BASELINE = 0xD9, 0xDA, 0xC4, 0xDC, 0xC0
#: A marker that ends coded data: neither a stuffed FF, nor a restart, nor the filling before one.
_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: What may stand between the scans of one picture: tables, comments, applications' data.
_BETWEEN = frozenset({_SOS, _DHT, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_ZEROS = re.compile(rb"\x00{512,}")
#: Pixels of flat colour that a zero byte of Huffman code stands for at the very least: 8 bits, at
#: most 5 a block, at most 3 blocks for 64 pixels.
_FLAT_PIXELS = 32


def jpeg_damage(data: bytes, pixels: int, grey: np.ndarray) -> str:
    """What is wrong inside, in a few words; "" where nothing is seen.

    Args:
        pixels: of the picture.
        grey: a thumbnail of it (S, S) uint8.
    """
    place, baseline, scanned = 2, False, False
    while place + 4 <= len(data):
        if data[place] != 0xFF:  # what lies before the first scan, decoders pass over
            return "the coded pixels break off" if scanned else ""
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == _EOI:
            return ""
        baseline = baseline or marker == _BASELINE
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == _SOS:
            start, scanned = place, True
            end = _ENDS.search(data, place)
            place = len(data) if end is None else end.start()
            if baseline and (said := _overwritten(data[start:place], pixels, grey)):
                return said
            if place + 2 <= len(data) and data[place + 1] not in (*_BETWEEN, _EOI, _DNL):
                return f"an impossible marker (FF {data[place + 1]:02X}) within the coded pixels"
    return "the coded pixels break off" if scanned and place > len(data) else ""


def _overwritten(coded: bytes, pixels: int, grey: np.ndarray) -> str:
    zeros = sum(len(run.group()) for run in _ZEROS.finditer(coded))
    if not zeros:
        return ""
    if zeros * _FLAT_PIXELS > 1.2 * _flat_share(grey) * pixels:
        return f"{zeros:,} zero bytes where coded pixels should be"
    return ""


def _flat_share(grey: np.ndarray) -> float:
    """Share of pixels whose neighbours to the right and below are the same."""
    steps = grey.astype(np.int16)
    right, below = np.abs(np.diff(steps, axis=1))[:-1], np.abs(np.diff(steps, axis=0))[:, :-1]
    return float(((right == 0) & (below == 0)).mean())
