"""A network: front, backbone, head. Arrays in, named outputs out."""

from __future__ import annotations

from torch import Tensor, nn

from skipstone.models.backbone import Backbone
from skipstone.models.heads.base import Head

#: Of a batch whose samples are mixed by their features: the share (N,) that each keeps.
MIXED = "mixed"


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
        """Feature maps, shallow to deep; blended with each neighbour's where x[MIXED] says so."""
        features: tuple[Tensor, ...] = self.backbone(self.front(x))
        if MIXED in x:
            return tuple(blend(feature, x[MIXED]) for feature in features)
        return features

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        arrays = self.front(x)  # (N, C, H, W), or what else the backbone takes
        outputs: dict[str, Tensor] = self.head(self.backbone(arrays))
        size = arrays.shape[2:] if isinstance(arrays, Tensor) else ()
        return self.head.sized(outputs, size)
