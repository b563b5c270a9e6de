"""Programs of text models, in ONNX Runtime and OpenVINO, against torch at every length."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.bundle.architecture import Arch, ComponentConfig
from skipstone.core.registry import BACKBONES, TASKS
from skipstone.data.sources import Inline
from skipstone.inference.backends.onnx_backend import OnnxRuntime
from skipstone.inference.backends.openvino_backend import OpenVinoRuntime
from skipstone.inference.export.onnx_export import onnx_bytes
from skipstone.inference.export.openvino_export import convert_onnx_to_ir
from skipstone.models import text_recurrent
from skipstone.models.build import build_network
from skipstone.models.network import Network
from skipstone.text.input import TextInput
from skipstone.text.options import TextOptions
from skipstone.training.closed_form import solve
from tests.text_data import WORDS, rows

CLASSES = sorted(WORDS)
LENGTHS = range(1, 13)
SMALL = {"embedding": 7, "hidden": 5, "maps": 4, "trees": 6}
#: The input's options that are not the usual ones, by what they are called here.
READINGS: dict[str, dict[str, Any]] = {
    "word": {"subwords": "none"},
    "char": {"token_level": "char"},
    "parts": {"subwords": "2-4", "subword_bits": 6},
    "bpe": {"token_level": "bpe", "vocabulary": 120},
    "n-grams": {"word_ngrams": "1-2", "char_ngrams": "none"},
    "hashed": {"word_ngrams": "1-2", "char_ngrams": "none", "hash_bits": 7},
}
#: A pairwise cover of cells, layers, directions, pooling and what a token is. The suite runs the
#: first of each cell.
RECURRENT = [
    ("rnn", 1, False, "attention", "word"),
    ("lstm", 2, True, "attention", "char"),
    ("gru", 1, True, "max", "bpe"),
    ("gru", 2, False, "max", "char"),
    ("rnn", 2, True, "max", "word"),
    ("lstm", 1, False, "max", "bpe"),
    ("rnn", 2, True, "attention", "bpe"),
    ("gru", 2, False, "attention", "word"),
    ("rnn", 1, True, "attention", "char"),
    ("lstm", 1, True, "attention", "word"),
]
#: Solved models, of which all but the forest are the same network.
SOLVED = {
    "logistic": ("n-grams",),
    "linear-svm": ("hashed",),
    "nbsvm": ("n-grams",),
    "naive-bayes": ("hashed",),
    "random-forest": ("n-grams", "hashed"),
}


def cases() -> list[Any]:
    """(model, options, reading), those that the suite leaves to the proofs marked."""
    found = []
    for number, (cell, layers, both, pooling, reading) in enumerate(RECURRENT):
        options = {"layers": layers, "bidirectional": both, "pooling": pooling}
        found.append((cell, options, reading, number < 3))
    found += [("gru", {}, "parts", False), ("textcnn", {}, "parts", True)]
    found += [("textcnn", {}, reading, False) for reading in ("word", "char", "bpe")]
    found += [("fasttext", {}, reading, reading == "hashed") for reading in ("n-grams", "hashed")]
    found += [(name, {}, kind, False) for name, kinds in SOLVED.items() for kind in kinds]
    return [
        pytest.param(
            model,
            options,
            reading,
            id=f"{model}-{'-'.join(map(str, options.values()))}-{reading}",
            marks=() if suite else pytest.mark.proof,
        )
        for model, options, reading, suite in found
    ]


def made(model: str, options: dict[str, Any], reading: str) -> tuple[Network, TextInput]:
    """A network for small texts: solved, or drawn with weights large enough to tell their order."""
    if reading == "bpe":
        pytest.importorskip("tokenizers")
    sources = [Inline(text.encode()) for text, _ in rows(60)]
    entry = BACKBONES[model]
    given = {**entry.input_options, **READINGS[reading]}
    input = TextInput(TextOptions(**given)).fit(sources)
    task = TASKS["classify"].load()(TASKS["classify"].make_options(), {"classes": CLASSES})
    known = entry.options_type().__dataclass_fields__
    small = {name: value for name, value in SMALL.items() if name in known}
    asked = entry.make_options({**small, **options})
    head = task.default_head()
    arch = Arch(
        ComponentConfig(model, {"options": dataclasses.asdict(asked)}),
        ComponentConfig(entry.head or head.name, head.args),
    )
    if entry.solver is not None:
        targets = np.array([CLASSES.index(label) for _, label in rows(60)])
        network, _ = solve(
            arch, input, input.make_feature_matrix(sources)[0], targets, len(CLASSES), 0
        )
        return network, input
    torch.manual_seed(0)
    network = build_network(arch, input)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.6)
        network.backbone.get_submodule("embedding").weight[0] = 0
    return network.eval(), input


def encoded(input: TextInput, length: int, seed: int) -> dict[str, np.ndarray]:
    """A text of so many tokens or features, and one more that the input has never seen."""
    words = [*itertools.chain(*WORDS.values()), "it", "is", "the", "unheard", "?"]
    text = " ".join(np.random.default_rng(seed).choice(words, 40).tolist())
    arrays = input.encode(input.decode(Inline(text.encode())))
    cut = {name: value[:length] for name, value in arrays.items()}
    assert all(len(value) == length for value in cut.values())
    return cut


def stacked(texts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """A batch, filled up with zeros."""
    found = {}
    for name in texts[0]:
        longest = max(len(text[name]) for text in texts)
        arrays = [text[name] for text in texts]
        room = [[(0, longest - len(a)), *[(0, 0)] * (a.ndim - 1)] for a in arrays]
        found[name] = np.stack([np.pad(a, more) for a, more in zip(arrays, room, strict=True)])
    return found


def answers(network: Network, text: dict[str, np.ndarray]) -> np.ndarray:
    """Torch's own, of one text alone, without padding."""
    with torch.no_grad():
        x = {name: torch.from_numpy(value[None]) for name, value in text.items()}
        return network(x)["logits"].numpy()


@pytest.mark.parametrize(("model", "options", "reading"), cases())
def test_every_runtime_answers_as_torch_at_every_length(
    model: str, options: dict[str, Any], reading: str
) -> None:
    network, input = made(model, options, reading)
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    program = onnx_bytes(network, example, {}, input.dynamic_axes)
    texts = [[encoded(input, length, 2 * length + n) for n in range(2)] for length in LENGTHS]
    expected = [[answers(network, text) for text in pair] for pair in texts]
    assert np.ptp(np.concatenate(list(itertools.chain(*expected))), axis=0).max() > 1e-2
    mixed = stacked([pair[0] for pair in texts])
    close = {"rtol": 1e-5, "atol": 1e-5}
    for runtime in (
        OnnxRuntime(program, threads=1),
        OpenVinoRuntime(*convert_onnx_to_ir(program), threads=1),
    ):
        for pair, right in zip(texts, expected, strict=True):
            found = runtime.run(stacked(pair))["logits"]
            np.testing.assert_allclose(found, np.concatenate(right), **close)
        found = runtime.run(mixed)["logits"]
        np.testing.assert_allclose(found, np.concatenate([first for first, _ in expected]), **close)
        for at in (0, -1):  # OpenVINO compiles a batch of 1 for its length
            found = runtime.run(stacked(texts[at][:1]))["logits"]
            np.testing.assert_allclose(found, expected[at][0], **close)


def test_the_cover_is_pairwise() -> None:
    levels = [sorted(set(column), key=str) for column in zip(*RECURRENT, strict=True)]
    assert [len(level) for level in levels] == [3, 2, 2, 2, 3]
    for one, other in itertools.combinations(range(5), 2):
        seen = {(row[one], row[other]) for row in RECURRENT}
        assert seen == set(itertools.product(levels[one], levels[other]))


@pytest.mark.proof
def test_a_wrong_order_of_gates_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that this file is for."""
    monkeypatch.setitem(text_recurrent._GATES, "LSTM", (0, 1, 2, 3))
    network, input = made("lstm", {"pooling": "max", "bidirectional": False}, "word")
    example = {name: torch.from_numpy(value) for name, value in input.make_example(2).items()}
    runtime = OnnxRuntime(onnx_bytes(network, example, {}, input.dynamic_axes), threads=1)
    text = encoded(input, 4, 0)
    found = runtime.run(stacked([text]))["logits"]
    assert np.abs(found - answers(network, text)).max() > 1e-2
