"""Near duplicates of texts: planted ones are found, and templated questions are not."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable

import pytest

from skipstone.text.near_duplicates import (
    _is_typo,
    compare_words,
    diff_texts,
    find_near_duplicate_texts,
    split_words,
)

PLACES = "France Spain Norway Kenya Peru Japan Ghana Chile Nepal Egypt Malta Qatar".split()  # noqa: SIM905
THINGS = ("capital", "population", "currency", "highest mountain", "longest river", "anthem")
KINDS = ("painted the ceiling of", "wrote the first book about", "paid for the bridge at")


def corpus(count: int, seed: int = 0) -> list[str]:
    """Texts of 8 to 20 words of a language of 400 words, none like another."""
    dice = random.Random(seed)
    words = [
        "".join(dice.choices(string.ascii_lowercase, k=dice.randint(3, 9))) for _ in range(400)
    ]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(dice.choices(words, weights, k=dice.randint(8, 20))) for _ in range(count)]


def capitals(text: str, dice: random.Random) -> str:
    return dice.choice((text.upper(), text.title(), text.capitalize()))


def signs(text: str, dice: random.Random) -> str:
    words = text.split()
    at = dice.randrange(1, len(words))
    return f"“{' '.join(words[:at])},  {' '.join(words[at:])}!”"


def mistyped(text: str, dice: random.Random) -> str:
    """One letter of a word of five or more is lost, doubled, another, or changes places."""
    words = text.split()
    long = [at for at, word in enumerate(words) if len(word) >= 5]
    if not long:
        return text + "."
    word = words[at := dice.choice(long)]
    i = dice.randrange(1, len(word) - 1)
    words[at] = dice.choice(
        (
            word[:i] + word[i + 1 :],
            word[:i] + word[i] + word[i:],
            word[:i] + "q" + word[i + 1 :],
            word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        )
    )
    return " ".join(words)


def put_in(text: str, dice: random.Random) -> str:
    words = text.split()
    words.insert(dice.randrange(len(words)), dice.choice(("very", "now", "old")))
    return " ".join(words)


def cut_off(text: str, dice: random.Random) -> str:
    """The last tenth to third of the letters is lost, within a word as a rule."""
    return text[: len(text) - max(3, int(len(text) * dice.uniform(0.1, 0.2)))]


PLANTED = (capitals, signs, mistyped, put_in, cut_off)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: str(plant.__name__))
def test_a_planted_copy_is_found_and_nothing_else(
    plant: Callable[[str, random.Random], str],
) -> None:
    dice = random.Random(7)
    texts = corpus(1500)
    planted = {}
    for number in range(150):
        planted[(number, len(texts))] = True
        texts.append(plant(texts[number], dice))
    found = {(link.first, link.second) for link in find_near_duplicate_texts(texts)}
    assert len(found & set(planted)) >= 147  # 0.98
    assert not found - set(planted)


def test_templated_questions_are_different() -> None:
    texts = [f"What is the {thing} of {place} ?" for thing in THINGS for place in PLACES]
    texts += [f"Who {kind} the cathedral of {place} ?" for kind in KINDS for place in PLACES]
    texts += [
        f"How many people lived in {place} in 19{year} ?" for place in PLACES for year in (71, 72)
    ]
    assert find_near_duplicate_texts(texts) == []


def test_a_word_that_others_use_is_no_mistake_of_another() -> None:
    known = ["Austria is small", "Austria has lakes", "Australia is large", "Australia has deserts"]
    pair = ["Which rivers flow through Austria ?", "Which rivers flow through Australia ?"]
    assert find_near_duplicate_texts([*pair, *known]) == []
    slip = ["Which rivers flow through Austria ?", "Which rivers flow through Austira ?"]
    assert [(link.first, link.second) for link in find_near_duplicate_texts([*slip, *known])] == [
        (0, 1)
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("the film was good and I liked it", "the film was bad and I liked it"),
        (
            "version 12 of the library was released today",
            "version 13 of the library was released today",
        ),
        ("what does S.O.S. stand for", "what does U.S.S.R. stand for"),
        ("yes", "yes it is"),
        ("who was the first president", "who was the first president of the whole country"),
    ],
)
def test_another_word_is_another_text(first: str, second: str) -> None:
    a, b = split_words([first, second])
    assert compare_words(a, b, {}) is None


def test_in_a_long_text_one_word_in_twenty_may_be_another() -> None:
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(40)]
    other = [*words[:20], "different", *words[21:]]
    score = compare_words(words, other, {})
    assert score is not None
    assert 0.9 < score < 1
    assert compare_words(words[:19], [*words[:10], "different", *words[11:19]], {}) is None


def test_a_long_text_is_found_by_its_words() -> None:
    dice = random.Random(5)
    long = [" ".join(corpus(4, seed)) for seed in range(200)]
    copies = [plant(text, dice) for text in long[:100] for plant in (mistyped, put_in, cut_off)]
    links = {(link.first, link.second) for link in find_near_duplicate_texts([*long, *copies])}
    planted = {(number // 3, 200 + number) for number in range(300)}
    assert len(links & planted) >= 297
    assert all((b - 200) // 3 == (a if a < 200 else (a - 200) // 3) for a, b in links)


@pytest.mark.parametrize(
    "writing", ["grün ist die Hoffnung im Frühling", "機械学習はとても面白いですね本当に"]
)
def test_any_writing(writing: str) -> None:
    texts = [
        writing,
        writing + "!",
        writing.replace("ü", "u\u0308"),
        "ganz etwas anderes steht hier",
    ]
    expected = [(0, 1), (0, 2)]
    assert [(link.first, link.second) for link in find_near_duplicate_texts(texts)] == expected


def test_typos_against_every_single_edit() -> None:
    """By the definition: all strings that one insertion, deletion, change or swap away."""

    def is_typo(word: str, other: str) -> bool:
        return _is_typo(word, other, {})

    word = "stream"
    letters = "aeiouxz"
    once = {word[:i] + word[i + 1 :] for i in range(6)}
    once |= {word[:i] + c + word[i:] for i in range(7) for c in letters}
    once |= {word[:i] + c + word[i + 1 :] for i in range(6) for c in letters}
    once |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(5)}
    once.discard(word)
    assert all(is_typo(word, other) for other in once)
    twice = {a[:i] + c + a[i + 1 :] for a in once for i in range(len(a)) for c in "xz"}
    assert not any(is_typo(word, other) for other in twice - once - {word})
    assert not is_typo("1987", "1988")
    assert not is_typo("cat", "cap")
    assert is_typo("teh", "the")


def test_differing_words_are_marked_and_nothing_is_lost() -> None:
    texts = ["We saw <b>red</b> cats today", "We saw  red CATS yesterday !"]
    pieces = diff_texts([text.encode() for text in texts], mark_differences=True)
    assert ["".join(piece for piece, _ in text) for text in pieces] == texts
    marked = [[piece for piece, weight in text if weight < 0] for text in pieces]
    assert marked == [["b", "b", "today"], ["yesterday"]]
    plain = diff_texts([text.encode() for text in texts], mark_differences=False)
    assert all(weight == 0 for text in plain for _, weight in text)


def test_copies_without_end_do_not_take_without_end() -> None:
    dice = random.Random(1)
    texts = [
        mistyped("the very same advertisement for wonderful watches again", dice)
        for _ in range(400)
    ]
    began = time.monotonic()
    links = find_near_duplicate_texts(texts)
    assert time.monotonic() - began < 20
    held = {row for link in links for row in (link.first, link.second)}
    assert len(held) == len(texts)
