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

from skipstone.data.sources import Source, read_source
from skipstone.errors import DataError
from skipstone.inputs.base import Array, Emits, Raw
from skipstone.inputs.deep import PixelKind, decode_deep_with_size
from skipstone.inputs.deep_golden import deep_goldens
from skipstone.inputs.image import STATISTICS, ImageInput
from skipstone.inputs.levels import LevelMeter, Levels
from skipstone.inputs.options import ImageOptions

#: float32 records are held within so many standard deviations of the mean: 1e30 is a fault of the
#: file, and would make the loss infinite. Whole numbers have their own limits.
LIMIT = 1000.0


class DeepImage(ImageInput):
    """Pictures of one depth and number of channels as square records that keep both.

    Args:
        options: as of `ImageInput`; `normalize` says what the scaled numbers shall look like: the
            mean and spread that ImageNet's photos have under it.
        state: what `fit` found: {"dtype", "channels", "low", "middle", "high", "mean", "std",
            "typical_size"}; dtype is the record's, the other lists hold a number a channel.
    """

    standalone = "skipstone.inputs.deep:decode_deep"

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
        meter, sizes, first_error = LevelMeter(kind.channels), [], None
        for source in sample:
            try:
                picture = raw.decode(source)
            except DataError as error:
                first_error = first_error or error
                continue
            meter.add(picture.value)
            sizes.append(picture.size)
        if not sizes:
            raise DataError(
                f"none of {len(sample)} pictures can be read as {kind}; the first: {first_error}"
            )
        levels = meter.levels()
        state |= {name: list(getattr(levels, name)) for name in Levels.__dataclass_fields__}
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
        return Emits("image", self.channels, exact=self._known("dtype") != "uint8")

    def decode(self, source: Source) -> Raw:
        data = read_source(source)
        if isinstance(data, str):
            raise DataError(f"{source.name}: a text is no picture.")
        try:
            pixels, size = decode_deep_with_size(data, self.spec)
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.") from error
        return Raw(pixels, size, self._to_source(size))

    def front(self) -> nn.Module:
        return DeepFront(*self._scaling())

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
        return deep_goldens(count, size, kind, self.levels, self.options.pages, kept=kept)

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

    Computed in float32 under any autocast. The cast comes first: OpenVINO computes what lies
    between whole numbers and it in bfloat16 whatever is asked for.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("shift", shift)):
            row = torch.tensor(value, dtype=torch.float64).float().view(1, -1, 1, 1)
            self.register_buffer(name, row, persistent=False)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].to(torch.float32).permute(0, 3, 1, 2)  # (N, C, H, W)
        return image * self.scale + self.shift


def _as_photos(normalize: str) -> tuple[float, float]:
    """Mean and standard deviation of ImageNet's pixels under a normalisation, over its channels.

    Weights that were trained so are given numbers of the size that they know.
    """
    if normalize == "fit":
        return 0.0, 1.0
    photo_mean, photo_std = (np.array(row) for row in STATISTICS["imagenet"])
    mean, std = (np.array(row) for row in STATISTICS[normalize])
    return float(((photo_mean - mean) / std).mean()), float((photo_std / std).mean())
