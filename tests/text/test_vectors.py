"""Files of word vectors: each form is read as it was written, and each kind of damage is named."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skipstone.core import events
from skipstone.core.errors import DataError
from skipstone.text.vector_files import FileVectors, detect_vector_format, read_vectors
from skipstone.text.vector_filter import AS_WRITTEN, BY_SUBWORDS, MISSING, OTHER_CASE, VectorFilter
from tests.vector_data import FastTextFile, glove, row, table, word2vec_binary, word2vec_text

WORDS = ["the", "cat", "Dog", "naïve", "猫", "Vögel", "fünf", "CAT", ",", "</s>"]
WANTED = ["cat", "dog", "naïve", "猫", "vögel", "nai\u0308ve", "nowhere"]
TABLE = table(WORDS)


def read(path: Path, wanted: list[str] | None = None) -> FileVectors:
    return read_vectors(path, VectorFilter(wanted or WANTED))


WRITERS = {
    "GloVe text": glove,
    "word2vec text": word2vec_text,
    "word2vec binary": word2vec_binary,
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("form", WRITERS)
def test_words_are_found_as_written_or_in_other_case(
    tmp_path: Path, form: str, packed: bool
) -> None:
    path = WRITERS[form](tmp_path / "vectors.dat", TABLE)  # the name says nothing
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = read(path)
    assert (found.form.name, found.form.dimension, found.rows) == (form, 5, len(TABLE))
    written, other = [AS_WRITTEN], [OTHER_CASE]
    assert found.match_kinds.tolist() == written + other + written * 2 + other * 2 + [MISSING]
    sources = ["cat", "Dog", "naïve", "猫", "Vögel", "naïve"]
    assert np.array_equal(found.vectors[:6], np.stack([TABLE[word] for word in sources]))
    assert not found.vectors[6].any()
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_ways_of_writers(tmp_path: Path) -> None:
    expected = TABLE["cat"]
    for end in ("\n", "\r\n", " \r\n"):
        assert np.array_equal(read(word2vec_text(tmp_path / "v", TABLE, end)).vectors[0], expected)
    gensims = word2vec_binary(tmp_path / "v", TABLE, between=b"")
    assert np.array_equal(read(gensims).vectors[0], expected)
    tabs = glove(tmp_path / "v", TABLE)
    tabs.write_bytes(b"\xef\xbb\xbf" + tabs.read_bytes().replace(b" ", b"\t"))
    assert np.array_equal(read(tabs).vectors[0], expected)


def test_the_first_of_several_wins_and_words_may_hold_spaces(tmp_path: Path) -> None:
    lines = [row("Cat", [1, 1]), row("CAT", [2, 2]), row(". . name@x.com", [3, 3])]
    lines += [row("cat", [4, 4]), row("cat", [5, 5]), row("dog", [6, 6])]
    (tmp_path / "v").write_text("\n".join(lines))
    found = read(tmp_path / "v", ["cat", "dog", "DOG"])
    assert found.vectors.tolist() == [[4, 4], [6, 6], [6, 6]]
    assert found.match_kinds.tolist() == [AS_WRITTEN, AS_WRITTEN, OTHER_CASE]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("lengths", [(2, 4), (1, 3), (0, 0)])
def test_fasttexts_own_form(tmp_path: Path, lengths: tuple[int, int], packed: bool) -> None:
    words = [word for word in WORDS if word != "</s>"]
    model = FastTextFile(
        words, labels=["__label__x"], bucket=50 if lengths[1] else 0, lengths=lengths
    )
    data = model.data()
    (tmp_path / "v").write_bytes(gzip.compress(data) if packed else data)
    found = read(tmp_path / "v")
    assert (found.form.name, found.rows) == ("fastText .bin", len(words))
    sources = ["cat", "Dog", "naïve", "猫", "Vögel", "naïve"]
    assert found.match_kinds[:6].tolist() == [0, 1, 0, 0, 1, 1]
    expected = [model.vector(word) for word in sources]
    if lengths[1]:
        assert found.match_kinds[6] == BY_SUBWORDS
        expected.append(model.vector("nowhere"))
    else:
        assert found.match_kinds[6] == MISSING
    assert np.allclose(found.vectors[: len(expected)], expected, atol=1e-6)


def test_an_old_classifier_of_fasttext_has_no_parts(tmp_path: Path) -> None:
    model = FastTextFile(["cat"])
    (tmp_path / "v").write_bytes(model.data(version=11, model=3))
    found = read(tmp_path / "v", ["cat", "dog"])
    assert found.match_kinds.tolist() == [AS_WRITTEN, MISSING]
    assert np.allclose(found.vectors[0], model.matrix[0])


def changed(text: str, old: str, new: str) -> bytes:
    assert text.count(old) >= 1
    return text.replace(old, new, 1).encode()


def _texts() -> dict[str, bytes]:
    lines = [row(f"w{at}", [at, 0.5, -1]) for at in range(1, 9)]
    text = "\n".join(lines) + "\n"
    headed = "8 3\n" + text
    data = b"8 3\n" + b"".join(b"w%d " % at + struct.pack("<3f", at, 0.5, -1) for at in range(1, 9))
    model = FastTextFile([f"w{at}" for at in range(1, 9)])
    whole = model.data()
    matrix = len(whole) - 17 - 4 * 5 - model.matrix.nbytes
    return {
        r"line 5: 'w5' has 2 numbers; .* have 3": changed(text, "w5 5 0.5 -1", "w5 5 0.5"),
        r"line 6: 'w5' has 4 numbers; .* have 3": changed(headed, "w5 5 0.5 -1", "w5 5 0.5 -1 2"),
        r"line 8: 'w8' has 1 number; ": text.encode()[:-8],
        r"line 5: number 2 is nan": changed(text, "w5 5 0.5", "w5 5 nan"),
        r"line 5: number 1 is inf": changed(text, "w5 5 0.5", "w5 1e99 0.5"),
        r"line 6: '0,5' is not a number": changed(headed, "w5 5 0.5", "w5 5 0,5"),
        r"line 2: byte 2 of the word is 0xe9, .* not UTF-8": text.replace("w2", "w\xe9z").encode(
            "latin-1"
        ),
        r"line 3 is too long": b"w1 1 1 1\nw2 1 1 1\n" + b"w" * 9000 + b" 1 1 1\n",
        r"cut off: it says that it holds 8 words, but ends after 7": headed.encode()[
            : headed.index("w8")
        ],
        r"says that it holds 8 words, but line 10": (headed + "w9 1 1 1\n").encode(),
        r"99,999,999,999 words of 3 numbers, which take .* bytes at least, and has": b"99999999999"
        + headed[1:].encode(),
        r"8 words of 999,999,999 numbers each; allowed": b"8 999999999\n" + text.encode(),
        r"8 words of 3 numbers, which take 111 bytes at least, and has 94": data[:94],
        r"it says that it holds 8 words, but ends after 7": data[:-7],
        r"more bytes follow": data + b"w9 " + bytes(12),
        r"row 3: number 2 is nan": data.replace(
            struct.pack("<3f", 3, 0.5, -1), struct.pack("<3f", 3, float("nan"), -1)
        ),
        r"row 4: byte 1 of the word is 0xff": data.replace(b"w4 ", b"\xffa "),
        r"is packed with zip": b"PK\x03\x04" + bytes(30),
        r"is a pickle, which is not read": pickle.dumps(np.ones(3)),
        r"begins with '\\x93NUMPY": b"\x93NUMPY" + bytes(100),
        r"begins with ''": b"",
        r"begins with 'once upon": b"once upon a time\n",
        r"damaged gzip file": gzip.compress(text.encode())[:-8] + bytes(8),
        r"cut off: the gzip file is incomplete": gzip.compress(text.encode())[:-12],
        r"fastText version 13": model.data(version=13),
        r"quantized \(.ftz\)": model.data(quantized=True),
        r"not a complete fastText .bin file: it is cut off\.": whole[:30],
        r"(it is cut off|word 6 of 8 has no end)\.": whole[:140],
        r"of 2,000,000,000 has no end|is cut off": whole[:64]
        + struct.pack("<i", 2_000_000_000)
        + whole[68:],
        r"8 words cannot have a 57 x 5 matrix": whole.replace(
            struct.pack("<?qq", False, 58, 5), struct.pack("<?qq", False, 57, 5)
        ),
        r"cut off in its matrix": whole[: matrix + 200],
        r"its matrix has numbers that are not finite": whole[: matrix + 20]
        + struct.pack("<f", float("inf"))
        + whole[matrix + 24 :],
    }


@pytest.mark.parametrize("complaint", _texts())
def test_damage_is_named_with_its_place(tmp_path: Path, complaint: str) -> None:
    (tmp_path / "bad.vec").write_bytes(_texts()[complaint])
    with pytest.raises(DataError, match=complaint) as caught:
        read(tmp_path / "bad.vec", [f"w{at}" for at in range(1, 9)])
    assert str(tmp_path / "bad.vec") in str(caught.value)


def test_a_cut_fasttext_file_that_is_packed(tmp_path: Path) -> None:
    data = FastTextFile(["cat", "dog"]).data()
    (tmp_path / "v").write_bytes(gzip.compress(data[:-300]))
    with pytest.raises(DataError, match=r"it is cut off in its matrix"):
        read(tmp_path / "v")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    line = b"w" + b" 0" * 9000 + b"\n"
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(line * 6000, 1))
    with pytest.raises(DataError, match="grows more than 100-fold"):
        read(tmp_path / "bomb.gz")


def test_words_that_word2vec_cut_are_passed_over(tmp_path: Path) -> None:
    words = ["cat", "x" * 97 + "é", "dog"]
    path = word2vec_binary(tmp_path / "v", table(words, 3))
    path.write_bytes(path.read_bytes().replace("é".encode(), "é".encode()[:1]))
    found = read(path, ["cat", "dog"])
    assert (found.match_kinds.tolist(), found.truncated_words) == ([AS_WRITTEN, AS_WRITTEN], 1)


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    for look in (detect_vector_format, read):
        with pytest.raises(DataError, match=r"is a folder|does not exist"):
            look(tmp_path / name)


def test_progress_is_told_in_megabytes(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    path = glove(tmp_path / "v", table([f"w{at}" for at in range(2000)], 50))
    with events.use_listener(heard.append):
        read(path)
    (started,) = [event for event in heard if isinstance(event, events.StageStarted)]
    done = sum(event.amount for event in heard if isinstance(event, events.StageAdvanced))
    assert started.total == pytest.approx(path.stat().st_size / 1e6) == pytest.approx(done)


@pytest.mark.parametrize("write", [glove, word2vec_text, word2vec_binary])
def test_a_cut_file_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Cut anywhere, but within the very last number, or (without a header) behind a row."""
    vectors = table(["cat", "dog", "horse"], 3)
    whole = write(tmp_path / "v", vectors).read_bytes()
    refused = 0
    for length in range(len(whole.rstrip()) if write is not word2vec_binary else len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        try:
            found = read(tmp_path / "cut", ["horse"])
        except DataError:
            refused += 1
            continue
        assert write is not word2vec_binary
        if write is word2vec_text:
            assert found.rows == 3
            assert np.array_equal(found.vectors[0][:2], vectors["horse"][:2])
    assert refused > len(whole) / 2
