"""Sample and Batch: what flows from an input to a network, whatever the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Affine = tuple[float, float, float, float, float, float]  # x' = a x + b y + c; y' = d x + e y + f


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a sample besides its numbers.

    Args:
        id: the manifest's row id, or a running number for sources in hand.
        name: how to name it to a person (a path).
        view: number of the view, where one source gives several.
        size: (height, width) of the source as a person sees it, or its length.
        to_source: maps model coordinates (x, y) back to the source's; None where meaningless.
        shape: (height, width) of the record that the network gets, which may hold more than the
            source (padding) or less (a crop); () where there is none.
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
    meta: Meta


@dataclass(slots=True)
class Batch:
    """Stacked samples. A ragged target (boxes) is a list with one tensor a sample.

    Args:
        weight: (N,) sample weights, or None for all equal.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor | list[Tensor]] = field(default_factory=dict)
    meta: list[Meta] = field(default_factory=list)

    def __len__(self) -> int:
        return int(next(iter(self.x.values())).shape[0])

    def to(self, device: torch.device) -> Batch:
        def move(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            if isinstance(value, list):
                return [item.to(device, non_blocking=True) for item in value]
            return value.to(device, non_blocking=True)

        return replace(
            self,
            x={name: value.to(device, non_blocking=True) for name, value in self.x.items()},
            y={name: move(value) for name, value in self.y.items()},
        )


def collate(
    samples: Sequence[Sample],
    ragged: frozenset[str] = frozenset(),
    padded: frozenset[str] = frozenset(),
) -> Batch:
    """Stack samples; targets named in `ragged` (the task says which) stay lists, and inputs named
    in `padded` (the input says which) are filled up with zeros to the longest."""
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
