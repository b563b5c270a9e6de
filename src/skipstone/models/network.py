"""A network: front, backbone, head. Arrays in, named outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from skipstone.inputs.base import REGIONS
from skipstone.models.backbone import Backbone, SequenceBackbone
from skipstone.models.frozen_prefix import FrozenPrefix
from skipstone.models.heads.base import Head
from skipstone.models.word_lookup import token_ids

#: Keys of a batch whose samples are mixed: the share (N,) that each sample keeps of its features,
#: or of the vectors of its words.
MIXED, MIXED_WORDS = "mixed", "mixed words"


def mixing_share(x: dict[str, Tensor]) -> Tensor | None:
    """The share (N,) that each sample of a batch keeps; None where nothing is mixed."""
    return x.get(MIXED, x.get(MIXED_WORDS))


def blend_pairs(values: Tensor, share: float | Tensor) -> Tensor:
    """`share` of each sample and the rest of its neighbour; one share, or one per sample (N,)."""
    if isinstance(share, Tensor):
        share = share.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    return values * share + values.roll(1, 0) * (1 - share)


class Network(nn.Module):
    """front (in-graph preprocessing) -> backbone (feature maps) -> head (named outputs).

    State-dict names start with `front.`, `backbone.` and `head.`.

    Attributes:
        fixed: names of parameters that training does not change.
        prefix: where the network is cut while it is trained on cached outputs of frozen stages.
        auxiliary: heads by name that only training has; `fit` removes them at its end, so bundles
            do not store them and inference does not build them.
    """

    def __init__(self, *, front: nn.Module, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.front = front
        self.backbone = backbone
        self.head = head
        self.auxiliary = nn.ModuleDict()
        self.fixed: frozenset[str] = frozenset()
        self.prefix: FrozenPrefix | None = None

    def features(self, x: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Feature maps, shallow to deep; in a mixed batch blended with each neighbour's."""
        return self.features_and_size(x)[0]

    def features_and_size(self, x: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """`features`, and the size that the head is told: (height, width) of images, else ()."""
        if self.prefix is not None and self.prefix.has_arrays(x):
            return self.prefix.compute_features(self.backbone, x), self.prefix.size
        arrays = self.front(x)
        if MIXED_WORDS in x:
            return self._features_of_mixed_words(arrays, x[MIXED_WORDS]), ()
        features: tuple[Tensor, ...] = self.backbone(arrays)
        if MIXED in x:
            features = tuple(blend_pairs(feature, x[MIXED]) for feature in features)
        return add_regions(features, x), _image_size(arrays)

    def _features_of_mixed_words(self, x: Tensor, share: Tensor) -> tuple[Tensor, ...]:
        """wordMixup (Guo, Mao and Zhang 2019, arXiv:1905.08941): vectors of two texts' tokens
        x (N, L), place by place; the shorter is padded with zeros to the length of the longer."""
        assert isinstance(self.backbone, SequenceBackbone), "its spec provides token embeddings"
        is_token = token_ids(x) != 0
        # an encoder's padding may have a vector of its own
        vectors = self.backbone.embed_tokens(x) * is_token.unsqueeze(2)
        return self.backbone.encode_vectors(
            blend_pairs(vectors, share), is_token | is_token.roll(1, 0)
        )

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """What the criterion sees: the head's outputs, and "<name>.<output>" of auxiliary heads.

        Args:
            size: of this network's input, or of a student's that it teaches.
        """
        outputs = self.head.training_outputs(features, size)
        for name, head in self.auxiliary.items():
            outputs |= {f"{name}.{key}": value for key, value in head(features, size).items()}
        return outputs

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.prefix is not None and self.prefix.has_arrays(x):
            outputs: dict[str, Tensor] = self.head(*self.features_and_size(x))
            return outputs
        return self.predict_arrays(self.front(x), x)

    def predict_arrays(
        self, arrays: Any, x: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Outputs from what the front gives: (N, C, H, W), or what else the backbone takes.

        Args:
            x: the inputs by name, of which a head may need more than the backbone does.
        """
        features = add_regions(self.backbone(arrays), x or {})
        outputs: dict[str, Tensor] = self.head(features, _image_size(arrays))
        return outputs


def add_regions(features: tuple[Tensor, ...], x: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The feature maps, and last the regions (N, R, 4) of the input, if it has some."""
    return (*features, x[REGIONS]) if REGIONS in x else features


def _image_size(arrays: Any) -> tuple[int, ...]:
    return tuple(arrays.shape[2:]) if isinstance(arrays, Tensor) else ()
