"""Word vectors as the start of an embedding: which rows they fill, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core import events
from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES
from skipstone.data.sources import Inline
from skipstone.models.build import build_network
from skipstone.models.network import Network
from skipstone.models.text_backbone_options import VectorOptions
from skipstone.text.features import PAD, UNKNOWN
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from skipstone.text.word_vectors import WordVectors, embedding_size_option, load_word_vectors
from skipstone.training.schedules import Phase, enter_phase
from tests.vector_data import glove, table

SOURCES = [Inline(text.encode()) for text in ("the Cat sat", "the dog sat .", "a naïve cat, 猫")]
MODELS = [entry.name for entry in BACKBONES if entry.embedding is not None]
WORDS = {"the", "cat", "sat", "dog", ".", "a", "naïve", ",", "猫"}
HEAD = ComponentConfig("linear", {"options": {}, "shape": {"classes": 2}})


def fitted(**options: Any) -> TextInput:
    return TextInput(TextOptions(**options)).fit(SOURCES)


def network_of(name: str, input: TextInput, dimension: int) -> Network:
    torch.manual_seed(0)
    args = {"options": {"embedding": dimension}}
    return build_network(Arch(ComponentConfig(name, args), HEAD), input)


def vectors_for(path: Path, input: TextInput, *, freeze: bool = False) -> WordVectors:
    options = VectorOptions(vectors=str(path), freeze_vectors=freeze)
    made = load_word_vectors(options, input, SOURCES)
    assert made is not None
    return made


@pytest.mark.parametrize(
    "options",
    [
        {"text_features": "tokens"},
        {"text_features": "bag"},
        {"text_features": "bag", "char_ngrams": "none"},
    ],
    ids=str,
)
def test_an_input_knows_its_words_by_the_ids_that_it_gives(options: dict[str, Any]) -> None:
    input = fitted(**options)
    known = input.find_known_words(SOURCES)
    assert set(known.words) == WORDS
    assert len(known.words) == len(known.ids) == len(WORDS)
    for word, id in zip(known.words, known.ids, strict=True):
        arrays = input.encode(input.decode(Inline(word.encode())))
        assert id in next(iter(arrays.values())), word


@pytest.mark.parametrize("freeze", [False, True], ids=["learnt", "frozen"])
@pytest.mark.parametrize("name", MODELS)
def test_rows_of_an_embedding(tmp_path: Path, name: str, freeze: bool) -> None:
    input = fitted(**BACKBONES[name].input_options)
    have = table(["the", "Cat", "naïve", "猫", "elsewhere"], 64, seed=2)
    made = vectors_for(glove(tmp_path / "v", have), input, freeze=freeze)
    network = network_of(name, input, 64)
    before = network.backbone.embedding.weight.detach().numpy().copy()
    made.fill_embedding(network, "embedding", seed=5)
    weight = network.backbone.embedding.weight.detach().numpy()
    known = dict(zip(made.vocabulary.words, made.vocabulary.ids.tolist(), strict=True))
    for word, source in {"the": "the", "cat": "Cat", "naïve": "naïve", "猫": "猫"}.items():
        assert np.allclose(weight[known[word]], have[source], atol=1e-6)
    tokens = input.feature_spec().kind == "tokens"
    lost = [known[word] for word in ("sat", "dog", ".", "a", ",")] + [UNKNOWN] * tokens
    spread = np.stack([have[word] for word in ("the", "Cat", "naïve", "猫")]).std()
    assert weight[lost].std() == pytest.approx(spread, rel=0.15)
    assert np.abs(weight[lost]).max() <= np.sqrt(3) * spread * 1.001
    assert not weight[PAD].any()
    rest = np.setdiff1d(np.arange(len(weight)), [*known.values(), UNKNOWN * tokens, PAD])
    only_words = tokens and not input.options.subword_range[1]
    assert len(rest) == 0 if only_words else len(rest) > 20
    assert np.array_equal(weight[rest], np.zeros_like(weight[rest]) if freeze else before[rest])

    again = network_of(name, input, 64)
    made.fill_embedding(again, "embedding", seed=5)
    assert np.array_equal(weight, again.backbone.embedding.weight.detach().numpy())

    enter_phase(network, Phase("all", 1, 0, "cosine"))
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    assert ("backbone.embedding.weight" in learns) is not freeze
    assert len(learns) >= 2


def test_what_was_found_is_said(tmp_path: Path) -> None:
    path = glove(tmp_path / "small.txt", table(["the", "Cat", "DOG", "x"], 4))
    heard: list[events.Event] = []
    with events.use_listener(heard.append):
        vectors_for(path, fitted(text_features="tokens"), freeze=True)
    (note,) = [event.text for event in heard if isinstance(event, events.Note)]
    assert note == (
        "vectors: 3 of 9 words found in small.txt (GloVe text, 4 x 4; 2 with other letter case); "
        "the other 6 start at random with the same variance; the vectors are not trained."
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"text_features": "tokens", "token_level": "char"},
            "--token-level char tokens are not words",
        ),
        ({"text_features": "bag", "hash_bits": 10}, "--hash-bits"),
        ({"text_features": "bag", "word_ngrams": "2-3"}, "--word-ngrams 1-2"),
        ({"text_features": "bag", "word_ngrams": "none"}, "--word-ngrams 1-2"),
    ],
)
def test_what_is_no_word_has_no_vector(
    tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    path = glove(tmp_path / "v", table(["the"]))
    with pytest.raises(UsageError, match=complaint):
        vectors_for(path, fitted(**options))


def test_vectors_of_another_language_are_refused(tmp_path: Path) -> None:
    path = glove(tmp_path / "v", table(["bonjour", "monde"]))
    with pytest.raises(UsageError, match=r"none of the 9 words .* among the 2 of"):
        vectors_for(path, fitted(text_features="tokens"))


def test_sequences_and_means_of_words_take_vectors() -> None:
    assert {"textcnn", "rnn", "lstm", "gru", "fasttext"} <= set(MODELS)


def test_models_and_options_that_do_not_fit(tmp_path: Path) -> None:
    given = VectorOptions(vectors=str(glove(tmp_path / "v", table(["the"], 7))))

    def size(name: str, weights: str = "none", **options: Any) -> dict[str, Any]:
        return embedding_size_option(given, BACKBONES[name], options, weights=weights)

    assert size("textcnn") == size("gru", embedding=7) == {"embedding": 7}
    assert embedding_size_option(VectorOptions(), BACKBONES["linear-svm"], {}, weights="none") == {}
    with pytest.raises(UsageError, match=r"--embedding is 8, .* have dimension 7"):
        size("lstm", embedding=8)
    with pytest.raises(UsageError, match=r"'linear-svm' has no word vectors.*--model textcnn"):
        size("linear-svm")
    with pytest.raises(UsageError, match="the model 'resnet20' has no word vectors"):
        size("resnet20")
    with pytest.raises(UsageError, match="Give one of the two"):
        size("textcnn", weights="other.safetensors")
    with pytest.raises(UsageError, match="--freeze-vectors needs --vectors"):
        VectorOptions(freeze_vectors=True)
