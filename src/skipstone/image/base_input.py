"""What photos (`image.py`) and deeper images (`deep_image.py`) share as an input."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from skipstone.core.errors import DamagedError, DataError, Refusal
from skipstone.data.sources import Source, read_source
from skipstone.image.channel_stats import ChannelStats
from skipstone.image.decode import record_shape
from skipstone.image.geometry import affine_to_source
from skipstone.image.options import ImageOptions
from skipstone.inputs.base import Array, DecodedSample, DynamicAxis, Input

if TYPE_CHECKING:
    from torch import nn

# Mean and standard deviation of pixels in 0..1, by what pretrained weights were trained with.
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

_MAX_CHANNELS = 4096
_FIT_SAMPLE = 256  # images that `fit` reads


@runtime_checkable
class ImageRecords(Protocol):
    """An input of images, as augmentation sees it.

    Attributes:
        typical_shape: (height, width) that samples of different shapes are cropped or padded to for
            batching; None if all records have one shape.
        channel_stats: statistics of each channel, for images beyond 8-bit photos; None for photos.
    """

    @property
    def typical_shape(self) -> tuple[int, int] | None: ...

    @property
    def channel_stats(self) -> ChannelStats | None: ...


class BaseImageInput(Input):
    """Images as records of one depth and number of channels.

    Args:
        options: size, resize, channels, normalisation, interpolation.
        get_state: the fitted state, JSON-able.
    """

    options: ImageOptions

    def __init__(self, options: ImageOptions, state: Mapping[str, Any]) -> None:
        self.options = options
        self._state = dict(state)
        _check_state(self._state)

    @property
    def decode_spec(self) -> dict[str, Any]:
        """Settings of the decode function (`pixels.decode_pixels`, `deep.decode_deep`)."""
        return {
            "size": self.options.size,
            "resize": self.options.resize,
            "crop_share": self.options.crop_share,
            "channels": self.channels,
            "interpolation": self.options.interpolation,
            "pad": self.options.pad,
        }

    @property
    def typical_shape(self) -> tuple[int, int] | None:
        """(height, width) of the typical record, which training samples are cropped or padded to;
        None if all records have one shape."""
        if self.options.resize != "keep":
            return None
        height, width = self._state.get("typical_size", (self.options.size, self.options.size))
        return record_shape(height, width, self.decode_spec)

    @property
    def channel_stats(self) -> ChannelStats | None:
        """Statistics of each channel; None for photos."""
        return None

    @property
    def dynamic_axes(self) -> Mapping[str, Mapping[int, DynamicAxis]]:
        if self.typical_shape is None:
            return {}
        pad = self.options.pad
        return {"image": {1: DynamicAxis("height", pad), 2: DynamicAxis("width", pad)}}

    @property
    def channels(self) -> int:
        return int(self._get_state("channels"))

    def decode(self, source: Source) -> DecodedSample:
        data = read_source(source)
        try:
            pixels, size = self._decode(data, self.decode_spec)
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.") from error
        return DecodedSample(pixels, size, affine_to_source(size, self.decode_spec))

    def read_full_size(self, source: Source) -> Array:
        spec = {**self.decode_spec, "resize": "keep", "size": 1 << 30, "pad": 1}
        data = read_source(source)
        try:
            return self._decode(data, spec)[0]
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.") from error

    @abstractmethod
    def _decode(self, data: bytes | Array, spec: dict[str, Any]) -> tuple[Array, tuple[int, int]]:
        """The record by `spec` (`decode_spec`), and (height, width) of its source."""

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        return {"image": raw.value}

    def example_shape(self, batch: int) -> tuple[int, ...]:
        """(N, H, W, C)"""
        return (batch, *(self.typical_shape or (self.options.size,) * 2), self.channels)

    def get_resolution(self) -> int:
        if self.options.resize == "keep":
            raise Refusal(
                "this model takes pictures at their own size (--resize keep), so it has no "
                "resolution to lower.",
                hint='Choose another step, such as --plan "prune, int8".',
            )
        return self.options.size

    def describe_size(self) -> str:
        """A phrase for the reason of a model."""
        if self.options.resize == "keep":
            return f"images keep their aspect ratio, with sides of {self.options.size} at most"
        return f"trained at {self.options.size} pixels"

    def with_resolution(self, side: int) -> Self:
        return type(self)(replace(self.options, size=side), self._state)

    def upsampling_module(self) -> nn.Module:
        from skipstone.image.preprocessing import UpsamplingPreprocessing

        return UpsamplingPreprocessing(self.preprocessing_module(), self.get_resolution())

    def get_state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        return dict(self._state), {}

    def _get_state(self, key: str) -> Any:
        if key not in self._state:
            raise ValueError(f"the image input has no {key} before it is fitted; call fit first")
        return self._state[key]


def sample_sources(sources: Sequence[Source]) -> list[Source]:
    """Up to 256 sources at even distances, which `fit` reads.

    Raises:
        DataError: `sources` is empty.
    """
    if not sources:
        raise DataError("fitting the image input needs pictures, but got none.")
    step = max(1, len(sources) // _FIT_SAMPLE)
    return list(sources)[::step][:_FIT_SAMPLE]


def _check_state(state: Mapping[str, Any]) -> None:
    """Raises DamagedError for a state that `fit` cannot produce."""
    channels = state.get("channels", 1)
    if type(channels) is not int or not 1 <= channels <= _MAX_CHANNELS:
        raise DamagedError(
            f"an image input of {channels!r:.60} channels; allowed: 1 to {_MAX_CHANNELS}."
        )
    for name, minimum in (("mean", -math.inf), ("std", 0.0)):
        values = state.get(name)
        if values is not None and not (
            isinstance(values, list | tuple)
            and len(values) == channels
            and all(type(value) in (int, float) and minimum < value < math.inf for value in values)
        ):
            raise DamagedError(
                f"an image input's {name} is {values!r:.60}; allowed: {channels} finite numbers, "
                "one per channel" + (", above 0." if name == "std" else ".")
            )
