"""What every backbone answers: its feature maps, and how they relate to the input."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skipstone.models.word_lookup import own_ids


class Backbone(nn.Module, ABC):
    """Turns an input into feature maps, shallow to deep. Heads turn those into answers.

    A network is front + backbone + head, so a backbone has neither normalisation of pixels
    nor a classifier. A subclass sets the three attributes in its constructor.

    Attributes:
        channels: channels of each feature map, shallow to deep.
        strides: input pixels per feature-map pixel, one for each map. Map i of an input of
            H x W pixels has ceil(H / strides[i]) x ceil(W / strides[i]) pixels.
        classifier: the name that the family's published state dicts give their final linear
            layer (``"fc"``), so that an importer knows which tensors belong to a head.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    classifier: str

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of ``x`` (N, C, H, W), float, any H and W."""

    @abstractmethod
    def stages(self) -> list[list[nn.Module]]:
        """Group the modules from the stem to the deepest; each parameter is in one group.

        Freezing, unfreezing by schedule and layer-wise learning rates all walk this list.
        """

    def published(self) -> nn.Module:
        """The module whose state dict has the published names; importers load into it."""
        return self


class SequenceBackbone(Backbone):
    """A backbone of token ids (N, L), 0 for padding, that looks up a vector for each and reads
    those in their order; with the parts of words, (N, L, 1 + P). Its entry offers "vectors in
    order"."""

    @abstractmethod
    def look_up(self, x: Tensor) -> Tensor:
        """Token ids (N, L) -> vectors (N, L, D)."""

    @abstractmethod
    def read(self, vectors: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of vectors (N, L, D); `there` (N, L) tells texts from the padding behind."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.read(self.look_up(x), own_ids(x) != 0)
