"""Near duplicates of texts: other capitals, punctuation or spaces, a typo, a word inserted or left
out, an end that is cut off.

    words -> MinHash of shingles, LSH -> candidate pairs -> diff of the words -> links

1. A text becomes its words: NFKC, casefolded, without punctuation. Texts of equal words are
   duplicates at once.
2. MinHash signatures estimate the Jaccard similarity of shingles; pairs that agree in a band of the
   signature are candidates (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3).
   Shingles are 4 letters of a short text and 2 words of a long one: long texts share most letters.
3. The words of each candidate pair are aligned (difflib). A replaced word makes another text
   (France, Spain), except one word in 20. A typo (one edit; Damerau 1964) does not, unless both
   words occur in other texts.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np

from skipstone.core import events
from skipstone.datasets.grouping import Link
from skipstone.text.features import decode_utf8
from skipstone.text.ngrams import NGrams, char_ngrams, hash_tokens, to_letters, word_ngrams

Array = np.ndarray

#: The signature: a pair of Jaccard similarity s is a candidate with probability 1 - (1 - s^4)^32.
_BANDS, _ROWS = 32, 4
_CANDIDATE = 0.35  # the least estimated similarity of a candidate
_WINDOW = 16  # neighbours in a bucket that a text is paired with
#: Texts of fewer words than `_SHORT` are compared by letters, those of at least `_LONG` by words. A
#: text and the same one without its end are both below the one or both from the other on.
_LONG, _SHORT = 32, 64
_CHUNK = 1 << 13  # texts whose shingles are in memory

#: Equal words and letters that a pair needs at least.
_MIN_WORDS, _MIN_LETTERS = 3, 12
#: The share of letters that may be inserted or left out, and that an end may have that is cut off.
_MAX_CHANGED, _MAX_CUT = 0.2, 0.45
#: An end that is cut off between words leaves 8 words at least; within a word, 4.
_MIN_CUT_WORDS = (8, 4)
#: One word in 20 may be replaced, and one in 5 have a typo (but always one).
_WORDS_PER_REPLACED, _WORDS_PER_TYPO = 20, 5
#: A typo is at least this many times rarer than the word, unless it occurs once.
_TYPO_RARITY = 20

#: The weight of a word that differs, and the letters of a text that a page shows.
DIFFERENCE_WEIGHT, _DISPLAY_LETTERS = 0.6, 1500


def find_near_duplicate_texts(texts: Sequence[str | None]) -> list[Link]:
    """Links between positions in `texts`; None and texts with too few words have none."""
    known = [row for row, text in enumerate(texts) if text]
    first_rows: dict[str, int] = {}
    links = []
    for start in range(0, len(known), _CHUNK):
        chunk = known[start : start + _CHUNK]
        for row, words in zip(chunk, split_words([texts[row] or "" for row in chunk]), strict=True):
            if words and (first := first_rows.setdefault(" ".join(words), row)) != row:
                links.append(Link(first, row, 1.0))
    distinct = sorted(first_rows)
    counts = Counter(word for text in distinct for word in set(text.split(" ")))
    pairs = _candidate_pairs(distinct, np.array([t.count(" ") + 1 for t in distinct], np.int64))
    for a, b in events.track_progress(pairs.tolist(), "comparing texts", unit="pairs"):
        score = compare_words(distinct[a].split(" "), distinct[b].split(" "), counts)
        if score is not None:
            first, second = sorted((first_rows[distinct[a]], first_rows[distinct[b]]))
            links.append(Link(first, second, round(score, 4)))
    return sorted(links, key=lambda link: (link.first, link.second))


def split_words(texts: Sequence[str]) -> list[list[str]]:
    """The folded words of each text, without punctuation."""
    folded = [_fold(text) for text in texts]
    joined = "\n".join(folded) + "\n"
    tokens = _word_tokens(folded)
    words: list[list[str]] = [[] for _ in texts]
    spans = zip(tokens.text.tolist(), tokens.first.tolist(), tokens.last.tolist(), strict=True)
    for text, begin, end in spans:
        words[text].append(joined[begin:end])
    return words


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _word_tokens(texts: Sequence[str]) -> NGrams:
    """Tokens except lone punctuation."""
    letters = to_letters(texts)
    tokens = hash_tokens(letters)
    initials, index = np.unique(letters.points[tokens.first], return_inverse=True)
    is_word = np.array([chr(point).isalnum() for point in initials.tolist()], bool)
    keep: Array = is_word[index] | (tokens.last - tokens.first > 1)
    return NGrams(tokens.hashes[keep], tokens.text[keep], tokens.first[keep], tokens.last[keep])


# --- candidates ---------------------------------------------------------------------------------


def _candidate_pairs(texts: list[str], words: Array) -> Array:
    """(P, 2) positions of texts, each pair once. `texts` are in alphabetical order, so that those
    of equal beginnings are neighbours in a bucket."""
    pairs = []
    for by_words, rows in (
        (False, np.flatnonzero((words >= _MIN_WORDS) & (words < _SHORT))),
        (True, np.flatnonzero(words >= _LONG)),
    ):
        signatures = _signatures([texts[row] for row in rows], by_words)
        pairs.append(rows[_similar_pairs(signatures)])
    return np.unique(np.concatenate(pairs), axis=0)


def _signatures(texts: list[str], by_words: bool) -> Array:
    """MinHash (N, bands * rows) uint32."""
    size = _BANDS * _ROWS
    factors = np.random.default_rng(0).integers(0, 1 << 63, size, np.uint64) * 2 + 1
    signatures = np.full((len(texts), size), 0xFFFFFFFF, np.uint32)
    for start in range(0, len(texts), _CHUNK):
        letters = to_letters(texts[start : start + _CHUNK])
        if by_words:
            grams = word_ngrams(hash_tokens(letters), 2)[1]
        else:
            (grams,) = char_ngrams(letters, 4, 4)
        begins = np.flatnonzero(np.diff(grams.text, prepend=-1))
        for n, factor in enumerate(factors):
            least = np.minimum.reduceat(grams.hashes * factor >> np.uint64(32), begins)
            signatures[start + grams.text[begins], n] = least
    return signatures


def _similar_pairs(signatures: Array) -> Array:
    """(P, 2) rows of signatures that agree in a band and in `_CANDIDATE` of all."""
    count = len(signatures)
    keys = [np.zeros(0, np.int64)]
    for band in np.split(signatures, _BANDS, axis=1):
        _, bucket = np.unique(band, axis=0, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        for step in range(1, _WINDOW + 1):
            first, second = order[:-step], order[step:]
            together = bucket[first] == bucket[second]
            keys.append(first[together] * count + second[together])
    found = np.unique(np.concatenate(keys))
    first, second = found // max(count, 1), found % max(count, 1)
    agree = np.zeros(len(found), np.uint8)
    for column in signatures.T:
        agree += column[first] == column[second]
    pairs: np.ndarray = np.stack([first, second], 1)
    candidates: np.ndarray = pairs[agree >= _CANDIDATE * signatures.shape[1]]
    return candidates


# --- comparison ---------------------------------------------------------------------------------


def compare_words(
    first: Sequence[str], second: Sequence[str], counts: Mapping[str, int]
) -> float | None:
    """The share of letters that are equal, or None if the texts say different things.

    Args:
        first, second: folded words.
        counts: {word: the number of texts with it}.
    """
    length = max(len(first), len(second))
    max_typos, max_replaced = max(1, length // _WORDS_PER_TYPO), length // _WORDS_PER_REPLACED
    one, two = set(first), set(second)
    if min(len(one - two), len(two - one)) > max_typos + max_replaced + 1:  # 1: a word that is cut
        return None
    typos = changed = cut_words = 0
    equal_words, equal_letters = len(first), _letters(first)
    removed, added = Counter[str](), Counter[str]()
    for a, b, c, d in _differences(first, second):
        old, new = first[a:b], second[c:d]
        equal_words, equal_letters = equal_words - len(old), equal_letters - _letters(old)
        if b == len(first) and d == len(second) and (cut_words := _min_cut_words(old, new)):
            changed += abs(_letters(old) - _letters(new))
        else:
            if len(old) == len(new):
                wrong = [n for n in range(len(old)) if not _is_typo(old[n], new[n], counts)]
                typos += len(old) - len(wrong)
                old, new = [old[n] for n in wrong], [new[n] for n in wrong]
            removed.update(old)
            added.update(new)
            changed += max(_letters(old), _letters(new))
    letters = max(_letters(first), _letters(second))
    max_share = _MAX_CUT if cut_words and equal_words >= cut_words else _MAX_CHANGED
    if (
        equal_words < _MIN_WORDS
        or equal_letters < _MIN_LETTERS
        or typos > max_typos
        or min((removed - added).total(), (added - removed).total()) > max_replaced
        or changed > max_share * letters
    ):
        return None
    return 1 - (changed + typos) / letters


def _differences(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Stretches of different words: first[a:b] and second[c:d]. "can not" equals "cannot"."""
    opcodes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return [
        (a, b, c, d)
        for _, a, b, c, d in opcodes
        if first[a:b] != second[c:d] and "".join(first[a:b]) != "".join(second[c:d])
    ]


def _min_cut_words(old: Sequence[str], new: Sequence[str]) -> int:
    """How many words an end has to leave that is cut off as between these two; 0 if none is."""
    short, long = sorted((old, new), key=len)
    if not short:
        return _MIN_CUT_WORDS[0]
    if len(short) == len(long):
        short, long = sorted((old, new), key=_letters)
    within = len(short) == 1 and long[0].startswith(short[0]) and not long[0][-1].isdigit()
    return _MIN_CUT_WORDS[1] if within else 0


def _is_typo(word: str, other: str, counts: Mapping[str, int]) -> bool:
    """Whether one edit makes one word the other, which is not a word of its own.

    Numbers have no typos, and words of 3 letters only swapped ones.
    """
    rarer, commoner = sorted((counts.get(word, 0), counts.get(other, 0)))
    if rarer > 1 and rarer * _TYPO_RARITY >= commoner:
        return False
    if max(len(word), len(other)) < 4 and sorted(word) != sorted(other):
        return False
    if any(letter.isdigit() for letter in word + other):
        return False
    short, long = sorted((word, other), key=len)
    letters = enumerate(zip(short, long, strict=False))
    at = next((index for index, (a, b) in letters if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = long[:at] + long[at : at + 2][::-1] + long[at + 2 :]
    return short in (swapped, long[:at] + short[at] + long[at + 1 :])


def _letters(words: Sequence[str]) -> int:
    return sum(map(len, words))


# --- display ------------------------------------------------------------------------------------


def diff_texts(
    sources: Sequence[bytes], *, mark_differences: bool
) -> list[list[tuple[str, float]]]:
    """Each text in pieces (text, weight) for a page. If `mark_differences`, words that differ from the
    first text's have a negative weight; in the first text, those that differ from the second's.

    Only the beginning of long texts.
    """
    texts = [_shorten(_decode(data)) for data in sources]
    spans = [_word_spans(text) for text in texts]
    words = [[_fold(text[a:b]) for a, b in rows] for text, rows in zip(texts, spans, strict=True)]
    marked: list[set[int]] = [set() for _ in texts]
    for index in range(len(texts) - 1, 0, -1) if mark_differences else ():
        differences = _differences(words[0], words[index])
        marked[0] = {n for a, b, _, _ in differences for n in range(a, b)}
        marked[index] = {n for _, _, c, d in differences for n in range(c, d)}
    return [_pieces(*row) for row in zip(texts, spans, marked, strict=True)]


def _decode(data: bytes) -> str:
    try:
        return decode_utf8(data)
    except ValueError:
        return data.decode("utf-8", "backslashreplace")


def _shorten(text: str) -> str:
    return text if len(text) <= _DISPLAY_LETTERS else text[:_DISPLAY_LETTERS].rstrip() + " …"


def _word_spans(text: str) -> list[tuple[int, int]]:
    tokens = _word_tokens([text])
    return list(zip(tokens.first.tolist(), tokens.last.tolist(), strict=True))


def _pieces(text: str, spans: list[tuple[int, int]], marked: set[int]) -> list[tuple[str, float]]:
    pieces, end = [], 0
    for index in sorted(marked):
        begin, last = spans[index]
        pieces += [(text[end:begin], 0.0), (text[begin:last], -DIFFERENCE_WEIGHT)]
        end = last
    return [piece for piece in (*pieces, (text[end:], 0.0)) if piece[0]]
