"""What an audit is told of one source by the input that reads it (the fact `examine`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Examined:
    """One source as found.

    Args:
        problem: what is wrong, in a few words ("truncated: ..."), beginning with its kind; ""
            where nothing is.
        size: (height, width) as a person sees it, (letters,) of a text; () where unknown.
        format: "JPEG", "PNG", ...; "array" for a member of a container; "UTF-8".
        mode: Pillow's name: "RGB", "L", "RGBA", "P", "CMYK", "I;16"; with "+" for several frames.
        turned: whether an EXIF orientation other than upright is set.
        shows: what it shows, to be compared with others by the input's fact `near` (a thumbnail, a
            text); None where nothing can be shown.
        kind: depth and channels in words, of what is no photo: "5 channels of 16 bits".
        damage: where it decodes, and yet part of it is not what was stored: why; "" elsewhere.
        same: a digest that exact copies share, where less than all bytes make one; "" elsewhere.
    """

    problem: str = ""
    size: tuple[int, ...] = ()
    format: str = ""
    mode: str = ""
    turned: bool = False
    shows: Any = None
    kind: str = ""
    damage: str = ""
    same: str = ""
