"""Auxiliary heads: heads on maps of the middle, which only training has.

Their losses give early layers a gradient of their own. They are of the same kind as the network's own
head: a classifier (Szegedy et al. 2014, arXiv:1409.4842, section 5), or a decoder of masks (Lee et al.
2015, arXiv:1409.5185; PSPNet, Zhao et al. 2017, arXiv:1612.01105, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from skipstone.core.errors import UsageError
from skipstone.models.heads.base import Head
from skipstone.models.losses import AuxiliaryCriterion, Criterion
from skipstone.models.network import Network


class HeadOnMap(Head):
    """A head that sees one of the feature maps.

    Args:
        index: of the map.
    """

    def __init__(self, head: Head, *, index: int) -> None:
        super().__init__()
        self.head, self.index = head, index

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.head((features[self.index],), size)
        return outputs


def add_auxiliary_heads(network: Network, criterion: Criterion, *, factor: float) -> Criterion:
    """Put auxiliary heads on the maps that the backbone names, or on the last but one.

    `fit` removes them at its end.

    Args:
        criterion: of the network's own outputs, and of each auxiliary head's.
        factor: of each auxiliary loss.
    Returns:
        the sum of the losses.
    Raises:
        UsageError: the head has no auxiliary form, or the backbone gives one map only.
    """
    backbone = network.backbone
    indices = backbone.auxiliary_maps or tuple(range(len(backbone.channels)))[-2:-1]
    if not indices:
        raise UsageError(
            "this model gives one map only, so there is none for an auxiliary head.",
            hint="Leave out --auxiliary-loss, or choose --last-map features where the model has it.",
        )
    device = next(network.parameters()).device
    for index in indices:
        head = network.head.make_auxiliary(backbone.channels[index], backbone.strides[index])
        if head is None:
            raise UsageError(
                f"{type(network.head).__name__} has no auxiliary form.",
                hint="Leave out --auxiliary-loss, or set it to 0.",
            )
        network.auxiliary[f"auxiliary_{index}"] = HeadOnMap(head, index=index).to(device)
    return AuxiliaryCriterion(criterion, dict.fromkeys(network.auxiliary, criterion), factor=factor)
