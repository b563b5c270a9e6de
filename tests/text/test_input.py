"""The input `text` against scikit-learn's vectorizers and Python's own tokenising."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import normalize

from skipstone.core.errors import DamagedError, DataError
from skipstone.data.sources import Inline
from skipstone.text import input as text_module
from skipstone.text.fit_vocabulary import DocumentFrequencies
from skipstone.text.input import TextInput
from skipstone.text.ngrams import (
    Letters,
    NGrams,
    char_ngrams,
    hash_tokens,
    normalize_text,
    opening_pairs,
    skip_grams,
    to_letters,
    word_ngrams,
)
from skipstone.text.options import TextOptions
from tests.text_data import rows

TEXTS = [text for text, _ in rows(40)] + ["", "a", "don't stop-me now!", "naïve  café\n\tx"]


def sources(texts: list[str]) -> list[Inline]:
    return [Inline(text.encode(), name=f"text {at}") for at, text in enumerate(texts)]


def spans(texts: list[str], grams: list) -> list[tuple[int, str]]:
    joined = "\n".join(texts) + "\n"
    return [
        (int(text), joined[first:last])
        for part in grams
        for text, first, last in zip(part.text, part.first, part.last, strict=True)
    ]


def test_tokens_are_words_and_lone_signs() -> None:
    texts = [normalize_text(text, True) for text in TEXTS]
    found = spans(texts, [hash_tokens(to_letters(texts))])
    expected = [
        (at, token)
        for at, text in enumerate(texts)
        for token in re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]", text)
    ]
    assert found == expected


@pytest.mark.parametrize("text", ["猫が好き", "ภาษา", "日本語abc"])
def test_writing_without_spaces_is_split_by_letter(text: str) -> None:
    tokens = [span for _, span in spans([text], [hash_tokens(to_letters([text]))])]
    assert len(tokens) >= 3
    assert "".join(tokens) == text


@pytest.mark.parametrize("word", ["हिन्दी", "می\u200cخواهم", "école", "foo_bar2"])
def test_marks_and_joiners_stay_in_their_word(word: str) -> None:
    assert [span for _, span in spans([word], [hash_tokens(to_letters([word]))])] == [word]


def test_equal_spans_have_equal_hashes_and_others_do_not() -> None:
    letters = to_letters(TEXTS)
    grams = [*word_ngrams(hash_tokens(letters), 3), *char_ngrams(letters, 2, 5)]
    joined = "\n".join(TEXTS) + "\n"
    for part in grams:
        seen: dict[int, tuple[str, ...]] = {}
        for code, first, last in zip(part.hashes, part.first, part.last, strict=True):
            span = tuple(joined[first:last].split())
            assert seen.setdefault(int(code), span)[-1] == span[-1]
    words = {s for _, s in spans(TEXTS, grams[:1])}
    assert len(set(grams[0].hashes.tolist())) == len(words)


def _every_kind(letters: Letters) -> list[NGrams]:
    tokens = hash_tokens(letters)
    words = [*word_ngrams(tokens, 3), *skip_grams(tokens, letters.count, 3)]
    return [*words, *opening_pairs(tokens, 2), *char_ngrams(letters, 1, 4)]


def test_a_text_hashes_alike_alone_and_among_others() -> None:
    """What a vocabulary was fitted on in chunks must be found again one text at a time."""
    letters = to_letters(TEXTS)
    together = _every_kind(letters)
    for at, text in enumerate(TEXTS):
        own = to_letters([text])
        alone = _every_kind(own)
        whole = [code for part in together for code in part.hashes[part.text == at].tolist()]
        assert [code for part in alone for code in part.hashes.tolist()] == whole


def _bag(**options: object) -> TextInput:
    given = TextOptions(text_features="bag", **options)  # type: ignore[arg-type]
    return TextInput(given).fit(sources(TEXTS))


def test_tfidf_equals_scikit_learns() -> None:
    """Columns are in another order; texts' products with each other are the same."""
    ours, kept = _bag(word_ngrams="1-2", char_ngrams="none").make_feature_matrix(sources(TEXTS))
    token = r"(?u)[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]"
    theirs = TfidfVectorizer(ngram_range=(1, 2), token_pattern=token, sublinear_tf=True)
    expected = theirs.fit_transform(TEXTS)
    assert kept == list(range(len(TEXTS)))
    assert ours.shape == expected.shape
    assert ours.indices.dtype == ours.indptr.dtype == np.int32  # or liblinear refuses it
    products = (ours @ ours.T).toarray()
    np.testing.assert_allclose(products, (expected @ expected.T).toarray(), atol=1e-6)


def test_letters_in_runs_are_scikit_learns() -> None:
    texts = [" ".join(text.split()) for text in TEXTS if text]
    given = TextOptions(
        text_features="bag", word_ngrams="none", char_ngrams="2-4", weighting="binary"
    )
    ours, _ = TextInput(given).fit(sources(texts)).make_feature_matrix(sources(texts))
    theirs = CountVectorizer(analyzer="char", ngram_range=(2, 4), binary=True)
    expected = theirs.fit_transform([f"\x02{text}\x02" for text in texts])
    assert ours.shape == expected.shape
    assert (ours > 0).sum(axis=1).tolist() == expected.sum(axis=1).ravel().tolist()[0]


def _words(text: str) -> list[str]:
    return [span for _, span in spans([text.lower()], [hash_tokens(to_letters([text.lower()]))])]


def _apart(text: str) -> list[str]:
    words = ["<", *_words(text), ">"]
    places = itertools.combinations(range(len(words)), 2)
    return [f"{words[i]} {words[j]}" for i, j in places if 1 <= j - i - 1 <= 3]


def _opened(text: str) -> list[str]:
    words = _words(text)
    found = [" ".join([*words[:m], "~", word]) for m in (1, 2) for word in words[m:]]
    return [*found, "?"]  # scikit-learn wants one in each text


@pytest.mark.parametrize(
    ("options", "listed"),
    [({"skip_grams": 3}, _apart), ({"opening_words": 2}, _opened)],
    ids=["skip", "opening"],
)
def test_pairs_of_words_are_those_that_python_lists(options: dict, listed: Callable) -> None:
    made = _bag(word_ngrams="none", char_ngrams="none", weighting="counts", **options)
    ours = made.make_feature_matrix(sources(TEXTS))[0]
    theirs = CountVectorizer(analyzer=listed)
    expected = theirs.fit_transform(TEXTS).tolil()
    if "?" in theirs.vocabulary_:
        expected[:, theirs.vocabulary_["?"]] = 0
    expected = normalize(expected.tocsr().astype(np.float64))
    expected.eliminate_zeros()
    assert ours.shape[1] == len(np.unique(expected.indices))
    np.testing.assert_allclose(
        (ours @ ours.T).toarray(), (expected @ expected.T).toarray(), atol=1e-6
    )


def test_pairs_of_words_span_what_they_are_of() -> None:
    letters = to_letters(["how many red cats", "", "so"])
    tokens = hash_tokens(letters)
    apart = spans(["how many red cats", "", "so"], skip_grams(tokens, 3, 1))
    assert apart == [
        *((0, "how many"), (0, "how many red"), (0, "many red cats"), (0, "red cats"), (2, "so"))
    ]
    opened = spans(["how many red cats", "", "so"], opening_pairs(tokens, 3)[2:])
    assert opened == [(0, "how many red cats")]


@pytest.mark.parametrize(
    "options", [{}, {"hash_bits": 8}, {"skip_grams": 4, "opening_words": 2}], ids=str
)
def test_one_text_is_encoded_as_its_row_of_the_matrix(options: dict) -> None:
    made = _bag(**options)
    new = [*TEXTS, "unheard-of words 中文"]
    matrix, _ = made.make_feature_matrix(sources(new))
    for row, source in enumerate(sources(new)):
        arrays = made.encode(made.decode(source))
        whole = np.zeros(made.feature_spec().channels)
        np.add.at(whole, arrays["features"], arrays["values"])
        np.testing.assert_allclose(whole[1:], matrix[[row]].toarray()[0], atol=1e-6)
        assert whole[0] == 0


def test_tokens_become_ids_and_strangers_one_id() -> None:
    made = TextInput(TextOptions(text_features="tokens")).fit(sources(["red cat", "red dog"]))
    ids = [
        made.encode(made.decode(Inline(text.encode())))["tokens"].tolist()
        for text in ("red cat dog", "RED newt", "", "cat red")
    ]
    assert ids[0][0] == ids[1][0] == ids[3][1] > 1
    assert ids[1][1] == 1
    assert ids[2] == [1]
    assert ids[3] == ids[0][1::-1]
    assert made.feature_spec().channels == 5


def test_a_vocabulary_keeps_the_commonest() -> None:
    made = TextInput(TextOptions(text_features="tokens", vocabulary=2)).fit(
        sources(["a b c", "a b", "a d", "b"])
    )
    [ids] = [made.encode(made.decode(Inline(b"a b c d")))["tokens"].tolist()]
    assert sorted(ids[:2]) == [2, 3]
    assert ids[2:] == [1, 1]


def test_state_gives_the_same_input_again_and_another_vocabulary_is_refused() -> None:
    made = _bag()
    state, arrays = made.get_state()
    again = TextInput(made.options, state, arrays)
    source = Inline(b"the very red newt")
    for name, value in made.encode(made.decode(source)).items():
        assert np.array_equal(value, again.encode(again.decode(source))[name])
    changed = {**arrays, "vocabulary.0": arrays["vocabulary.0"][::-1].copy()}
    with pytest.raises(DamagedError, match="vocabulary"):
        TextInput(made.options, state, changed)


def test_bytes_that_are_no_utf8_are_named_by_line() -> None:
    with pytest.raises(DataError, match=r"x\.txt, line 2, byte 4: 0xe9"):
        _bag().decode(Inline(b"fine\ncaf\xe9", name="x.txt"))


def test_goldens_are_told_apart() -> None:
    made = _bag()
    goldens = made.make_golden_files(16)
    assert goldens == made.make_golden_files(16)
    rows = {made.encode(made.decode(Inline(data)))["features"].tobytes() for _, data in goldens}
    assert len(rows) >= 14


def test_byte_pairs_know_every_text_and_come_back_from_arrays() -> None:
    given = TextOptions(text_features="tokens", token_level="bpe", vocabulary=400)
    made = TextInput(given).fit(sources(TEXTS))
    again = TextInput(given, *made.get_state())
    for text in ("the red newt", "never seen: żółw 猫", ""):
        source = Inline(text.encode())
        ids = made.encode(made.decode(source))["tokens"]
        assert np.array_equal(ids, again.encode(again.decode(source))["tokens"])
        assert ids.min() >= 1
        assert ids.max() < made.feature_spec().channels
    assert made.decode_spec is None


def test_the_cache_of_encoded_texts_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sources([f"the letter {n} " * 200 for n in range(40)])
    roomy = TextInput(TextOptions(text_features="tokens")).fit(texts)
    monkeypatch.setattr(text_module, "_CACHE_BYTES", 50_000)
    bounded = TextInput(roomy.options, *roomy.get_state())
    encode, made = bounded._encode_text, []

    def counting(data: bytes) -> dict[str, np.ndarray]:
        made.append(data)
        return encode(data)

    monkeypatch.setattr(bounded, "_encode_text", counting)
    for source in [*texts, *texts]:
        raw = roomy.decode(source)
        found = bounded.encode(raw)["tokens"]
        assert np.array_equal(found, roomy.encode(raw)["tokens"])
    assert 1 <= 80 - len(made) <= 50_000 // (raw.value.nbytes + found.nbytes)


@pytest.mark.parametrize("seed", range(4))
def test_frequencies_are_those_of_counting_however_texts_are_cut(seed: int) -> None:
    dice = random.Random(seed)
    texts = [[int(dice.paretovariate(0.5)) for _ in range(dice.randrange(9))] for _ in range(300)]
    expected = Counter(code for text in texts for code in set(text))
    seen, begin = DocumentFrequencies(), 0
    while begin < len(texts):
        part = texts[begin : begin + dice.choice([1, 2, 5, 40])]
        begin += len(part)
        owner = np.repeat(np.arange(len(part)), [len(text) for text in part])
        seen.add_chunk(owner, np.array([code for text in part for code in text], np.uint64))
        if dice.random() < 0.05:
            seen.select_most_common(5, 1)  # asking in between changes nothing
    hashes, counts = seen.select_most_common(1 << 40, 1)
    assert hashes.tolist() == sorted(expected)
    assert counts.tolist() == [expected[code] for code in sorted(expected)]


def test_frequencies_cost_what_a_corpus_has_not_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_in_all, unique = [], np.unique

    def counting(values: np.ndarray, **options: bool) -> object:
        sorted_in_all.append(len(values))
        return unique(values, **options)

    monkeypatch.setattr(np, "unique", counting)
    seen = DocumentFrequencies()
    for chunk in range(200):
        seen.add_chunk(np.zeros(100, np.int64), np.arange(100, dtype=np.uint64) + 100 * chunk)
    assert len(seen.select_most_common(1 << 40, 1)[0]) == 20_000
    assert sum(sorted_in_all) < 10 * 20_000
