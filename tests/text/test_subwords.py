"""The parts of words against slices of Python's own strings, and the ids that they have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.core.errors import DamagedError, UsageError
from skipstone.data.sources import Inline
from skipstone.text.features import FIRST, PAD, UNKNOWN
from skipstone.text.input import TextInput
from skipstone.text.ngrams import hash_tokens, normalize_text, to_letters
from skipstone.text.options import TextOptions
from skipstone.text.subwords import MAX_SUBWORDS, subword_ids

TEXTS = ["the painter painted", "a cat saw it", "who?"]


def fitted(**more: object) -> TextInput:
    options = TextOptions(text_features="tokens", subwords="3-5", subword_bits=10, **more)  # type: ignore[arg-type]
    return TextInput(options).fit([Inline(text.encode()) for text in TEXTS])


def ids_of(input: TextInput, text: str) -> np.ndarray:
    return np.asarray(input.encode(input.decode(Inline(text.encode())))["tokens"])


@given(
    st.lists(st.text(alphabet="abcé日ก _?\n"), max_size=5),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_parts_are_runs_of_letters_with_a_words_ends(
    texts: list[str], shortest: int, more: int
) -> None:
    letters = to_letters([normalize_text(text, True) for text in texts])
    tokens = hash_tokens(letters)
    spec = {"shortest": shortest, "longest": shortest + more, "bits": 62}
    small = np.zeros(len(letters.points), bool)
    found = subword_ids(letters, small, tokens.first, tokens.last, spec)
    assert found.shape == (len(tokens.first), MAX_SUBWORDS)
    assert (found[:, 0] == -1).all()
    written = "".join(map(chr, letters.points.tolist()))
    number: dict[str, int] = {}
    for row, first, last in zip(found, tokens.first, tokens.last, strict=True):
        word = f"\x01{written[first:last]}\x02"
        runs = [
            word[start : start + length]
            for length in range(shortest, shortest + more + 1)
            for start in range(len(word) - length + 1)
        ][: MAX_SUBWORDS - 1]
        assert (row[1 + len(runs) :] == -1).all()
        for run, seen in zip(runs, row[1:].tolist(), strict=False):
            assert number.setdefault(run, seen) == seen >= 0
    assert len(set(number.values())) == len(number)  # of 2^62 no two meet


def test_a_words_parts_come_behind_the_vocabulary() -> None:
    input = fitted()
    words = len(input.get_state()[1]["vocabulary"])
    assert input.feature_spec().channels == FIRST + words + 1024 + 3
    ids = ids_of(input, "the painter saw who?")
    assert ids.shape == (5, 1 + MAX_SUBWORDS)
    assert ids.dtype == np.int32
    assert (ids[:, 0] >= FIRST).all()
    assert (ids[:, 0] < FIRST + words).all()
    parts = ids[:, 1:][ids[:, 1:] != PAD]
    assert parts.min() >= FIRST + words
    assert parts.max() < input.feature_spec().channels
    assert np.count_nonzero(ids[1]) == 1 + 7 + 6 + 5  # <painter> has so many runs of 3, 4 and 5


def test_a_word_never_seen_shares_the_parts_of_those_that_were() -> None:
    input = fitted()
    known, new = (ids_of(input, text)[0] for text in ("painter", "paints"))
    assert new[0] == UNKNOWN != known[0]
    shared = (set(known[1:].tolist()) & set(new[1:].tolist())) - {PAD}
    assert len(shared) == 4 + 3 + 2  # <pa pai ain int, <pai pain aint, <pain paint


@pytest.mark.parametrize(
    ("written", "ways"),
    [
        ("who is it", [None, None, None]),
        ("Who is Bill", [None, None, 0]),  # a first word has a capital anyway
        ("NASA and McDonald", [1, None, 2]),
        ("I saw A B", [None, None, 0, 0]),
        ("a \u0130 B", [None, None, None]),  # small letters are more than those written
    ],
)
def test_how_a_word_is_written_is_a_part_of_it(written: str, ways: list[int | None]) -> None:
    input = fitted()
    behind = FIRST + len(input.get_state()[1]["vocabulary"]) + 1024
    expected = [PAD if way is None else behind + way for way in ways]
    found = ids_of(input, written)
    assert found[: len(expected), 1].tolist() == expected
    np.testing.assert_array_equal(found[:, 2:], ids_of(input, normalize_text(written, True))[:, 2:])


def test_with_capitals_as_they_are_they_are_no_part() -> None:
    assert not ids_of(fitted(lowercase=False), "NASA and Bill")[:, 1].any()


def test_a_text_without_a_word_has_an_unknown_one_without_parts() -> None:
    assert ids_of(fitted(), " ").tolist() == [[UNKNOWN, *[PAD] * MAX_SUBWORDS]]


def test_a_narrower_vocabulary_keeps_the_parts() -> None:
    input = fitted()
    known = input.removable_ids()
    narrow = input.restrict_vocabulary(np.array([known[0], known[2]]))
    assert len(narrow.removable_ids()) == 2
    assert narrow.feature_spec().channels == FIRST + 2 + 1024 + 3
    before, after = ids_of(input, "the painter"), ids_of(narrow, "the painter")
    gone = len(known) - 2
    np.testing.assert_array_equal(
        np.where(before[:, 1:] == PAD, PAD, before[:, 1:] - gone), after[:, 1:]
    )


@pytest.mark.parametrize(
    ("more", "parts"),
    [({}, (3, 5)), ({"token_level": "char"}, (0, 0)), ({"tokenizer": "t.json"}, (0, 0))],
)
def test_auto_is_where_tokens_are_words(more: dict[str, object], parts: tuple[int, int]) -> None:
    made = TextOptions(text_features="tokens", subwords="auto", **more)  # type: ignore[arg-type]
    assert made.subword_range == parts


@pytest.mark.parametrize(
    ("given_options", "told"),
    [
        ({"subwords": "three"}, "subwords is 'three'; allowed: 'auto', 'none', or a range"),
        (
            {"subwords": "3-5", "token_level": "char"},
            "with token_level 'char'; they need whole words",
        ),
        ({"subwords": "3-5", "tokenizer": "t.json"}, "with a tokenizer; they need whole words"),
        ({"subwords": "3-5", "subword_bits": 40}, "subword_bits"),
        ({"subword_bits": 12}, "subword_bits has no effect without subwords"),
    ],
)
def test_what_has_no_parts_is_refused(given_options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TextOptions(text_features="tokens", **given_options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bits": 9}, "besides 515 subwords"),
        ({"bits": 60}, "bits is not from 1 to 26"),
        ({"longest": 2}, "longest is not from 3"),
        ({"shortest": "3"}, "shortest is not from 1"),
    ],
)
def test_a_changed_state_is_damage(change: dict[str, object], told: str) -> None:
    input = fitted()
    state, arrays = input.get_state()
    with pytest.raises(DamagedError, match=told):
        TextInput(input.options, {**state, "subwords": {**state["subwords"], **change}}, arrays)
