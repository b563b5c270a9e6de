"""The result of inspecting one source for the audit (`inspect` of an input's spec)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Compactable(Protocol):
    """Inspected content that has a smaller version, for data sets of many rows."""

    def make_smaller(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """What inspecting one source found.

    Args:
        problem: what is wrong, in a few words that begin with the kind of problem ("truncated:
            ..."); "" for a sound source.
        size: (height, width) of the upright image, (letters,) of a text; () if unknown.
        format: "JPEG", "PNG", ...; "array" for a member of a container; "UTF-8".
        mode: Pillow's name: "RGB", "L", "RGBA", "P", "CMYK", "I;16"; with "+" for several frames.
        is_rotated: whether the EXIF orientation is not upright.
        content: content to compare with other rows by `find_near_duplicates` of the input's spec (a thumbnail, a
            text); None without any.
        pixel_format: depth and channels in words, for anything but photos: "5 channels of 16 bits".
        damage: why a source that decodes is damaged nevertheless; "" for a sound one.
        copy_digest: a digest that exact copies share, where fewer than all bytes define a copy; else "".
    """

    problem: str = ""
    size: tuple[int, ...] = ()
    format: str = ""
    mode: str = ""
    is_rotated: bool = False
    content: Any = None
    pixel_format: str = ""
    damage: str = ""
    copy_digest: str = ""
