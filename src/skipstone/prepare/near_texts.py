"""Near duplicates of texts: the same words with other capitals, signs and spaces, with a typing
mistake, a word put in or left out, or an end that is cut off.

    words --rare features in common, neighbours in order--> pairs --letters, words--> the same

1. Texts are taken as their words: Unicode's NFKC, casefolded, signs left out. Equal rows of words
   are the same at once.
2. The others are described by their words, runs of two and of three, and pairs with one word
   between ("shingles", Broder 1997), the rarest few of each text: what two texts share, both rank
   alike, so that rare ones come first (prefix filtering, Chaudhuri et al. 2006). Texts that share
   two are a pair; so are neighbours in alphabetical order, read forwards and backwards (Hernandez
   and Stolfo 1995).
3. How many letters have to be replaced at least is known by counting letters alone (bag distance,
   Bartolini et al. 2002), which most pairs do not survive.
4. Of the rest, words are laid beside each other. Another word in place of one is another text
   (France, Spain), but for one in 20; a typing mistake (Damerau 1964) is none, unless both words
   are known from other texts.

Time grows with the number of words, as each text has so many features, and each feature so many
pairs.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone import events
from skipstone.inputs.text_features import text_of
from skipstone.inputs.text_grams import Grams, letters_of, token_grams, word_ngrams
from skipstone.prepare.same_words import CUT, Beside, agreement, unlike_at_most
from skipstone.prepare.together import Link

Array = np.ndarray

#: Rarest features of a text that it is looked up by, and texts that each is compared with.
_RAREST, _WINDOW = 10, 16
#: From so many words on, only a share of the features is kept: half of them, a quarter, ...
_LONG = 256
_BUCKETS = 32  # of letters, for the bag distance
#: How strongly a word is marked that differs, and how many letters of a text are shown.
DIFFERS, _SHOWN = 0.6, 1500
_PAIRS = 1 << 18  # compared by their letters together
_SKIP = np.uint64(0xA0761D6478BD642F)


@dataclass(frozen=True)
class Corpus:
    """Args:
    words: of each text.
    grams: the same as hashes; `text` says whose each is.
    commonness: {word: in how many texts it occurs}.
    """

    words: list[list[str]]
    grams: Grams
    commonness: dict[str, int]


def near_texts(texts: Sequence[str | None]) -> list[Link]:
    """Links between positions in `texts`; None and what has too few words have none."""
    known = [row for row, text in enumerate(texts) if text]
    rows: dict[str, list[int]] = {}
    for row, words in zip(known, words_of([texts[row] or "" for row in known]), strict=True):
        if words:
            rows.setdefault(" ".join(words), []).append(row)
    links = [Link(same[0], row, 1.0) for same in rows.values() for row in same[1:]]
    distinct = list(rows)
    corpus = _corpus(distinct)
    first = [same[0] for same in rows.values()]
    pairs = _alike(corpus, _pairs(corpus, distinct))
    for a, b in events.track(pairs, "comparing texts", unit="pairs"):
        found = agreement(corpus.words[a], corpus.words[b], corpus.commonness)
        if found is not None:
            links.append(Link(first[a], first[b], round(found.share, 4)))
    return sorted(links, key=lambda link: (link.first, link.second))


def folded(text: str) -> str:
    """A text without what near duplicates may differ in: capitals, width, ligatures."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, folded; signs are none."""
    plain = [folded(text) for text in texts]
    tokens = _words(plain)
    joined = "\n".join(plain) + "\n"
    found: list[list[str]] = [[] for _ in texts]
    spans = zip(tokens.text.tolist(), tokens.first.tolist(), tokens.last.tolist(), strict=True)
    for text, begin, end in spans:
        found[text].append(joined[begin:end])
    return found


def beside(sources: Sequence[bytes], *, compared: bool) -> list[list[tuple[str, float]]]:
    """Each text in pieces, for a person: (piece, weight), where words that differ from the first
    text's have a weight below 0. Where not `compared`, none has.

    The first text's own weights are against the second's. Ends of long texts are left out.
    """
    cut = [_shortened(_text(data)) for data in sources]
    marked = [_spans(text) for text in cut]
    words = [[folded(text[a:b]) for a, b in spans] for text, spans in zip(cut, marked, strict=True)]
    odd: list[Collection[int]] = [()] * len(cut)
    if compared:
        for at in range(len(cut) - 1, 0, -1):
            odd[0], odd[at] = Beside(words[0], words[at], {}).only
    return [
        _pieces(text, spans, set(only)) for text, spans, only in zip(cut, marked, odd, strict=True)
    ]


def _text(data: bytes) -> str:
    try:
        return text_of(data)
    except ValueError:
        return data.decode("utf-8", "backslashreplace")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " …"


def _spans(text: str) -> list[tuple[int, int]]:
    words = _words([text])
    return list(zip(words.first.tolist(), words.last.tolist(), strict=True))


def _pieces(text: str, spans: list[tuple[int, int]], odd: set[int]) -> list[tuple[str, float]]:
    pieces, end = [], 0
    for at, (begin, last) in enumerate(spans):
        if at in odd:
            pieces += [(text[end:begin], 0.0), (text[begin:last], -DIFFERS)]
            end = last
    return [piece for piece in (*pieces, (text[end:], 0.0)) if piece[0]]


def _words(plain: Sequence[str]) -> Grams:
    """Tokens without lone signs."""
    letters = letters_of(plain)
    tokens = token_grams(letters)
    keep: Array
    initials, place = np.unique(letters.points[tokens.first], return_inverse=True)
    lettered = np.array([chr(point).isalnum() for point in initials.tolist()], bool)
    keep = lettered[place] | (tokens.last - tokens.first > 1)
    return Grams(tokens.hashes[keep], tokens.text[keep], tokens.first[keep], tokens.last[keep])


def _corpus(distinct: list[str]) -> Corpus:
    words = [text.split(" ") for text in distinct]
    commonness: dict[str, int] = {}
    for text in words:
        for word in set(text):
            commonness[word] = commonness.get(word, 0) + 1
    return Corpus(words, _words(distinct), commonness)


# --- pairs --------------------------------------------------------------------------------------


def _pairs(corpus: Corpus, distinct: list[str]) -> Array:
    """(P, 2) pairs of texts worth a closer look, each once, the smaller first."""
    count = len(distinct)
    order = sorted(range(count), key=distinct.__getitem__)
    turned = sorted(range(count), key=lambda at: distinct[at][::-1])
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    keys = [_sharing(corpus.grams, rank, count)]
    for row in (np.array(order, np.int64), np.array(turned, np.int64)):
        keys += [_key(row[:-step], row[step:], count) for step in (1, 2)]
    found = np.unique(np.concatenate(keys))
    return np.stack([found // max(count, 1), found % max(count, 1)], axis=1)


def _key(a: Array, b: Array, count: int) -> Array:
    keys: Array = np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b)
    return keys


def _sharing(tokens: Grams, rank: Array, count: int) -> Array:
    """Keys of pairs that share two of their rarest features, or the only one that either has."""
    text, feature = _features(tokens, count)
    feature, how_many = _numbered(feature)
    keep = how_many >= 2  # others are nobody else's
    text, feature, how_many = text[keep], feature[keep], how_many[keep]
    order = np.lexsort((feature, how_many, text))
    text, feature = text[order], feature[order]
    begins = np.searchsorted(text, np.arange(count))
    chosen = np.arange(len(text)) - begins[text] < _RAREST
    text, feature = text[chosen], feature[chosen]
    has = np.bincount(text, minlength=count)
    order = np.lexsort((rank[text], feature))
    text, feature = text[order], feature[order]
    keys = []
    at = np.arange(len(text))
    for step in range(1, _WINDOW + 1):
        at = at[at + step < len(text)]
        at = at[feature[at] == feature[at + step]]
        keys.append(_key(text[at], text[at + step], count))
    every, times = np.unique(np.concatenate(keys), return_counts=True)
    fewest = np.minimum(has[every // max(count, 1)], has[every % max(count, 1)])
    return np.asarray(every[times >= np.minimum(fewest, 2)])


def _features(tokens: Grams, count: int) -> tuple[Array, Array]:
    """(text, hash) of every feature, each once a text; a share of those of long texts."""
    runs = word_ngrams(tokens, 3)
    text = [part.text for part in runs]
    hashes = [part.hashes for part in runs]
    same = tokens.text[:-2] == tokens.text[2:]
    hashes.append((tokens.hashes[:-2] * _SKIP + tokens.hashes[2:])[same])
    text.append(tokens.text[:-2][same])
    owner, found = np.concatenate(text).astype(np.int64), np.concatenate(hashes)
    length = np.bincount(tokens.text, minlength=count)
    halvings = np.log2(np.maximum(length / _LONG, 1)).astype(np.uint64)
    # By the hash, so that texts of about one length keep the same ones.
    keep = (found >> np.uint64(8)) & ((np.uint64(1) << halvings[owner]) - np.uint64(1)) == 0
    owner, found = owner[keep], found[keep]
    order = np.lexsort((found, owner))
    owner, found = owner[order], found[order]
    new = np.append(True, (owner[1:] != owner[:-1]) | (found[1:] != found[:-1]))[: len(owner)]
    return owner[new], found[new]


def _numbered(feature: Array) -> tuple[Array, Array]:
    """Features as numbers, and in how many texts each occurs."""
    _, number, counts = np.unique(feature, return_inverse=True, return_counts=True)
    return number, counts[number]


def _alike(corpus: Corpus, pairs: Array) -> list[tuple[int, int]]:
    """The pairs that neither their letters nor their words rule out."""
    bags = np.zeros((len(corpus.words), _BUCKETS), np.int32)
    for text, words in enumerate(corpus.words):
        points = np.frombuffer("".join(words).encode("utf-32-le"), "<u4")
        bags[text] = np.bincount(points % _BUCKETS, minlength=_BUCKETS)
    counts = _counts(corpus)
    lengths = np.array([len(words) for words in corpus.words])
    kept = []
    for part in _parts(pairs):
        more = bags[part[:, 0]] - bags[part[:, 1]]
        gone, come = np.maximum(more, 0).sum(1), np.maximum(-more, 0).sum(1)
        longer = np.maximum(bags[part[:, 0]].sum(1), bags[part[:, 1]].sum(1))
        replaced, moved = np.minimum(gone, come), np.maximum(gone, come)
        part = part[(replaced <= 2 + 0.1 * longer) & (moved <= 2 + CUT * longer)]
        both = lengths[part]
        shared = counts[part[:, 0]].minimum(counts[part[:, 1]]).sum(axis=1)
        unlike = both.min(1, initial=1 << 30) - np.asarray(shared).ravel()
        kept.append(part[unlike <= unlike_at_most(both.max(1, initial=0))])
    return [(a, b) for part in kept for a, b in part.tolist()]


def _counts(corpus: Corpus) -> Any:
    """scipy.sparse.csr_array (texts, words): how often each text has each word."""
    from scipy.sparse import csr_array

    _, number = np.unique(corpus.grams.hashes, return_inverse=True)
    ones = np.ones(len(number), np.int32)
    shape = (len(corpus.words), int(number.max(initial=0)) + 1)
    found = csr_array((ones, (corpus.grams.text, number)), shape)
    found.sum_duplicates()
    return found


def _parts(pairs: Array) -> Iterator[Array]:
    for at in range(0, len(pairs), _PAIRS):
        yield pairs[at : at + _PAIRS]
