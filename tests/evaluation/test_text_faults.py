"""Bundles of texts from an attacker, damaged ones, and faults in the code that reads texts: each
is found, for a model that was solved and for one that is trained.

Masks and pictures have the same in `test_hostile.py`, `test_damage.py` and `test_parity.py`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.core.errors import DamagedError
from skipstone.evaluation import parity as fresh
from skipstone.evaluation.parity import run_checks
from skipstone.inference.open_model import open_model
from skipstone.text import features as text_features
from skipstone.text import ngrams as text_grams
from skipstone.text.input import hash_arrays
from tests.evaluation import hostile
from tests.evaluation.hostile import HUGE, PICKLE, WEIGHTS, change_record, put
from tests.evaluation.test_damage import damages
from tests.small_bundles import reseal
from tests.small_texts import SMALL, write_small_text

INPUT = "input.safetensors"
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        model: write_small_text(tmp_path_factory.mktemp(model) / "bundle", model) for model in SMALL
    }


@pytest.fixture(autouse=True)
def no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is another process; `tests/pipelines/test_text.py` has it."""
    monkeypatch.setattr(fresh, "find_script_program", lambda *_: None)


@pytest.mark.parametrize("model", SMALL)
def test_an_untouched_bundle_answers(model: str, sources: dict[str, Path]) -> None:
    assert hostile.judge(sources[model], hostile.known(sources[model])) == "answers"


# --- attacks: every hash is computed anew -------------------------------------------------------


def _state(**changes: Any) -> Callable[[dict[str, Any], Arrays], None]:
    return lambda state, arrays: state.update(changes)


def _block(**changes: Any) -> Callable[[dict[str, Any], Arrays], None]:
    return lambda state, arrays: state["blocks"][0].update(changes)


def _array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    def attack(state: dict[str, Any], arrays: Arrays) -> None:
        arrays[name] = np.ascontiguousarray(change(arrays[name]))

    return attack


def _more_words(state: dict[str, Any], arrays: Arrays) -> None:
    """A vocabulary that is larger than the network's embedding."""
    known = len(arrays["vocabulary"])
    last = arrays["vocabulary"][-1]
    more = np.linspace(int(last) + 1, 2**64 - 2048, 5000, dtype=np.float64).astype(np.uint64)
    arrays["vocabulary"] = np.unique(np.concatenate([arrays["vocabulary"], more]))
    state["size"] += len(arrays["vocabulary"]) - known


def _with(place: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(found: np.ndarray) -> np.ndarray:
        found = found.copy()
        found[place] = value
        return found

    return change


BAG, CNN = "logistic", "textcnn"
ATTACKS: tuple[tuple[str, str, Any, str], ...] = (
    ("unknown text features", CNN, _state(text_features="pickle"), "text_features is not one of"),
    ("words that are numbers", CNN, _state(common=[1, 2]), "common"),
    ("a size of 2^40", CNN, _state(size=HUGE), "size is"),
    ("a size below the vocabulary", CNN, _state(size=4), "size is 4"),
    ("a size that is a word", CNN, _state(size="9"), "size is not"),
    ("texts of 2^40 tokens", CNN, _state(max_length=HUGE), "max_length"),
    ("texts of no tokens", CNN, _state(max_length=0), "max_length"),
    ("another token level", CNN, _state(token_level=["word"]), "token_level is not one of"),
    ("a vocabulary beyond the embedding", CNN, _more_words, "does not fit"),
    ("an unsorted vocabulary", CNN, _array("vocabulary", lambda v: v[::-1]), "not sorted"),
    ("a word twice", CNN, _array("vocabulary", lambda v: np.sort(_with(1, v[0])(v))), "not sorted"),
    ("words of floats", CNN, _array("vocabulary", lambda v: v.astype(np.float64)), "not a list"),
    ("a table of words", CNN, _array("vocabulary", lambda v: v[:, None]), "not a list of hashes"),
    ("lower case perhaps", BAG, _state(lowercase=1), "lowercase"),
    ("another weighting", BAG, _state(weighting="eval"), "weighting is not one of"),
    ("blocks that are none", BAG, _state(blocks={"a": 1}), "blocks is not a list"),
    ("no blocks", BAG, _state(blocks=[]), "size is"),
    ("runs of 2^40 words", BAG, _block(longest=HUGE), "longest"),
    ("runs from 3 to 1", BAG, _block(shortest=3, longest=1), "longest"),
    ("n-grams of another kind", BAG, _block(kind="code"), "kind is not one of"),
    ("2^60 hashed n-grams", BAG, _block(bits=60), "bits"),
    ("hashed n-grams beyond the weights", BAG, _block(bits=20), "has size"),
    ("a block that starts elsewhere", BAG, _block(start=7), "starts at 7"),
    ("a block that starts below", BAG, _block(start=-7), "start is not"),
    ("n-grams out of range", BAG, _array("vocabulary.0", lambda v: v[: len(v) // 2]), "has size"),
    ("n-grams without a vocabulary", BAG, lambda s, a: a.pop("vocabulary.0"), "no vocabulary"),
    ("an idf that is no number", BAG, _array("idf.0", _with(3, np.nan)), "not finite"),
    ("an infinite idf", BAG, _array("idf.0", _with(3, np.inf)), "not finite"),
    ("an idf below 0", BAG, _array("idf.0", _with(3, -2.0)), "below 0"),
    (
        "an idf that is too short",
        BAG,
        _array("idf.0", lambda v: v[:9]),
        "idf.0 does not hold",
    ),
)


@pytest.mark.parametrize(
    ("model", "attack", "words"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS]
)
def test_a_hostile_state_is_refused_by_name(
    model: str, attack: Any, words: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sources[model], tmp_path / "bundle"))
    state = read_bundle_json(folder)["input"]["state"]
    arrays = load((folder / INPUT).read_bytes())
    attack(state, arrays)
    state["digest"] = hash_arrays(arrays)
    put(folder, INPUT, save(arrays))
    change_record(folder, lambda record: record["input"].update(state=state))
    verdict = hostile.judge(folder, hostile.known(sources[model]))
    assert verdict.startswith("refused"), verdict
    assert words in verdict


@pytest.mark.parametrize("model", SMALL)
def test_a_pickle_is_no_vocabulary(model: str, sources: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sources[model], tmp_path / "bundle"))
    put(folder, INPUT, PICKLE)
    verdict = hostile.judge(folder, hostile.known(sources[model]))
    assert verdict.startswith("refused")
    assert INPUT in verdict


# --- damage -------------------------------------------------------------------------------------


def _read_all(folder: Path) -> None:
    record = read_bundle_json(folder)
    for name in record["files"]:
        read_file(folder, name, record)


@pytest.mark.parametrize("model", SMALL)
def test_every_block_of_a_bundle(model: str, sources: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sources[model], tmp_path / "bundle"))
    names = [WEIGHTS, INPUT, "bundle.json"]
    for name in names:
        data = (folder / name).read_bytes()
        for _, damaged in itertools.islice(damages(data), 24):
            (folder / name).write_bytes(damaged)
            with pytest.raises(DamagedError, match=name):
                _read_all(folder)
        (folder / name).write_bytes(data)


# --- faults in the code -------------------------------------------------------------------------


def _plain_of(fault: Callable[[str], str]) -> Callable[[str, bool], str]:
    known = text_grams.normalize_text
    return lambda text, lowercase: known(fault(text), lowercase)


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "capitals count": lambda m: m.setattr(
        text_features, "normalize_text", lambda text, lowercase: text
    ),
    "the last word is lost": lambda m: m.setattr(
        text_features, "normalize_text", _plain_of(lambda text: text.rpartition(" ")[0])
    ),
    "UTF-16 is read as UTF-8": lambda m: m.setattr(
        text_features, "decode_utf8", lambda data: data.decode("utf-8", "replace")
    ),
}


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_reading_is_seen(
    model: str, fault: str, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `verify` runs in a fresh process, with the fault in this one."""
    import skipstone.text.input as text_input

    assert all(row["ok"] for row in run_checks(sources[model]))
    FAULTS[fault](monkeypatch)
    for name in ("normalize_text", "decode_utf8"):
        monkeypatch.setattr(text_input, name, getattr(text_features, name))
    assert not all(row["ok"] for row in run_checks(sources[model]))


@pytest.mark.parametrize("model", SMALL)
def test_another_temperature_or_other_classes_are_seen(
    model: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    for number, change in enumerate(
        (
            lambda record: record["post"].update(temperature=1.4),
            lambda record: record["task"]["schema"]["classes"].reverse(),
        )
    ):
        folder = Path(shutil.copytree(sources[model], tmp_path / str(number)))
        reseal(folder, change)
        assert not all(row["ok"] for row in run_checks(folder))


def test_the_solved_one_reads_what_it_was_solved_on(sources: dict[str, Path]) -> None:
    predictor = open_model(sources[BAG], "torch")
    asked = [b"we saw red, red and green", "cat cat horse".encode("utf-16"), b"one two three one"]
    labels = [answer.fields["label"] for answer in predictor.predict(asked)]  # type: ignore[union-attr]
    assert labels == ["colour", "animal", "number"]
