"""The input `image`: picture files or arrays to uint8 records, normalised inside the graph.

file bytes --pixels.py--> record (H, W, C) uint8 --ImageFront, in the graph--> (N, C, H, W) float
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skipstone.data.sources import Source, read_source
from skipstone.errors import DamagedError, DataError, Refusal
from skipstone.inputs.base import Array, Emits, FreeAxis, Raw
from skipstone.inputs.examine import examine_and_decode
from skipstone.inputs.examined import Examined
from skipstone.inputs.golden import golden_pictures, kept_pictures
from skipstone.inputs.kinds import decide_kind, survey
from skipstone.inputs.options import ImageOptions
from skipstone.inputs.pixels import canvas, decode_with_size
from skipstone.inputs.placed import to_source

# Mean and standard deviation of pixels in 0..1, by what pretrained weights were made with.
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

_MOST_CHANNELS = 4096
_SAMPLE = 256  # pictures looked at by `fit`
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R 601, as Pillow's "L"
_GREY_TOLERANCE = 2  # what JPEG's colour conversion may add to a grey picture stored as colour


def image_input(
    options: ImageOptions,
    state: Mapping[str, Any] | None = None,
    arrays: Mapping[str, Array] | None = None,
) -> ImageInput:
    """The input for photos, or for deeper pictures where that is what `state` was fitted on."""
    if state is not None and "dtype" in state:
        from skipstone.inputs.deep_image import DeepImage  # a subclass of ImageInput

        return DeepImage(options, state)
    return ImageInput(options, state, arrays)


class ImageInput:
    """Pictures as uint8 records: square ones, or with "keep" of the pictures' own shapes.

    `fit` gives a `DeepImage` where the files hold more than 8 bits or other channels.

    Args:
        options: size, resize, channels, normalisation, interpolation.
        state: what `fit` found: {"channels", "mean", "std", "typical_size", "grey"}.
        arrays: none are needed; accepted as every input does.

    An input that is not fitted works where its options leave nothing open (channels not "auto",
    normalize not "fit"); otherwise using it is an error.
    """

    def __init__(
        self,
        options: ImageOptions,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        if arrays:
            raise DamagedError(f"an image input holds no arrays, but {sorted(arrays)} were stored.")
        self.options = options
        self._state = dict(state) if state is not None else _unfitted(options)
        _check_state(self._state)

    def fit(self, sources: Sequence[Source]) -> ImageInput:
        """An input whose state comes from up to 256 pictures spread over `sources`.

        Unreadable pictures are passed over (the audit and the loader name them); when none of the
        sample can be read, that is a DataError.
        """
        if not sources:
            raise DataError("there are no pictures to fit the image input on.")
        step = max(1, len(sources) // _SAMPLE)
        sample = list(sources)[::step][:_SAMPLE]
        kind = decide_kind(survey(sample, self.options.pages), self.options)
        if kind is not None:
            from skipstone.inputs.deep_image import DeepImage  # a subclass of this

            return DeepImage.fitted(self.options, kind, sample)
        colour = ImageInput(
            replace(self.options, channels=3, normalize="none"),
        )
        grey, pixels, sizes, first_error = True, _Pixels(), [], None
        for source in sample:
            try:
                raw = colour.decode(source)
            except DataError as error:
                first_error = first_error or error
                continue
            grey = grey and _is_grey(raw.value)
            if self.options.normalize == "fit":
                pixels.add(raw.value)
            sizes.append(raw.size)
        if not sizes:
            raise DataError(
                f"none of {min(_SAMPLE, len(sources))} pictures can be read; the first: "
                f"{first_error}"
            ) from first_error
        channels = (1 if grey else 3) if self.options.channels == "auto" else self.options.channels
        mean, std = _normalisation(self.options, channels, pixels)
        state = {
            "channels": channels,
            "mean": mean,
            "std": std,
            "grey": grey,
            "typical_size": [round(float(side)) for side in np.median(sizes, axis=0)],
        }
        return ImageInput(self.options, state)

    @property
    def spec(self) -> dict[str, Any]:
        """What `pixels.decode_pixels` needs, as JSON-able numbers and words."""
        return {
            "size": self.options.size,
            "resize": self.options.resize,
            "channels": self.channels,
            "interpolation": self.options.interpolation,
            "pad": self.options.pad,
        }

    @property
    def frame(self) -> tuple[int, int] | None:
        """(height, width) of the typical record, which pictures of any size are brought to where
        batches need one shape; None where all records have one shape."""
        if self.options.resize != "keep":
            return None
        height, width = self._state.get("typical_size", (self.options.size, self.options.size))
        return canvas(height, width, self.spec)

    @property
    def free_axes(self) -> Mapping[str, Mapping[int, FreeAxis]]:
        """Axes of the batched arrays that may have any size, by array."""
        if self.frame is None:
            return {}
        pad = self.options.pad
        return {"image": {1: FreeAxis("height", pad), 2: FreeAxis("width", pad)}}

    @property
    def channels(self) -> int:
        return int(self._known("channels"))

    def emits(self) -> Emits:
        return Emits("image", self.channels)

    def decode(self, source: Source) -> Raw:
        data = read_source(source)
        try:
            pixels, size = self._decode(data)
        except ValueError as error:
            raise DataError(f"{source.name}: {error}.") from error
        return Raw(pixels, size, to_source(size, self.spec))

    def _decode(self, data: bytes | Array) -> tuple[Array, tuple[int, int]]:
        """The record, and (height, width) of its source."""
        return decode_with_size(data, self.spec)

    def examined(self, data: bytes | Array) -> tuple[Examined, Raw | None]:
        """What the audit sees in a file, and its record: both from one decode. None where `decode`
        is to say itself what becomes of it."""
        found, decoded = examine_and_decode(data, self.spec)
        if decoded is None:
            return found, None
        pixels, size = decoded
        return found, Raw(pixels, size, to_source(size, self.spec))

    def encode(self, raw: Raw) -> dict[str, Array]:
        return {"image": raw.value}

    def front(self) -> nn.Module:
        return ImageFront(self._known("mean"), self._known("std"))

    def resolution(self) -> int:
        if self.options.resize == "keep":
            raise Refusal(
                "this model takes pictures at their own size (--resize keep), so there is no "
                "resolution that could be lowered.",
                hint='Choose another step, such as --plan "prune, int8".',
            )
        return self.options.size

    def resized(self, side: int) -> ImageInput:
        return type(self)(replace(self.options, size=side), self._state)

    def enlarging_front(self) -> nn.Module:
        return EnlargingFront(self.front(), self.resolution())

    def example(self, batch: int) -> dict[str, Array]:
        shape = (batch, *(self.frame or (self.options.size,) * 2), self.channels)
        return {"image": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}

    def golden(self, count: int) -> list[tuple[str, bytes]]:
        if self.frame is not None:
            return kept_pictures(count, self.options.pad, self.options.size)
        return golden_pictures(count, self.options.size)

    def state(self) -> tuple[dict[str, Any], Mapping[str, Array]]:
        return dict(self._state), {}

    def _known(self, key: str) -> Any:
        if key not in self._state:
            raise ValueError(f"the image input is not fitted: its {key} is open; call fit first")
        return self._state[key]


class ImageFront(nn.Module):
    """{"image": (N, H, W, C) uint8 or float in 0..255} -> (N, C, H, W) float32, normalised.

    The permute leaves channels_last strides. Computed in float32 whatever the network's type or
    the autocast: 8-bit pixels times 1/255 would lose their last bits in bfloat16. Holds nothing in
    the state dict: mean and std belong to the input's state.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self._mean, self._std = tuple(map(float, mean)), tuple(map(float, std))
        self._place(torch.device("cpu"))

    def _place(self, device: torch.device) -> None:
        std = torch.tensor(self._std, dtype=torch.float64)
        mean = torch.tensor(self._mean, dtype=torch.float64)
        for name, value in (("scale", 1 / (255 * std)), ("shift", -mean / std)):
            value = value.float().view(1, -1, 1, 1).to(device)
            self.register_buffer(name, value, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ImageFront:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.scale.dtype != torch.float32:  # network.bfloat16(): the front stays exact
            self._place(self.scale.device)
        return self

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].permute(0, 3, 1, 2).to(torch.float32)  # (N, C, H, W)
        return image * self.scale + self.shift

    def extra_repr(self) -> str:
        return f"mean={self._mean}, std={self._std}"


class EnlargingFront(nn.Module):
    """`front` after a bilinear resize: (N, h, w, C) of any size -> (N, ..., side, side)."""

    def __init__(self, front: nn.Module, side: int) -> None:
        super().__init__()
        self.front, self.side = front, side

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        image = x["image"].permute(0, 3, 1, 2).to(torch.float32)  # (N, C, h, w)
        image = F.interpolate(image, (self.side, self.side), mode="bilinear")
        arrays: Tensor = self.front({**x, "image": image.permute(0, 2, 3, 1)})
        return arrays


def _check_state(state: Mapping[str, Any]) -> None:
    """DamagedError for a state that `fit` cannot have found."""
    channels = state.get("channels", 1)
    if type(channels) is not int or not 1 <= channels <= _MOST_CHANNELS:
        raise DamagedError(
            f"an image input of {channels!r:.60} channels; allowed: 1 to {_MOST_CHANNELS}."
        )
    for name, least in (("mean", -math.inf), ("std", 0.0)):
        values = state.get(name)
        if values is not None and not (
            isinstance(values, list | tuple)
            and len(values) == channels
            and all(type(value) in (int, float) and least < value < math.inf for value in values)
        ):
            raise DamagedError(
                f"an image input's {name} is {values!r:.60}; allowed: {channels} finite numbers, "
                "one a channel" + (", above 0." if name == "std" else ".")
            )


def _unfitted(options: ImageOptions) -> dict[str, Any]:
    """The part of the state that the options decide alone; photos have 1 or 3 channels."""
    if options.channels not in (1, 3):
        return {}
    state: dict[str, Any] = {"channels": options.channels}
    if options.normalize != "fit":
        state["mean"], state["std"] = _normalisation(options, options.channels, _Pixels())
    return state


class _Pixels:
    """Mean and spread of the pixels of many records, of which one at a time is held.

    Sums of 8-bit numbers and of their products are exact in float64.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum, self._products = np.zeros(3), np.zeros((3, 3))

    def add(self, record: Array) -> None:
        """uint8 (H, W, 3)"""
        pixels = record.reshape(-1, 3).astype(np.float64)
        self._count += len(pixels)
        self._sum += pixels.sum(axis=0)
        self._products += pixels.T @ pixels

    def mean_and_std(self, channels: int) -> tuple[Array, Array]:
        """(channels,) each, of pixels in 0..1."""
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        mix = _GREY[None] if channels == 1 else np.eye(3)
        variance = np.diagonal(mix @ covariance @ mix.T)
        return mix @ mean / 255, np.sqrt(np.maximum(variance, 0.0)) / 255


def _normalisation(
    options: ImageOptions, channels: int, pixels: _Pixels
) -> tuple[list[float], list[float]]:
    if options.normalize == "fit":
        mean, std = pixels.mean_and_std(channels)
        # A set of one flat colour has no spread; 1/255 keeps the division harmless.
        return mean.tolist(), np.maximum(std, 1 / 255).tolist()
    means, stds = STATISTICS[options.normalize]
    if channels == 1:
        return [round(sum(means) / 3, 8)], [round(sum(stds) / 3, 8)]
    return list(means), list(stds)


def _is_grey(record: Array) -> bool:
    low, high = record.min(axis=2).astype(int), record.max(axis=2).astype(int)
    return bool((high - low).max() <= _GREY_TOLERANCE)
