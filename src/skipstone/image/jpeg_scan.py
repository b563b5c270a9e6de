"""Damage inside a JPEG that decoders ignore: they fill in grey, or show garbage.

A sound file has neither of two things. A marker that is not allowed within the coded data (ITU-T
T.81, section B.1.1), where 00 or a restart marker follows every byte FF. And a long run of zero
bytes, which a disk leaves where it never wrote: as code it would be many blocks of one flat colour,
so an image without such an area cannot contain it.
"""

from __future__ import annotations

import re

import numpy as np

_EOI, _SOS, _DHT, _DNL, _BASELINE = 0xD9, 0xDA, 0xC4, 0xDC, 0xC0
#: A marker that ends coded data: neither a stuffed FF, nor a restart, nor fill bytes before one.
_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: Markers that may occur between the scans of one image: tables, comments, application data.
_BETWEEN = frozenset({_SOS, _DHT, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_ZEROS = re.compile(rb"\x00{512,}")
#: Minimum number of flat pixels that a zero byte of Huffman code encodes: 8 bits, at most 5 per
#: block, at most 3 blocks for 64 pixels.
_FLAT_PIXELS = 32


def find_jpeg_damage(data: bytes, pixels: int, grey: np.ndarray) -> str:
    """The damage in a few words; "" if none is detected.

    Args:
        pixels: number of pixels of the image.
        grey: its thumbnail (S, S) uint8.
    """
    place, baseline, scanned = 2, False, False
    while place + 4 <= len(data):
        if data[place] != 0xFF:  # decoders skip stray bytes before the first scan
            return "the coded pixels are cut off" if scanned else ""
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
            if baseline and (damage := _find_zeros(data[start:place], pixels, grey)):
                return damage
            if place + 2 <= len(data) and data[place + 1] not in (*_BETWEEN, _EOI, _DNL):
                return f"an impossible marker (FF {data[place + 1]:02X}) within the coded pixels"
    return "the coded pixels are cut off" if scanned and place > len(data) else ""


def _find_zeros(coded: bytes, pixels: int, grey: np.ndarray) -> str:
    zeros = sum(len(run.group()) for run in _ZEROS.finditer(coded))
    if not zeros:
        return ""
    if zeros * _FLAT_PIXELS > 1.2 * _flat_share(grey) * pixels:
        return f"{zeros:,} zero bytes where coded pixels should be"
    return ""


def _flat_share(grey: np.ndarray) -> float:
    """Share of pixels equal to their neighbours to the right and below."""
    steps = grey.astype(np.int16)
    right, below = np.abs(np.diff(steps, axis=1))[:-1], np.abs(np.diff(steps, axis=0))[:, :-1]
    return float(((right == 0) & (below == 0)).mean())
