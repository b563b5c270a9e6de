"""Where a sample's bytes are: a file, a member of a container file, or something in hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, or number `member` inside a container file such as IDX."""

    path: Path
    member: int | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}#{self.member}"


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes of a file, text, or an array (H, W, C) already in hand."""

    data: bytes | str | np.ndarray
    name: str = "<inline>"


Source = FileRef | Inline
