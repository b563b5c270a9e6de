"""Batches as bytes, for the pipe between a loading process and the one that trains.

    kind (1 byte) | length of the JSON text | length of the arrays | JSON text | arrays, one by one

Plain numbers and JSON: nothing that arrives is run, no name in shared memory is left by a process
that dies, and no socket is opened (torch's own way hands file descriptors through one).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.data.samples import Batch, Meta

#: What a frame says: the file that is being worked on, a batch, an error.
ON, BATCH, ERROR = b"f", b"b", b"e"
HEAD = struct.Struct("<cIQ")
#: Every array starts at a multiple of this.
ALIGNED = 64


@dataclass(slots=True)
class Frame:
    """One message. `arrays` is the raw content that a batch's text describes."""

    kind: bytes
    text: Any
    arrays: bytearray | None = None


def pack(kind: bytes, text: Any, arrays: list[np.ndarray] | None = None) -> list[memoryview]:
    """The message as pieces to write one after the other; array contents are not copied."""
    words = json.dumps(text).encode("ascii")
    pieces: list[memoryview] = []
    length = 0
    for array in arrays or []:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        pieces += [content, memoryview(bytes(-array.nbytes % ALIGNED))]
        length += array.nbytes + -array.nbytes % ALIGNED
    return [memoryview(HEAD.pack(kind, len(words), length) + words), *pieces]


def pack_batch(batch: Batch) -> list[memoryview]:
    """A batch of tensors on the CPU, of the types that numpy has."""
    arrays: list[np.ndarray] = []

    def described(value: Tensor) -> list[Any]:
        array = value.detach().numpy()
        arrays.append(array)
        return [array.dtype.str, list(array.shape)]

    text = {
        "x": [[name, described(value)] for name, value in batch.x.items()],
        "y": [
            [name, [described(one) for one in value], True]
            if isinstance(value, list)
            else [name, [described(value)], False]
            for name, value in batch.y.items()
        ],
        "meta": [[m.id, m.name, m.view, m.size, m.to_source, m.shape] for m in batch.meta],
    }
    return pack(BATCH, text, arrays)


def unpack_batch(frame: Frame) -> Batch:
    """The batch again; its tensors share the memory of `frame.arrays`."""
    assert frame.arrays is not None
    offset, whole = 0, frame.arrays

    def tensor(kind: str, shape: list[int]) -> Tensor:
        nonlocal offset
        array: np.ndarray = np.ndarray(shape, kind, buffer=whole, offset=offset)
        offset += array.nbytes + -array.nbytes % ALIGNED
        return torch.from_numpy(array)

    x = {name: tensor(*what) for name, what in frame.text["x"]}
    y: dict[str, Tensor | list[Tensor]] = {}
    for name, values, ragged in frame.text["y"]:
        tensors = [tensor(*what) for what in values]
        y[name] = tensors if ragged else tensors[0]
    metas = [
        Meta(
            *(id, name, view, tuple(size)),
            to_source=None if to_source is None else tuple(to_source),
            shape=tuple(shape),
        )
        for id, name, view, size, to_source, shape in frame.text["meta"]
    ]
    return Batch(x, y, metas)
