"""A network: front, backbone, head. Arrays in, named outputs out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from skipstone.models.backbone import Backbone, SequenceBackbone
from skipstone.models.heads.base import Head
from skipstone.models.word_lookup import own_ids

#: Of a batch whose samples are mixed: the share (N,) that each keeps of what the backbone makes of
#: it, or of the vectors of its words.
MIXED, MIXED_WORDS = "mixed", "mixed words"


def share_kept(x: dict[str, Tensor]) -> Tensor | None:
    """The share (N,) that each sample of a batch keeps; None where nothing is mixed."""
    return x.get(MIXED, x.get(MIXED_WORDS))


def blend(values: Tensor, share: float | Tensor) -> Tensor:
    """`share` of each sample and the rest of its neighbour; a number, or one a sample (N,)."""
    if isinstance(share, Tensor):
        share = share.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    return values * share + values.roll(1, 0) * (1 - share)


class Network(nn.Module):
    """front (in-graph preprocessing) -> backbone (feature maps) -> head (named outputs).

    State-dict names start with `front.`, `backbone.` and `head.`.

    Attributes:
        fixed: names of parameters that training leaves as they are.
    """

    def __init__(self, *, front: nn.Module, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.front = front
        self.backbone = backbone
        self.head = head
        self.fixed: frozenset[str] = frozenset()

    def features(self, x: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Feature maps, shallow to deep; they, or what they are made of, are blended with each
        neighbour's where `x` says so."""
        arrays = self.front(x)
        if MIXED_WORDS in x:
            return self._of_mixed_words(arrays, x[MIXED_WORDS])
        features: tuple[Tensor, ...] = self.backbone(arrays)
        if MIXED in x:
            return tuple(blend(feature, x[MIXED]) for feature in features)
        return features

    def _of_mixed_words(self, x: Tensor, share: Tensor) -> tuple[Tensor, ...]:
        """wordMixup (Guo, Mao and Zhang 2019, arXiv:1905.08941): vectors of two texts'
        tokens x (N, L), place by place; zeros fill up the shorter, and the blend is as long as the
        longer."""
        assert isinstance(self.backbone, SequenceBackbone), "its entry offers vectors in order"
        there = own_ids(x) != 0
        # an encoder's padding may have a vector of its own
        vectors = self.backbone.look_up(x) * there.unsqueeze(2)
        return self.backbone.read(blend(vectors, share), there | there.roll(1, 0))

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.answer(self.front(x))

    def answer(self, arrays: Any) -> dict[str, Tensor]:
        """Outputs from what the front gives: (N, C, H, W), or what else the backbone takes."""
        outputs: dict[str, Tensor] = self.head(self.backbone(arrays))
        size = arrays.shape[2:] if isinstance(arrays, Tensor) else ()
        return self.head.sized(outputs, size)
