"""The protocol of backbones: feature maps, and how they relate to the input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from skipstone.models.word_lookup import token_ids


@dataclass(frozen=True)
class PublishedNetwork:
    """A whole network as its authors publish it, classifier included.

    Args:
        name: for messages.
        module: its state dict has the published names.
        compute_logits: (N, C, H, W), or what the backbone takes -> (N, classes).
    """

    name: str
    module: nn.Module
    compute_logits: Callable[[Tensor], Tensor]


class Backbone(nn.Module, ABC):
    """Turns an input into feature maps, shallow to deep.

    A network is front + backbone + head, so a backbone neither normalises pixels nor classifies.
    A subclass sets the first three attributes in its constructor.

    Attributes:
        channels: channels of each feature map, shallow to deep.
        strides: input pixels per feature-map pixel, one for each map. Map i of an input of
            H x W pixels has ceil(H / strides[i]) x ceil(W / strides[i]) pixels.
        classifier_name: of the final linear layer in the family's published state dicts
            (``"fc"``). Checkpoint loading needs it to tell the head's tensors.
        auxiliary_maps: indices of the maps that the paper gives auxiliary classifiers in training.
        published_prefix: the name of this network inside published models that contain it
            (``"bert"``), or "".
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    classifier_name: str
    published_prefix: str = ""
    auxiliary_maps: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of ``x`` (N, C, H, W), float, any H and W."""

    @abstractmethod
    def stage_modules(self) -> list[list[nn.Module]]:
        """Groups of modules from the stem to the deepest; each parameter is in one group.

        Freezing, gradual unfreezing and layer-wise learning rates use this list.
        """

    def published_module(self) -> nn.Module:
        """The module whose state dict has the published names, for checkpoint loading."""
        return self

    def published_network(self, classes: int) -> PublishedNetwork | None:
        """The published network of this name with fresh weights and `classes` outputs, which
        decides whether a foreign classifier fits; None where there is none to compare with."""
        return None

    def translate_name(self, name: str) -> str:
        """The name here of a tensor that another library publishes for this network; other names
        stay as they are."""
        return name

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters beside norms and biases that weight decay leaves alone (position tables)."""
        return []


def add_classifier(backbone: Backbone, classes: int, *, name: str) -> PublishedNetwork:
    """A backbone with a fresh final linear layer behind the mean of its deepest map."""
    linear = nn.Linear(backbone.channels[-1], classes)
    module = nn.Module()
    for child_name, child in backbone.named_children():
        module.add_module(child_name, child)
    parent, _, last = backbone.classifier_name.rpartition(".")
    if parent:  # a copy of the layers before it, so that the backbone stays as it is
        layers = dict(module.named_children()).get(parent, nn.Module()).named_children()
        module.add_module(parent, nn.Sequential(OrderedDict([*layers, (last, linear)])))
    else:
        module.add_module(last, linear)

    def compute_logits(x: Tensor) -> Tensor:
        deepest = backbone(x)[-1]
        logits: Tensor = linear(deepest.mean((2, 3)) if deepest.ndim == 4 else deepest)
        return logits

    return PublishedNetwork(name, module, compute_logits)


class FeatureBackbone(Backbone):
    """A closed-form backbone that is solved on features that it computes in the graph, from what
    the input's preprocessing module gives."""

    @abstractmethod
    def compute_features(self, x: Tensor) -> Tensor:
        """(N, F)"""

    @abstractmethod
    def classify_features(self, features: Tensor) -> Tensor:
        """Features (N, F) -> logits (N, K)."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.classify_features(self.compute_features(x)),)


class SequenceBackbone(Backbone):
    """A backbone of token ids (N, L), or (N, L, 1 + P) with the P subwords of each; 0 is padding.

    It embeds the tokens, then encodes the sequence of vectors. Its spec provides "token
    embeddings".
    """

    @abstractmethod
    def embed_tokens(self, x: Tensor) -> Tensor:
        """Token ids (N, L) -> vectors (N, L, D)."""

    @abstractmethod
    def encode_vectors(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of vectors (N, L, D); `mask` (N, L) is False at the padding."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encode_vectors(self.embed_tokens(x), token_ids(x) != 0)


@dataclass(frozen=True)
class ClosedFormProblem:
    """Features and targets.

    Args:
        matrix: scipy.sparse (N, F); an array of a `FeatureBackbone`.
        targets: int (N,) of class numbers, or (N, K) of 0 and 1 (multi-label).
        classes: K.
        kinds: a partition of the columns by kind of feature (words, characters); each kind's part
            of a row has norm 1.
    """

    matrix: Any
    targets: np.ndarray
    classes: int
    seed: int
    kinds: tuple[slice, ...] = (slice(None),)


@dataclass(frozen=True)
class ClosedFormSolution:
    """A fitted backbone.

    Args:
        tensors: its state dict.
        shape: further arguments of its builder.
    """

    tensors: dict[str, np.ndarray]
    shape: dict[str, Any] = field(default_factory=dict)
