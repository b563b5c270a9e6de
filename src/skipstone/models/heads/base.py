"""What every head answers: feature maps to named outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from skipstone.models.heads.options import LinearOptions
from skipstone.models.losses import Criterion


class Head(nn.Module, ABC):
    """Features to named outputs of fixed names and ranks (so that it exports).

    A head registered in HEADS is constructed as
    `Class(options, channels=(...), strides=(...), **shape)` where channels and strides are those
    of the backbone's feature maps, and `shape` is what the task adds (`classes=10`), all JSON-able.
    """

    @abstractmethod
    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        """Outputs by name, batch first.

        Args:
            features: maps from shallow to deep, (N, C, ...).
            size: (height, width) of the network's input, () for an input without; feature maps
                do not tell it to the pixel, and masks and boxes need it.
        """

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        """What the criterion sees: `forward`, and what a loss needs beside it (maps of deep
        supervision, the features that a second stage pools)."""
        outputs: dict[str, Tensor] = self(features, size)
        return outputs

    def criterion(self) -> Criterion | None:
        """The head's own criterion, where the loss needs its layers (a two-stage detector).

        None: the task's (`Task.criterion`).
        """
        return None

    def make_auxiliary(self, channels: int, stride: int) -> Head | None:
        """A fresh small head with outputs of the same kind, for one map of the middle with these
        channels and this stride, which only training has; None where there is none."""
        return None

    def class_parameter_names(self) -> tuple[str, ...]:
        """Names of its tensors that hold one row per class, in the order of `Task.rows`, along
        their first dimension: what grows with new classes. () for a head that cannot grow."""
        return ()


class LinearHead(Head):
    """Global average pool -> dropout -> linear -> {"logits": (N, classes)}."""

    def __init__(
        self,
        options: LinearOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.linear = nn.Linear(channels[-1], classes)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        deepest = features[-1]  # (N, C, H, W), or (N, C) without spatial dimensions
        pooled = deepest.mean(dim=tuple(range(2, deepest.ndim))) if deepest.ndim > 2 else deepest
        return {"logits": self.linear(self.dropout(pooled))}

    def make_auxiliary(self, channels: int, stride: int) -> Head:
        return AuxiliaryClassifier(channels, classes=self.linear.out_features)

    def class_parameter_names(self) -> tuple[str, ...]:
        return ("linear.weight", "linear.bias")


class IdentityHead(Head):
    """(N, K) features -> {"logits": (N, K)}, without parameters."""

    def __init__(
        self,
        options: None,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
    ) -> None:
        super().__init__()
        assert channels[-1] == classes, "one feature per class"

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        return {"logits": features[-1]}


class AuxiliaryClassifier(Head):
    """GoogLeNet's classifier on a map of the middle (Szegedy et al. 2014, arXiv:1409.4842, section 5),
    with torchvision's names: (N, C, H, W) -> {"logits": (N, classes)}."""

    def __init__(self, channels: int, *, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.conv = nn.Sequential()
        self.conv.add_module("conv", nn.Conv2d(channels, 128, 1, bias=False))
        self.conv.add_module("bn", nn.BatchNorm2d(128, eps=1e-3))
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        x = self.conv(self.pool(features[-1])).relu()  # (N, 128, 4, 4)
        x = self.dropout(self.fc1(x.flatten(1)).relu())  # (N, 1024)
        return {"logits": self.fc2(x)}
