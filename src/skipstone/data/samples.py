"""Sample and Batch: what an input passes to a network, for every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Affine = tuple[float, float, float, float, float, float]  # x' = a x + b y + c; y' = d x + e y + f


@dataclass(frozen=True, slots=True)
class SampleMeta:
    """A sample's metadata.

    Args:
        id: the manifest's row id, or a running number for sources in memory.
        name: display name (a path).
        view: number of the view, if one source gives several.
        size: (height, width) of the source after applying its orientation, or its length.
        to_source: maps model coordinates (x, y) to source coordinates; None if undefined.
        shape: (height, width) of the network's input, which may be padded or cropped; () if it is
            not an image.
    """

    id: int
    name: str = ""
    view: int = 0
    size: tuple[int, ...] = ()
    to_source: Affine | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    x: dict[str, Tensor]
    y: dict[str, Tensor] | None
    meta: SampleMeta


@dataclass(slots=True)
class Batch:
    """Stacked samples. A ragged target (boxes) is a list with one tensor per sample."""

    x: dict[str, Tensor]
    y: dict[str, Tensor | list[Tensor]] = field(default_factory=dict)
    meta: list[SampleMeta] = field(default_factory=list)

    def __len__(self) -> int:
        return int(next(iter(self.x.values())).shape[0])

    def to(self, device: torch.device) -> Batch:
        def move_to_device(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            if isinstance(value, list):
                return [item.to(device, non_blocking=True) for item in value]
            return value.to(device, non_blocking=True)

        return replace(
            self,
            x={name: value.to(device, non_blocking=True) for name, value in self.x.items()},
            y={name: move_to_device(value) for name, value in self.y.items()},
        )


def collate_samples(
    samples: Sequence[Sample],
    ragged: frozenset[str] = frozenset(),
    padded: frozenset[str] = frozenset(),
) -> Batch:
    """Stack samples.

    Args:
        ragged: targets that stay lists (defined by the task).
        padded: arrays that are zero-padded to the longest (defined by the input).
    """
    import torch

    x = {}
    for name in samples[0].x:
        values = [sample.x[name] for sample in samples]
        if name in padded:
            x[name] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        else:
            x[name] = torch.stack(values)
    y: dict[str, Tensor | list[Tensor]] = {}
    for name in samples[0].y or {}:
        targets = [sample.y[name] for sample in samples if sample.y is not None]
        y[name] = targets if name in ragged else torch.stack(targets)
    return Batch(x, y, [sample.meta for sample in samples])
