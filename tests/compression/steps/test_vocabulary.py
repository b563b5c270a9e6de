"""The step `vocabulary`: which entries go, what a model without them answers, and the whole way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from skipstone.bundle.format import Bundle
from skipstone.compression.apply_plan import shrink
from skipstone.compression.options import VocabularyOptions
from skipstone.compression.shrink_plan import ShrinkPlan, StepContext, run_steps
from skipstone.compression.steps.vocabulary import choose_entries, measure_effects, remove_entries
from skipstone.core.errors import Refusal, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.sources import Inline
from skipstone.evaluation.parity import verify
from skipstone.inference.backends.torch_backend import TorchRuntime
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Predictor
from skipstone.inference.programs import read_programs
from skipstone.inference.restore import restore_input, restore_network, restore_task
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from skipstone.training.closed_form import extract_features, solve
from tests.text_bundles import MODELS, text_run
from tests.text_data import FILLER, WORDS

_MADE: dict[str, tuple[Bundle, Manifest, Path]] = {}


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(bundle, rows, run folder) of a small model by name, made once a process; read-only."""
    name: str = request.param
    if name not in _MADE:
        folder = tmp_path_factory.mktemp(name) / "001"
        _MADE[name] = (*text_run(folder, name), folder)
    return _MADE[name]


every = pytest.mark.parametrize("made", MODELS, indirect=True)
learnt = pytest.mark.parametrize("made", ["textcnn", "gru", "fasttext"], indirect=True)
cnn = pytest.mark.parametrize("made", ["textcnn"], indirect=True)
linear = pytest.mark.parametrize("made", ["logistic"], indirect=True)


def work_on(rows: Manifest) -> StepContext:
    return StepContext(Path(), Path(), rows.rows_with_role("train"), rows.rows_with_role("val"))


def vocabulary_words(input: TextInput) -> dict[str, int]:
    """Each word of the data that the input knows, with its id."""
    words = [*FILLER, *(word for group in WORDS.values() for word in group), *map(str, range(120))]
    known = {}
    for word in words:
        ids = next(iter(input.encode(input.decode(Inline(word.encode()))).values()))
        own = int(np.ravel(ids)[0])
        if own > input.unknown_id:
            known[word] = own
    assert len(known) == len(input.removable_ids())  # the tests' data has no other words
    return known


def answers(predictor: Predictor, texts: list[str]) -> np.ndarray:
    return predictor.compute_outputs([Inline(text.encode()) for text in texts]).outputs["logits"]


def predictor_of(bundle: Bundle, input: TextInput, network: torch.nn.Module) -> Predictor:
    return Predictor(input, TorchRuntime(network), restore_task(bundle), {})


@every
def test_it_answers_as_the_whole_model_to_texts_with_an_unknown_word_instead(made) -> None:
    """The reference: the original, asked about texts in which what went is a word never seen."""
    bundle, _, _ = made
    input, network = restore_input(bundle), restore_network(bundle)
    words = vocabulary_words(input)
    dice = np.random.default_rng(3)
    gone = set(dice.permutation(list(words))[: len(words) // 2].tolist()) | {"cat", "red"}
    kept = np.sort([id for word, id in words.items() if word not in gone])
    small = remove_entries(bundle, input, network, kept)
    texts = [" ".join(dice.choice(list(words), 9).tolist()) for _ in range(40)]
    hidden = [" ".join("qqq" if w in gone else w for w in text.split()) for text in texts]
    assert any("qqq" in text for text in hidden)
    expected = answers(predictor_of(bundle, input, network), hidden)
    found = answers(predictor_of(bundle, small.input, small.network), texts)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(answers(predictor_of(bundle, input, network), texts) - expected).max() > 1e-3
    numbers = [sum(v.size for v in b.tensors.values()) for b in (small.bundle, bundle)]
    assert numbers[0] < numbers[1]
    assert restore_input(small.bundle).feature_spec() == small.input.feature_spec()


def test_a_word_that_goes_is_known_by_its_parts(tmp_path: Path) -> None:
    """Its own vector is the unknown one's from then on, and nothing else changes."""
    bundle, _ = text_run(tmp_path / "001", "textcnn", steps=7, subwords="2-3", subword_bits=7)
    input, network = restore_input(bundle), restore_network(bundle)
    words = vocabulary_words(input)
    gone = {"cat", "red"}
    small = remove_entries(
        bundle, input, network, np.sort([i for word, i in words.items() if word not in gone])
    )
    text = Inline(b"the cat is red and it saw a dog")
    whole = input.encode(input.decode(text))["tokens"].copy()
    whole[np.isin(whole[:, 0], [words[word] for word in gone]), 0] = input.unknown_id
    with torch.no_grad():
        expected = network({"tokens": torch.from_numpy(whole[None])})["logits"].numpy()
    found = (
        predictor_of(bundle, small.input, small.network).compute_outputs([text]).outputs["logits"]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    before = predictor_of(bundle, input, network).compute_outputs([text]).outputs["logits"]
    assert np.abs(before - expected).max() > 1e-4
    assert (
        len(small.network.backbone.embedding.weight) == len(network.backbone.embedding.weight) - 2
    )


def test_a_narrower_bag_is_the_columns_that_stay_scaled_anew() -> None:
    """Against scikit-learn's normalisation of the whole matrix's columns, block by block."""
    texts = ["the cat saw it", "a dog, a horse: a newt", "red and blue", "Red! red cats"] * 3
    sources = [Inline(text.encode()) for text in texts]
    options = TextOptions(text_features="bag", word_ngrams="1-2", char_ngrams="2-3")
    input = TextInput(options).fit(sources)
    whole, _ = input.make_feature_matrix(sources)
    kept = np.flatnonzero(np.random.default_rng(0).random(whole.shape[1]) < 0.4)
    narrow, _ = input.restrict_vocabulary(kept + 1).make_feature_matrix(sources)
    first = input.get_state()[0]["blocks"][1]["start"]
    parts = [normalize(whole[:, kept[own]], copy=True) for own in (kept < first, kept >= first)]
    expected = np.hstack([part.toarray() for part in parts])
    np.testing.assert_allclose(narrow.toarray(), expected, atol=1e-6)
    assert 0 < (kept < first).sum() < len(kept)


@linear
def test_effects_of_a_linear_model_are_the_changes_of_its_logits(made) -> None:
    """Against taking each feature's value out of every text."""
    bundle, rows, _ = made
    input, network = restore_input(bundle), restore_network(bundle)
    found = measure_effects(network, input, bundle, work_on(rows))
    matrix, _ = input.make_feature_matrix(rows.rows_with_role("train").list_sources())
    whole, weight = matrix.toarray(), network.backbone.weight.weight.detach().numpy()[1:]
    for feature in range(whole.shape[1]):
        without = whole.copy()
        without[:, feature] = 0
        change = (whole - without) @ weight
        change -= change.mean(axis=1, keepdims=True)
        assert found[feature] == pytest.approx(np.square(change).sum(), rel=1e-4)


@learnt
def test_effects_of_a_learnt_model_are_squared_gradients_of_gates(made) -> None:
    """Against one text at a time, by the gradient of the table itself."""
    bundle, rows, _ = made
    input, network = restore_input(bundle), restore_network(bundle)
    found = measure_effects(network, input, bundle, work_on(rows))
    table = network.backbone.embedding.weight
    expected = np.zeros(len(table))
    for source in rows.rows_with_role("train").list_sources():
        arrays = input.encode(input.decode(source))
        x = {name: torch.from_numpy(value)[None] for name, value in arrays.items()}
        network.zero_grad()
        network(x)["logits"].square().sum().sqrt().backward()
        step = (table[input.unknown_id] - table).detach()
        expected += (step * table.grad).sum(dim=1).square().double().numpy()
    np.testing.assert_allclose(
        found, expected[input.removable_ids().start :], rtol=1e-3, atol=1e-12
    )


@every
def test_what_tells_stays_and_what_says_nothing_goes(made) -> None:
    bundle, rows, _ = made
    input = restore_input(bundle)
    words = vocabulary_words(input)
    found = measure_effects(restore_network(bundle), input, bundle, work_on(rows))
    telling = np.zeros(len(found))
    telling[[words[w] - input.removable_ids().start for group in WORDS.values() for w in group]] = 1
    assert roc_auc_score(telling, found) >= 0.9


def test_the_least_go_first_and_one_stays() -> None:
    np.testing.assert_array_equal(choose_entries(np.array([3.0, 1.0, 2.0, 2.0]), 0.5), [0, 2])
    np.testing.assert_array_equal(choose_entries(np.array([0.0, 0.0, 5.0]), 0.01), [2])


@pytest.mark.parametrize("made", ["logistic", "random-forest"], indirect=True)
def test_what_was_solved_is_solved_again(made, tmp_path: Path) -> None:
    """As scikit-learn would on the columns that stay; every program is proven on the way."""
    bundle, rows, folder = made
    (tmp_path / "new").mkdir()
    work = StepContext(
        folder / "bundle",
        tmp_path / "new",
        rows.rows_with_role("train"),
        rows.rows_with_role("val"),
    )
    (step,) = run_steps(ShrinkPlan.from_text("vocabulary(keep=0.5)"), work)
    assert step["facts"]["learnt"] == "solved again"
    small = Bundle.load(work.out)
    input = restore_input(small)
    matrix, targets = extract_features(input, restore_task(small), rows.rows_with_role("train"), "")
    expected, _ = solve(bundle.arch, input, matrix, targets, 3, 0)
    for name, value in expected.state_dict().items():
        np.testing.assert_allclose(small.tensors[name], value.numpy(), rtol=1e-6)
    assert set(read_programs(work.out).by_name) == {
        "onnxruntime-f32",
        "openvino-f32",
        "openvino-bf16",
    }


@cnn
def test_the_whole_way_with_int8_behind_it(made, tmp_path: Path) -> None:
    """Cut, taught or solved again, quantized, verified, with a receipt that counts every file."""
    bundle, rows, folder = made
    plan = ShrinkPlan.from_text("vocabulary(keep=0.4, epochs=1), int8(samples=8)")
    out = tmp_path / "small"
    result = shrink(folder / "bundle", rows, plan, max_drop=20, out=out, latency_seconds=0.3)
    assert result.accepted
    assert verify(out).ok
    small = Bundle.load(out)
    assert len(restore_input(small).removable_ids()) == round(
        0.4 * len(restore_input(bundle).removable_ids())
    )
    receipt = json.loads((out / "receipt.json").read_text())
    facts = receipt["steps"][0]["facts"]
    assert facts["entries"] == [len(restore_input(b).removable_ids()) for b in (bundle, small)]
    assert facts["parameters"][1] < facts["parameters"][0]
    before, after = (
        [(place / name).stat().st_size for name in ("weights.safetensors", "input.safetensors")]
        for place in (folder / "bundle", out)
    )
    assert after[1] < before[1]
    sizes = receipt["sizes"]
    assert sizes["before"] == sum(before)
    assert sizes["ships"] == sizes["programs"]["openvino-int8"] + after[1]
    runtimes = {row["name"] for row in result.verification.rows}
    assert runtimes >= {"torch-f32", "openvino-int8"}
    records = open_model(out, "torch").evaluate(rows.rows_with_role("test")).records
    assert np.mean([record["correct"] for record in records]) >= 0.8


@cnn
def test_too_much_taken_away_is_refused_and_nothing_stays(made, tmp_path: Path) -> None:
    _, rows, folder = made
    plan = ShrinkPlan.from_text("vocabulary(keep=0.01, epochs=0)")
    result = shrink(
        folder / "bundle", rows, plan, max_drop=5, out=tmp_path / "x", latency_seconds=0.2
    )
    assert not result.accepted
    assert result.receipt["val"]["drop"]["value"] > 5
    assert result.receipt["steps"][0]["facts"]["learnt"] == "not again"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token_level": "bpe", "vocabulary": 300}, "byte pairs"),
        ({"text_features": "bag", "hash_bits": 6}, "hash"),
    ],
    ids=str,
)
def test_what_has_no_entries_of_its_own_is_refused(options: dict[str, Any], said: str) -> None:
    pytest.importorskip("tokenizers")
    sources = [Inline(b"the cat saw a dog"), Inline(b"red and blue")]
    input = TextInput(TextOptions(**{"text_features": "tokens", **options})).fit(sources)
    with pytest.raises(Refusal, match=said) as caught:
        input.removable_ids()
    assert "Train with" in str(caught.value.hint)


def test_pictures_have_no_vocabulary(run: Path, rows: Manifest, tmp_path: Path) -> None:
    work = StepContext(
        run / "bundle", tmp_path / "new", rows.rows_with_role("train"), rows.rows_with_role("val")
    )
    with pytest.raises(Refusal, match="'image' has no vocabulary"):
        run_steps(ShrinkPlan.from_text("vocabulary"), work)


def test_options_are_checked_together() -> None:
    with pytest.raises(UsageError, match=r"keep is 1\.0.*epochs is -1"):
        VocabularyOptions(keep=1.0, epochs=-1)
