"""Augmented texts: what each operation may do, how often, and that nothing else decides it."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipstone.core import events
from skipstone.core.errors import DataError, UsageError
from skipstone.core.registry import TASKS
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.datasets.augmentation import augment_options_type, make_augmentation
from skipstone.datasets.loader import Batching, Loader
from skipstone.datasets.options import LoadOptions
from skipstone.inputs.base import DecodedSample
from skipstone.text.augment import TextAugmentation, make_text_augmentation
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from skipstone.text.synonyms import read_synonyms
from skipstone.text.text_augment_options import (
    TEXT_OPERATIONS,
    TEXT_PRESETS,
    TextAugmentOptions,
)
from tests.text_data import rows, write_csv

TEXT = "The quick brown fox, naïve as ever, jumps over 12 lazy dogs — don't ask why! 猫が好き"
WORDS = re.findall(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+", TEXT)
SYNONYMS = {"quick": ("fast", "very swift"), "lazy": ("idle",), "the": ("this",)}


def many(strengths: dict[str, float], text: str = TEXT, count: int = 400) -> list[str]:
    augment = TextAugmentation(strengths, SYNONYMS)
    return [augment.augment_text(text, random.Random(seed)) for seed in range(count)]


def words_of(text: str) -> list[str]:
    return re.findall(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+", text)


def test_deletion_leaves_words_out_as_often_as_asked() -> None:
    lost = 0
    for text in many({"delete": 0.25}):
        left = words_of(text)
        kept = iter(WORDS)
        assert all(word in kept for word in left), "in order, and nothing new"
        assert re.sub(r"[^,!—']", "", text) == ",,—'!"  # signs stay
        assert "  " not in text
        lost += len(WORDS) - len(left)
    assert lost / (400 * len(WORDS)) == pytest.approx(0.25, abs=0.02)


def test_a_word_always_stays() -> None:
    assert {text.strip() for text in many({"delete": 1.0}, "one two three")} == {
        "one",
        "two",
        "three",
    }
    assert set(many({"delete": 1.0}, "?! ...")) == {"?! ..."}
    assert (
        TextAugmentation({"delete": 1.0, "swap": 1.0, "noise": 1.0}).augment_text(
            "", random.Random(0)
        )
        == ""
    )


def test_swapping_keeps_every_word_and_the_frame() -> None:
    frame = re.sub(r"\w", "", TEXT)
    moved = 0
    for text in many({"swap": 0.1}):
        assert Counter(words_of(text)) == Counter(WORDS)
        assert re.sub(r"\w", "", text) == frame
        assert set(words_of(text)[-4:]) == set("猫が好き")  # they move among themselves
        moved += sum(a != b for a, b in zip(words_of(text), WORDS, strict=True))
    # each swap moves two, unless a word meets itself or moves again
    assert moved / (400 * len(WORDS)) == pytest.approx(0.17, abs=0.03)


def edits(a: str, b: str) -> int:
    """Levenshtein's distance, a swap of neighbours counted as one."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            same = a[i - 1] != b[j - 1]
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + same)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return int(table[-1, -1])


def test_insertion_adds_synonyms_of_the_text_behind_its_words() -> None:
    inserted: Counter[str] = Counter()
    for text in many({"insert": 0.25}):
        words = iter(words_of(text))
        assert all(word in words for word in WORDS), "in order"
        new = Counter(words_of(text)) - Counter(WORDS)
        assert set(new) <= {"fast", "very", "swift", "idle", "this"}
        inserted += new
    assert sum(inserted.values()) - inserted["swift"] == pytest.approx(
        400 * len(WORDS) * 0.25, rel=0.1
    )


def test_without_a_table_insertion_adds_punctuation() -> None:
    augment = TextAugmentation({"insert": 0.3})
    count = 0
    for seed in range(400):
        text = augment.augment_text(TEXT, random.Random(seed))
        assert words_of(text) == WORDS
        count += len(re.findall(r"[.;?:!,]", text)) - len(re.findall(r"[.;?:!,]", TEXT))
    assert count / (400 * len(WORDS)) == pytest.approx(0.3, abs=0.02)


def test_misspelling_changes_one_letter_of_a_long_word() -> None:
    letters = set("".join(WORDS[:-4]))
    changed = 0
    for text in many({"noise": 0.3}, count=150):
        found = words_of(text)
        assert len(found) == len(WORDS)
        assert set("".join(found[:-4])) <= letters
        for word, before in zip(found, WORDS, strict=True):
            assert edits(word, before) <= (1 if len(before) >= 3 else 0)
            changed += word != before
    long = sum(len(word) >= 3 for word in WORDS)
    # some changes put back what was there: a letter swapped with its like, or changed to itself
    assert 0.24 < changed / (150 * long) <= 0.31


def test_synonyms_come_from_the_table_with_the_capitals_of_the_word() -> None:
    seen = Counter(
        " ".join(words_of(text)[:2]) for text in many({"synonyms": 0.5}, "The QUICK dog")
    )
    assert set(seen) == {
        *("The QUICK", "This QUICK", "The FAST", "This FAST", "The VERY", "This VERY"),
    }
    assert seen["The QUICK"] / 400 == pytest.approx(0.25, abs=0.06)
    assert all("idle dogs" in text for text in many({"synonyms": 1.0}, count=5))


def test_a_custom_callable_comes_last_and_leaves_the_dice_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import random\ndef shout(text):\n    return text.upper() + str(random.random())\n"
    (tmp_path / "mine_text.py").write_text(code + "def wrong(text):\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = make_text_augmentation(TextAugmentOptions(custom="mine_text:shout"), _input(["a b"]))
    assert made is not None
    assert not made.is_thread_safe
    state = random.getstate()
    first = made.augment_text("so it goes", random.Random(1))
    assert random.getstate() == state
    assert first.startswith("SO IT GOES0.")
    assert first == made.augment_text("so it goes", random.Random(1))
    wrong = make_text_augmentation(TextAugmentOptions(custom="mine_text:wrong"), _input(["a b"]))
    assert wrong is not None
    with pytest.raises(UsageError, match="mine_text:wrong returned int, not a str"):
        wrong.augment_text("a", random.Random(1))


def _input(texts: list[str]) -> TextInput:
    from skipstone.data.sources import Inline

    return TextInput(TextOptions(text_features="tokens")).fit([Inline(text) for text in texts])


# --- dice and the loader --------------------------------------------------------------------------


def _record(augment: TextAugmentation, **key: int) -> str:
    raw = DecodedSample(np.frombuffer(TEXT.encode(), np.uint8), (len(TEXT),))
    given = {"id": 3, "view": 0, "seed": 1, "epoch": 2} | key
    return augment.augment_record(raw, **given).value.tobytes().decode()


def test_dice_are_keyed_by_seed_epoch_id_and_view() -> None:
    augment = TextAugmentation({"delete": 0.3, "swap": 0.3, "noise": 0.3})
    same = _record(augment)
    assert all(_record(augment) == same for _ in range(3))
    others = [_record(augment, **{name: 9}) for name in ("id", "view", "seed", "epoch")]
    assert len({same, *others}) == 5


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    from skipstone.data.options import ReadOptions

    table = write_csv(tmp_path_factory.mktemp("texts") / "texts.csv", rows(20))
    return read_manifest(table, ReadOptions())


def _loader(manifest: Manifest, augment: TextAugmentation | None, **options: Any) -> Loader:
    input = TextInput(TextOptions(text_features="tokens")).fit(manifest.list_sources())
    entry = TASKS[manifest.task]
    task = entry.load()(entry.make_options(), manifest.schema)
    batching = Batching(batch_size=6, seed=4, shuffle=True, augment=augment)
    return Loader(manifest, input, task, batching, **options)


@pytest.mark.parametrize("custom", [None, str.title], ids=["plain", "custom"])
def test_batches_depend_on_neither_threads_nor_processes_nor_where_they_begin(
    manifest: Manifest, custom: Any
) -> None:
    augment = TextAugmentation({"delete": 0.2, "noise": 0.2}, custom=custom)
    expected = [batch.x["tokens"] for batch in _loader(manifest, augment).iterate_epoch(1)]
    for options in ({"threads": 5}, {"loading": LoadOptions(workers=2)}):
        found = [
            batch.x["tokens"] for batch in _loader(manifest, augment, **options).iterate_epoch(1)
        ]
        assert all(a.equal(b) for a, b in zip(expected, found, strict=True))
    tail = [batch.x["tokens"] for batch in _loader(manifest, augment).iterate_epoch(1, start=2)]
    assert all(a.equal(b) for a, b in zip(expected[2:], tail, strict=True))
    plain = [batch.x["tokens"] for batch in _loader(manifest, None).iterate_epoch(1)]
    assert not all(a.equal(b) for a, b in zip(expected, plain, strict=True))


def test_changed_texts_do_not_fill_the_memory_of_encoded_ones(manifest: Manifest) -> None:
    loader = _loader(manifest, TextAugmentation({"swap": 1.0}))
    for epoch in range(3):
        list(loader.iterate_epoch(epoch))
    assert not loader.input._cache
    plain = _loader(manifest, None)
    list(plain.iterate_epoch(0))
    assert plain.input._cache
    assert (
        loader.load_sample(0).x["tokens"].equal(_loader(manifest, None).load_sample(0).x["tokens"])
    )


# --- options and tables ---------------------------------------------------------------------------


def test_texts_are_left_as_they_are_unless_asked() -> None:
    kind = augment_options_type("text")
    assert kind is TextAugmentOptions
    assert make_augmentation(kind(), _input(["a"])) is None
    assert all(set(preset) <= set(TEXT_OPERATIONS) for preset in TEXT_PRESETS.values())
    assert kind(augment="standard", swap=0, noise=0.2).get_strengths() == {
        "delete": 0.1,
        "noise": 0.2,
    }
    assert kind(augment="swap,delete").get_strengths() == {"delete": 0.1, "swap": 0.1}
    mixing = kind(augment="word-mixup", mixup=1.5)
    assert mixing.get_strengths() == {"word_mixup": 0.2, "mixup": 1.5}
    assert mixing.describe_operations() == "augmentation 'word-mixup': word-mixup 0.2, mixup 1.5"
    assert make_augmentation(mixing, _input(["a"])) is None  # no text is changed
    assert kind(synonym_table="t.csv").get_strengths() == {"synonyms": 0.2}
    assert kind(augment="strong").describe_operations() == (
        "augmentation 'strong': delete 0.1, swap 0.1, noise 0.05, mixup 0.2"
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"augment": "flip"}, "'flip' is neither a preset .* nor an operation on texts"),
        ({"augment": "delte"}, "Did you mean 'delete'"),
        ({"augment": "word-mixpu"}, "'word-mixpu' is neither .* Did you mean 'word-mixup'"),
        (
            {"delete": 1.5, "noise": -1.0},
            "delete is 1.5; allowed: at least 0 and at most 1; noise is -1.0",
        ),
        ({"mixup": float("inf")}, "mixup is inf; allowed: a finite number"),
        ({"augment": "synonyms"}, "need a table of them"),
        ({"synonyms": 0.5}, "need a table of them"),
        ({"custom": "mine"}, "write 'package.module:name'"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        TextAugmentOptions(**options)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_table_of_synonyms(tmp_path: Path, delimiter: str) -> None:
    lines = [["word", "synonym"], ["Quick", "fast", "swift "], [], ["quick", "swift", "rapid", ""]]
    lines += [["猫", "ねこ"], ["give up", "stop"]]
    text = "\r\n".join(delimiter.join(line) for line in lines)
    (tmp_path / "s").write_bytes(b"\xef\xbb\xbf" + text.encode())
    heard: list[events.Event] = []
    with events.use_listener(heard.append):
        found = read_synonyms(tmp_path / "s")
    assert found == {"quick": ("fast", "swift", "rapid"), "猫": ("ねこ",)}
    (warning,) = [event.text for event in heard if isinstance(event, events.Note)]
    assert "1 rows begin with more than one word" in warning


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"quick,fast\nlazy\n", "row 2: 'lazy' has no synonym"),
        (b"quick,fast\n,idle\n", "row 2: '' has no synonym"),
        (b"quick,fast\ncaf\xe9,bar\n", "line 2, byte 4: 0xe9 is not UTF-8"),
        (b"", "holds no word with synonyms"),
        (None, "cannot be read: No such file"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, data: bytes | None, complaint: str) -> None:
    if data is not None:
        (tmp_path / "s.csv").write_bytes(data)
    with pytest.raises(DataError, match=complaint) as caught:
        read_synonyms(tmp_path / "s.csv")
    assert str(tmp_path / "s.csv") in str(caught.value)
