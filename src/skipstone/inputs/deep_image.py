"""The input `image` for pixels beyond photos: 16 bits, floating point, or any number of channels.

file bytes --deep.py--> record (H, W, C) uint8, uint16 or float32 --DeepFront--> (N, C, H, W) float

What 8-bit photos take for granted is learnt from the training part here: where black, grey and
white are, a channel each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.data.sources import Source
from skipstone.errors import DataError
from skipstone.inputs.base import Array, Emits
from skipstone.inputs.deep import PixelKind, decode_deep_with_size
from skipstone.inputs.deep_golden import deep_goldens
from skipstone.inputs.examine import examine
from skipstone.inputs.examined import Examined
from skipstone.inputs.image import STATISTICS, ImageInput
from skipstone.inputs.levels import LevelMeter, Levels
from skipstone.inputs.options import ImageOptions

#: float32 records are held within so many standard deviations of the mean: 1e30 is a fault of the
#: file, and would make the loss infinite. Whole numbers have their own limits.
LIMIT = 1000.0
#: Where neighbouring pixels differ by less than this share of what pictures differ by, a network
#: would hardly see it: 8 bits of a channel's range are not much finer.
FINE = 1 / 32
_WINDOW = 5
_MOST_DETAIL = 8.0


class DeepImage(ImageInput):
    """Pictures of one depth and number of channels as square records that keep both.

    Args:
        options: as of `ImageInput`; `normalize` says what the scaled numbers shall look like: the
            mean and spread that ImageNet's photos have under it.
        state: what `fit` found: {"dtype", "channels", "low", "middle", "high", "mean", "std",
            "typical_size", "detail"}; dtype is the record's, the lists hold a number a channel.

    "detail" is None, or the spread of a pixel about its neighbourhood's mean, where that is so
    small that it would drown: each channel is then given to the network a second time, with its
    local mean taken out and scaled by that spread.
    """

    standalone = "skipstone.inputs.deep:decode_deep_seen"

    def __init__(self, options: ImageOptions, state: Mapping[str, Any]) -> None:
        super().__init__(options, state)

    @staticmethod
    def fitted(options: ImageOptions, kind: PixelKind, sample: Sequence[Source]) -> DeepImage:
        """From pictures of the training part, one at a time.

        Raises:
            DataError: none of them can be read.
        """
        state: dict[str, Any] = {"dtype": kind.dtype, "channels": kind.channels}
        raw = DeepImage(options, state)
        meter, fine = LevelMeter(kind.channels), LevelMeter(kind.channels)
        sizes, first_error = [], None
        for source in sample:
            try:
                picture = raw.decode(source)
            except DataError as error:
                first_error = first_error or error
                continue
            meter.add(picture.value)
            pixels = torch.from_numpy(picture.value.astype(np.float32)).permute(2, 0, 1)
            fine.add((pixels - _local_mean(pixels[None])[0]).permute(1, 2, 0).numpy())
            sizes.append(picture.size)
        if not sizes:
            raise DataError(
                f"none of {len(sample)} pictures can be read as {kind}; the first: {first_error}"
            )
        levels = meter.levels()
        state |= {name: list(getattr(levels, name)) for name in Levels.__dataclass_fields__}
        detail = fine.levels().std
        drowns = any(d < FINE * s for d, s in zip(detail, levels.std, strict=True))
        state["detail"] = list(detail) if drowns else None
        state["typical_size"] = [round(float(side)) for side in np.median(sizes, axis=0)]
        return DeepImage(options, state)

    @property
    def levels(self) -> Levels:
        """Of each channel, in stored units; of the training part."""
        return Levels(*(tuple(self._known(name)) for name in Levels.__dataclass_fields__))

    @property
    def spec(self) -> dict[str, Any]:
        """What `deep.decode_deep` needs, as JSON-able numbers and words."""
        limits = None
        if "mean" in self._state and self._known("dtype") == "float32":
            pairs = zip(self._known("mean"), self._known("std"), strict=True)
            limits = [[mean - LIMIT * std, mean + LIMIT * std] for mean, std in pairs]
        return {
            **super().spec,
            "dtype": self._known("dtype"),
            "any_depth": self.options.bits == 32,
            "pages": self.options.pages,
            "limits": limits,
        }

    def emits(self) -> Emits:
        """Exact where bfloat16's 8 bits would lose what the files hold."""
        views = 1 if self._state.get("detail") is None else 2
        return Emits("image", views * self.channels, exact=self._known("dtype") != "uint8")

    def _decode(self, data: bytes | Array) -> tuple[Array, tuple[int, int]]:
        return decode_deep_with_size(data, self.spec)

    def examined(self, data: bytes | Array) -> tuple[Examined, None]:
        """The audit's look goes by eight bits; the record is `decode`'s."""
        return examine(data), None

    def front(self) -> nn.Module:
        return DeepFront(*self._scaling(), self._state.get("detail"))

    def example(self, batch: int) -> dict[str, Array]:
        """Pixels between the low and high levels."""
        shape = (batch, *(self.frame or (self.options.size,) * 2), self.channels)
        share = np.random.default_rng(0).random(shape)
        low, high = np.array(self.levels.low), np.array(self.levels.high)
        pixels = low + share * (high - low)
        dtype = np.dtype(self._known("dtype"))
        return {"image": (np.rint(pixels) if dtype.kind == "u" else pixels).astype(dtype)}

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        kind = PixelKind(self._known("dtype"), self.channels)
        kept = self.frame is not None
        size = self.options.pad if kept else self.options.size
        ranges = zip(self.levels.low, self.levels.high, strict=True)
        fine = self._state.get("detail") or [0.1 * (high - low) for low, high in ranges]
        return deep_goldens(count, size, kind, (self.levels, fine), self.options.pages, kept=kept)

    def _scaling(self) -> tuple[list[float], list[float]]:
        """(scale, shift) a channel: pixel * scale + shift is what the backbone sees."""
        mean, std = np.array(self.levels.mean), np.array(self.levels.std)
        if self.options.normalize == "none":
            dtype = np.dtype(self._known("dtype"))
            top = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
            return [1 / top] * len(mean), [0.0] * len(mean)
        at, spread = _as_photos(self.options.normalize)
        scale = spread / std
        return scale.tolist(), (at - mean * scale).tolist()


class DeepFront(nn.Module):
    """{"image": (N, H, W, C), uint8, uint16 or float32} -> (N, C, H, W) float32, scaled.

    With `detail` (see `DeepImage`) (N, 2 C, H, W): the channels, then their detail. Computed in
    float32 under any autocast. Two things are as they are for OpenVINO, which computes in bfloat16
    whatever its own rewriting makes: the cast comes first, and nothing is subtracted.
    """

    scale: Tensor
    shift: Tensor
    fine: Tensor
    minus_fine: Tensor

    def __init__(
        self,
        scale: Sequence[float],
        shift: Sequence[float],
        detail: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.with_detail = detail is not None
        fine = [1 / (_MOST_DETAIL * spread) for spread in detail or ()]
        rows = {"scale": scale, "shift": shift, "fine": fine, "minus_fine": [-x for x in fine]}
        for name, value in rows.items():
            row = torch.tensor(value, dtype=torch.float64).float().view(1, -1, 1, 1)
            self.register_buffer(name, row, persistent=False)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].to(torch.float32).permute(0, 3, 1, 2)  # (N, C, H, W)
        scaled = image * self.scale + self.shift
        if not self.with_detail:
            return scaled
        # an edge of a large thing is no detail, and would be hundreds of times its spread
        detail = image * self.fine + _local_mean(image) * self.minus_fine
        detail = torch.tanh(detail) * _MOST_DETAIL
        return torch.cat([scaled, detail], 1)  # (N, 2 C, H, W)


def _local_mean(image: Tensor) -> Tensor:
    """Of the 5 x 5 about each pixel (N, C, H, W); nothing lies beyond the edge."""
    return F.avg_pool2d(image, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)


def _as_photos(normalize: str) -> tuple[float, float]:
    """Mean and standard deviation of ImageNet's pixels under a normalisation, over its channels.

    Weights that were trained so are given numbers of the size that they know.
    """
    if normalize == "fit":
        return 0.0, 1.0
    photo_mean, photo_std = (np.array(row) for row in STATISTICS["imagenet"])
    mean, std = (np.array(row) for row in STATISTICS[normalize])
    return float(((photo_mean - mean) / std).mean()), float((photo_std / std).mean())
