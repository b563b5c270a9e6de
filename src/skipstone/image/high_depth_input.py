"""The input `image` beyond photos: 16 bits, floating point, or any number of channels.

file bytes --deep.py--> record (H, W, C) uint8, uint16 or float32 --DeepFront--> (N, C, H, W) float

What is known of 8-bit photos in advance, each channel's black, grey and white, is fitted here on
the training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.core.errors import DataError
from skipstone.data.sources import Source
from skipstone.image.base_input import STATISTICS, BaseImageInput, sample_sources
from skipstone.image.channel_stats import ChannelStats, ChannelStatsMeter
from skipstone.image.high_depth import PixelFormat, decode_high_depth_with_size
from skipstone.image.high_depth_goldens import make_high_depth_golden_images
from skipstone.image.inspect_file import inspect_image
from skipstone.image.options import ImageOptions
from skipstone.inputs.base import Array, FeatureSpec
from skipstone.inputs.inspection import InspectionResult

if TYPE_CHECKING:
    from torch import nn

#: float32 records are clipped to so many standard deviations about the mean: 1e30 is an error in
#: the file, and would make the loss infinite. Integer types have their own limits.
MAX_DEVIATIONS = 1000.0
#: Detail (the spread of a pixel about its local mean) below this share of the channel's spread is
#: too faint for a network: 8 bits of a channel's range are not much finer.
FAINT_DETAIL = 1 / 32


class HighDepthImageInput(BaseImageInput):
    """Images as records that keep their depth and number of channels.

    Args:
        options: as of `ImageInput`; `normalize` decides the mean and standard deviation of the
            scaled values: those that ImageNet's photos have under it.
        get_state: {"dtype", "channels", "low", "middle", "high", "mean", "std", "typical_size",
            "detail"}; dtype is the record's, the lists hold one number per channel.

    "detail" is None, or each channel's spread of a pixel about its local mean, if that is too
    faint (`FINE`). The network then gets each channel a second time, with the local mean
    subtracted and scaled by that spread.
    """

    standalone_decoder = "skipstone.image.high_depth:decode_high_depth_with_geometry"

    def fit(self, sources: Sequence[Source]) -> HighDepthImageInput:
        """Fit again on up to 256 images of the same depth and channels."""
        kind = PixelFormat(self._get_state("dtype"), self.channels)
        return HighDepthImageInput.fit_kind(self.options, kind, sample_sources(sources))

    @staticmethod
    def fit_kind(
        options: ImageOptions, kind: PixelFormat, sample: Sequence[Source]
    ) -> HighDepthImageInput:
        """Fit on images of the training rows, in memory one at a time.

        Raises:
            DataError: none of them can be read.
        """
        import torch

        from skipstone.image.preprocessing import compute_local_mean

        state: dict[str, Any] = {"dtype": kind.dtype, "channels": kind.channels}
        unfitted = HighDepthImageInput(options, state)
        values, details = ChannelStatsMeter(kind.channels), ChannelStatsMeter(kind.channels)
        sizes, first_error = [], None
        for source in sample:
            try:
                raw = unfitted.decode(source)
            except DataError as error:
                first_error = first_error or error
                continue
            values.add_image(raw.value)
            pixels = torch.from_numpy(raw.value.astype(np.float32)).permute(2, 0, 1)
            details.add_image(
                (pixels - compute_local_mean(pixels[None])[0]).permute(1, 2, 0).numpy()
            )
            sizes.append(raw.size)
        if not sizes:
            raise DataError(
                f"none of {len(sample)} pictures can be read as {kind}; the first: {first_error}"
            )
        levels = values.compute_stats()
        state |= {name: list(getattr(levels, name)) for name in ChannelStats.__dataclass_fields__}
        detail = details.compute_stats().std
        is_faint = any(d < FAINT_DETAIL * s for d, s in zip(detail, levels.std, strict=True))
        state["detail"] = list(detail) if is_faint else None
        state["typical_size"] = [round(float(side)) for side in np.median(sizes, axis=0)]
        return HighDepthImageInput(options, state)

    @property
    def channel_stats(self) -> ChannelStats:
        """Statistics of each channel over the training rows, in stored units."""
        return ChannelStats(
            *(tuple(self._get_state(name)) for name in ChannelStats.__dataclass_fields__)
        )

    @property
    def decode_spec(self) -> dict[str, Any]:
        limits = None
        if "mean" in self._state and self._get_state("dtype") == "float32":
            pairs = zip(self._get_state("mean"), self._get_state("std"), strict=True)
            limits = [
                [mean - MAX_DEVIATIONS * std, mean + MAX_DEVIATIONS * std] for mean, std in pairs
            ]
        return {
            **super().decode_spec,
            "dtype": self._get_state("dtype"),
            "any_depth": self.options.bits == 32,
            "pages": self.options.pages,
            "limits": limits,
        }

    def feature_spec(self) -> FeatureSpec:
        """Exact if bfloat16's 8 bits would lose information."""
        views = 1 if self._state.get("detail") is None else 2
        return FeatureSpec(
            "image", views * self.channels, requires_float32=self._get_state("dtype") != "uint8"
        )

    def _decode(self, data: bytes | Array, spec: dict[str, Any]) -> tuple[Array, tuple[int, int]]:
        return decode_high_depth_with_size(data, spec)

    def inspect_and_decode(self, data: bytes | Array) -> tuple[InspectionResult, None]:
        """Without a record: the inspection decodes to 8 bits."""
        return inspect_image(data), None

    def preprocessing_module(self) -> nn.Module:
        from skipstone.image.preprocessing import HighDepthPreprocessing

        return HighDepthPreprocessing(*self._scaling(), self._state.get("detail"))

    def make_example(self, batch: int) -> dict[str, Array]:
        """Pixels between the low and high levels."""
        share = np.random.default_rng(0).random(self.example_shape(batch))
        low, high = np.array(self.channel_stats.low), np.array(self.channel_stats.high)
        pixels = low + share * (high - low)
        dtype = np.dtype(self._get_state("dtype"))
        return {"image": (np.rint(pixels) if dtype.kind == "u" else pixels).astype(dtype)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        kind = PixelFormat(self._get_state("dtype"), self.channels)
        own_shapes = self.typical_shape is not None
        size = self.options.pad if own_shapes else self.options.size
        ranges = zip(self.channel_stats.low, self.channel_stats.high, strict=True)
        fine = self._state.get("detail") or [0.1 * (high - low) for low, high in ranges]
        return make_high_depth_golden_images(
            count, size, kind, (self.channel_stats, fine), self.options.pages, own_shapes=own_shapes
        )

    def _scaling(self) -> tuple[list[float], list[float]]:
        """(scale, shift) per channel: the backbone gets pixel * scale + shift."""
        mean, std = np.array(self.channel_stats.mean), np.array(self.channel_stats.std)
        if self.options.normalize == "none":
            dtype = np.dtype(self._get_state("dtype"))
            top = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
            return [1 / top] * len(mean), [0.0] * len(mean)
        target_mean, target_std = _photo_statistics(self.options.normalize)
        scale = target_std / std
        return scale.tolist(), (target_mean - mean * scale).tolist()


def _photo_statistics(normalize: str) -> tuple[float, float]:
    """Mean and standard deviation of ImageNet's pixels under a normalisation, over its channels.

    Pretrained weights then get values of the range that they were trained on.
    """
    if normalize == "fit":
        return 0.0, 1.0
    photo_mean, photo_std = (np.array(row) for row in STATISTICS["imagenet"])
    mean, std = (np.array(row) for row in STATISTICS[normalize])
    return float(((photo_mean - mean) / std).mean()), float((photo_std / std).mean())
