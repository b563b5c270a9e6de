"""Files of word vectors: GloVe's text, word2vec's text and binary, fastText's .vec and .bin.

Detected by their bytes. Only the vectors of wanted words are stored. The formats:

GloVe text      one word per row, `word n n n`, no header (Pennington et al. 2014, nlp.stanford.edu)
word2vec text   the same after a header `rows dimension`; also fastText's .vec
word2vec binary the same header, then `word `, float32 little-endian and, by most writers, a line
                feed (word2vec.c; gensim's `KeyedVectors.load_word2vec_format`)
fastText .bin   `text/fasttext_file.py`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.text.fasttext_file import FASTTEXT_MAGIC, fasttext_dimension, read_fasttext
from skipstone.text.vector_filter import VectorFilter
from skipstone.text.vector_stream import VectorStream

#: Largest dimension: ten times that of any published vectors.
MAX_DIMENSION = 10_000
_PEEK = 1 << 20
_LONGEST_WORD = 4096  # bytes; fastText's longest are some hundreds
_NUMBER = b"0123456789+-.eEnaifNAIF"  # also nan and inf, which are rejected later
_PRINTED = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\r\n")
_PACKED = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z"}
_GENSIM = "In gensim: vectors.save_word2vec_format('vectors.bin', binary=True)"


@dataclass(frozen=True)
class VectorFileFormat:
    """The format of a file; `rows` is the header's number of words, None without a header."""

    name: str
    dimension: int
    rows: int | None = None


@dataclass(frozen=True)
class FileVectors:
    """A file's vectors of the wanted words.

    Args:
        vectors: float32 (words, dimension); zeros for words without a vector.
        match_kinds: uint8 (words,), constants of `text/vector_filter.py`.
        rows: words in the file; `truncated_words` of them are incomplete (word2vec.c truncates at 100 bytes).
        sha256: of the file.
    """

    form: VectorFileFormat
    vectors: np.ndarray
    match_kinds: np.ndarray
    rows: int
    truncated_words: int
    sha256: str


def detect_vector_format(path: Path) -> VectorFileFormat:
    """The format and dimension of a file, by its first bytes.

    Raises:
        DataError: an unknown format.
    """
    with VectorStream(path) as stream:
        return _form(stream)


def read_vectors(path: Path, words: VectorFilter) -> FileVectors:
    """Read the vectors of `words` in one pass.

    Raises:
        DataError: an unknown format, a truncated or damaged file; names the row.
    """
    size = path.stat().st_size / 1e6 if path.is_file() else 0.0
    with (
        events.progress_stage(f"reading {path.name}", total=size, unit="MB") as advance,
        VectorStream(path, advance) as stream,
    ):
        form = _form(stream)
        vectors = np.zeros((len(words.words), form.dimension), np.float32)
        rows, cut = _READERS[form.name](stream, form, words, vectors)
        return FileVectors(form, vectors, words.match_kinds, rows, cut, stream.compute_sha256())


def _form(stream: VectorStream) -> VectorFileFormat:
    head = stream.peek_bytes(_PEEK)
    path = stream.path
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise DataError(f"{path} is packed with {name}.", hint="Unpack it first.")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(f"{path} is a pickle, which is not read: it may run code.", hint=_GENSIM)
    if head[:4] == FASTTEXT_MAGIC:
        return VectorFileFormat(_FASTTEXT, fasttext_dimension(stream), None)
    if head.startswith(b"\xef\xbb\xbf"):
        stream.read_bytes(3)
        head = head[3:]
    line, _, rest = head.partition(b"\n")
    fields = line.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return _headed(stream, int(fields[0][:19]), int(fields[1][:19]), rest)
    if 2 <= len(fields) <= MAX_DIMENSION + 1 and all(map(_is_number, fields[1:])):
        return VectorFileFormat(_GLOVE, len(fields) - 1)
    begin = repr(line[:40])[1:]
    raise DataError(
        f"{path} begins with {begin}, which is neither a word with its numbers (GloVe), nor a "
        "header of rows and dimension (word2vec, .vec), nor fastText's .bin.",
        hint="Give one of these formats, plain or packed with gzip.",
    )


def _headed(stream: VectorStream, rows: int, dimension: int, rest: bytes) -> VectorFileFormat:
    """word2vec's text or binary, which have the same header."""
    path = stream.path
    if not (rows >= 1 and 1 <= dimension <= MAX_DIMENSION):
        raise DataError(
            f"{path} says that it holds {rows:,} words of {dimension:,} numbers each; allowed: 1 "
            f"word or more, of up to {MAX_DIMENSION:,} numbers."
        )
    text = _looks_like_text(rest, dimension)
    least = rows * (2 * dimension + 1 if text else 4 * dimension + 2) - 1
    remaining = stream.remaining
    if remaining is not None and remaining < least:
        raise DataError(
            f"{path} is cut off, or its header is wrong: it says that it holds {rows:,} words of "
            f"{dimension:,} numbers, which take {least:,} bytes at least, and has {remaining:,}."
        )
    return VectorFileFormat(_W2V_TEXT if text else _W2V_BINARY, dimension, rows)


def _looks_like_text(rest: bytes, dimension: int) -> bool:
    """Whether a row in digits follows. Binary floats contain control characters, or bytes that are
    not UTF-8."""
    numbers = rest.partition(b" ")[2]
    line, window = numbers.partition(b"\n")[0], numbers[: 4 * dimension]
    if len(line.split()) == dimension and not line.translate(None, _NUMBER + b" \t\r"):
        return True
    return _is_utf8(window) and not window.translate(None, _PRINTED)


def _is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError as error:
        return error.end == len(part) and len(part) - error.start < 4
    return True


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


# --- text ---------------------------------------------------------------------------------------


def _read_text(
    stream: VectorStream, form: VectorFileFormat, words: VectorFilter, vectors: np.ndarray
) -> tuple[int, int]:
    """(number of rows, number of incomplete words)"""
    limit = _LONGEST_WORD + 64 * form.dimension
    line_number, rows, cut = 0, 0, 0
    if form.rows is not None:
        stream.read_until(b"\n", limit)
        line_number = 1
    while (line := stream.read_until(b"\n", limit)) is not None:
        line_number += 1
        line = line.rstrip(b" \t\r")
        if not line:
            continue
        rows += 1
        if form.rows is not None and rows > form.rows:
            raise DataError(
                f"{stream.path} says that it holds {form.rows:,} words, but line {line_number:,} "
                "is one more."
            )
        where = f"{stream.path}, line {line_number:,}"
        if b"\t" in line:
            line = line.replace(b"\t", b" ")
        word, numbers = _split_row(line, form.dimension, where)
        text = _decoded(word, where)
        if text is None:
            cut += 1
            continue
        if places := words.match_word(text):
            vectors[places] = _parsed(numbers, form.dimension, where)
    if stream.peek_bytes(1):
        raise DataError(
            f"{stream.path}, line {line_number + 1:,} is too long for a word and "
            f"{form.dimension:,} numbers."
        )
    _check_count(stream, form, rows)
    return rows, cut


def _split_row(line: bytes, dimension: int, where: str) -> tuple[bytes, bytes]:
    """A row's word and its numbers. Words may contain spaces, as some of GloVe's do."""
    spaces = line.count(b" ")
    if spaces == dimension:
        word, _, numbers = line.partition(b" ")
        return word, numbers
    fields = line.split()
    extra = fields[1 : len(fields) - dimension]
    if len(fields) <= dimension or any(map(_is_number, extra)):
        count = sum(map(_is_number, fields[1:]))
        raise DataError(
            f"{where}: {fields[0][:40].decode(errors='replace')!r} has {count:,} "
            f"number{'' if count == 1 else 's'}; the words of this file have {dimension:,}."
        )
    return b" ".join(fields[: -dimension or None]), b" ".join(fields[len(fields) - dimension :])


def _parsed(numbers: bytes, dimension: int, where: str) -> np.ndarray:
    fields = numbers.split()
    if len(fields) != dimension:
        raise DataError(
            f"{where} has {len(fields):,} numbers; the words of this file have {dimension:,}."
        )
    try:
        with np.errstate(over="ignore"):  # `_checked` rejects infinity
            vector = np.array(fields).astype(np.float32)
    except ValueError:
        bad = next((field for field in fields if not _is_number(field)), b"?")
        raise DataError(
            f"{where}: {bad[:40].decode(errors='replace')!r} is not a number."
        ) from None
    return _checked(vector, where)


def _checked(vector: np.ndarray, where: str) -> np.ndarray:
    """`vector`. Raises DataError for NaN and infinity."""
    if not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise DataError(f"{where}: number {at + 1} is {vector[at]}.")
    return vector


def _decoded(word: bytes, where: str) -> str | None:
    """The word; None if its last letter is incomplete, as word2vec.c truncates long ones."""
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return None
        raise DataError(
            f"{where}: byte {error.start + 1} of the word is 0x{word[error.start]:02x}, which is "
            "not UTF-8.",
            hint="Save the file as UTF-8.",
        ) from None


def _check_count(stream: VectorStream, form: VectorFileFormat, rows: int) -> None:
    if form.rows is not None and rows < form.rows:
        raise DataError(
            f"{stream.path} is cut off: it says that it holds {form.rows:,} words, but ends after "
            f"{rows:,}."
        )


# --- word2vec's binary ----------------------------------------------------------------------------


def _read_binary(
    stream: VectorStream, form: VectorFileFormat, words: VectorFilter, vectors: np.ndarray
) -> tuple[int, int]:
    """(number of rows, number of incomplete words)"""
    assert form.rows is not None
    stream.read_until(b"\n", _LONGEST_WORD)
    width, cut = 4 * form.dimension, 0
    for row in range(1, form.rows + 1):
        where = f"{stream.path}, row {row:,}"
        word = stream.read_until(b" ", _LONGEST_WORD)
        numbers = stream.read_bytes(width)
        if len(numbers) < width:
            if word is None and stream.peek_bytes(1):
                raise DataError(f"{where}: the word has more than {_LONGEST_WORD:,} bytes.")
            _check_count(stream, form, row - 1)
        text = _decoded((word or b"").lstrip(b"\n"), where)
        if text is None:
            cut += 1
        elif places := words.match_word(text):
            vectors[places] = _checked(np.frombuffer(numbers, "<f4"), where)
    if rest := stream.peek_bytes(64).strip():
        raise DataError(
            f"{stream.path} says that it holds {form.rows:,} words of {form.dimension:,} numbers, "
            f"but more bytes follow ({rest[:16]!r} ...)."
        )
    return form.rows, cut


_GLOVE, _W2V_TEXT, _W2V_BINARY = "GloVe text", "word2vec text", "word2vec binary"
_FASTTEXT = "fastText .bin"
_READERS: dict[
    str, Callable[[VectorStream, VectorFileFormat, VectorFilter, np.ndarray], tuple[int, int]]
] = {
    _GLOVE: _read_text,
    _W2V_TEXT: _read_text,
    _W2V_BINARY: _read_binary,
    _FASTTEXT: lambda stream, form, words, vectors: read_fasttext(stream, words, vectors),
}
