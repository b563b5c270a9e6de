"""Files of word vectors, written from the descriptions of their forms and by no code of ours."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Table = Mapping[str, Sequence[float]]


def table(words: Sequence[str], dimension: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """A float32 vector for each word."""
    rng = np.random.default_rng(seed)
    return {word: rng.normal(size=dimension).astype(np.float32) for word in words}


def row(word: str, numbers: Sequence[float]) -> str:
    return " ".join([word, *(f"{float(number):.9g}" for number in numbers)])


def glove(path: Path, vectors: Table) -> Path:
    lines = [row(word, numbers) for word, numbers in vectors.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def word2vec_text(path: Path, vectors: Table, end: str = " \n") -> Path:
    """As fastText writes a .vec: a space at each line's end."""
    dimension = len(next(iter(vectors.values())))
    lines = [row(word, numbers) + end for word, numbers in vectors.items()]
    path.write_text(f"{len(vectors)} {dimension}\n" + "".join(lines), encoding="utf-8", newline="")
    return path


def word2vec_binary(path: Path, vectors: Table, between: bytes = b"\n") -> Path:
    """word2vec.c puts a line feed between rows, gensim none."""
    dimension = len(next(iter(vectors.values())))
    data = f"{len(vectors)} {dimension}\n".encode()
    for word, numbers in vectors.items():
        data += word.encode() + b" " + struct.pack(f"<{dimension}f", *numbers) + between
    path.write_bytes(data)
    return path


def parts(word: str, shortest: int, longest: int) -> list[bytes]:
    """The runs of letters that fastText cuts a word into."""
    whole = f"<{word}>"
    found = []
    for begin in range(len(whole)):
        for length in range(shortest, longest + 1):
            end = begin + length
            if end > len(whole) or (length == 1 and (begin == 0 or end == len(whole))):
                continue
            found.append(whole[begin:end].encode())
    return found


def fnv(data: bytes) -> int:
    """fastText's hash: FNV-1a of 32 bits over signed characters."""
    value = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for byte in np.frombuffer(data, np.int8):
            value = (value ^ np.uint32(np.int32(byte).view(np.uint32))) * np.uint32(16777619)
    return int(value)


class FastTextFile:
    """A fastText model with random vectors; `vector` is what it says of a word."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        labels: Sequence[str] = (),
        dimension: int = 5,
        bucket: int = 50,
        lengths: tuple[int, int] = (2, 4),
    ) -> None:
        self.words, self.labels, self.bucket, self.lengths = list(words), labels, bucket, lengths
        rng = np.random.default_rng(1)
        self.matrix = rng.normal(size=(len(words) + bucket, dimension)).astype("<f4")

    def rows(self, word: str) -> list[int]:
        own = [self.words.index(word)] if word in self.words else []
        pieces = parts(word, *self.lengths) if self.bucket else []
        return own + [len(self.words) + fnv(piece) % self.bucket for piece in pieces]

    def vector(self, word: str) -> np.ndarray:
        found: np.ndarray = self.matrix[self.rows(word)].mean(axis=0)
        return found

    def data(self, *, version: int = 12, quantized: bool = False, model: int = 2) -> bytes:
        count, dimension = len(self.words), self.matrix.shape[1]
        args = (dimension, 5, 5, 1, 5, 1, 2, model, self.bucket, *self.lengths, 100)
        data = struct.pack("<ii12id", 793712314, version, *args, 1e-4)
        data += struct.pack("<iiiqq", count + len(self.labels), count, len(self.labels), 999, -1)
        for kind, names in ((0, self.words), (1, self.labels)):
            for name in names:
                data += name.encode() + b"\0" + struct.pack("<qb", 7, kind)
        data += struct.pack("<?qq", quantized, *self.matrix.shape) + self.matrix.tobytes()
        return data + struct.pack("<?qq", False, 1, dimension) + bytes(4 * dimension)
