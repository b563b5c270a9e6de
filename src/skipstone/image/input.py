"""The input `image` for photos: files or arrays to uint8 records, normalised inside the graph.

file bytes --pixels.py--> record (H, W, C) uint8 --ImageFront, in the graph--> (N, C, H, W) float
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.data.sources import Source
from skipstone.image.base_input import STATISTICS, BaseImageInput, sample_sources
from skipstone.image.decode import decode_with_size
from skipstone.image.geometry import affine_to_source
from skipstone.image.goldens import make_golden_images, make_own_shape_golden_images
from skipstone.image.high_depth_input import HighDepthImageInput
from skipstone.image.inspect_file import inspect_and_decode_image
from skipstone.image.options import ImageOptions
from skipstone.image.pixel_format import choose_pixel_format, detect_formats
from skipstone.image.selective_search import search_regions
from skipstone.inputs.base import REGIONS, Array, DecodedSample, FeatureSpec
from skipstone.inputs.inspection import InspectionResult

if TYPE_CHECKING:
    from torch import nn

_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R 601, as Pillow's "L"
_GREY_TOLERANCE = 2  # what JPEG's colour conversion may add to a grey image stored as colour


def make_image_input(
    options: ImageOptions,
    state: Mapping[str, Any] | None = None,
    arrays: Mapping[str, Array] | None = None,
) -> BaseImageInput:
    """The input for photos, or for deeper images if `state` was fitted on those."""
    if state is not None and "dtype" in state:
        return HighDepthImageInput(options, state)
    return ImageInput(options, state, arrays)


class ImageInput(BaseImageInput):
    """Photos as uint8 records: squares, or with resize "keep" of the photos' own shapes.

    Args:
        options: size, resize, channels, normalisation, interpolation.
        get_state: {"channels", "mean", "std", "typical_size", "grey"}.
        arrays: accepted as by every input, but always empty.

    An unfitted input works if its options decide everything (channels not "auto", normalize not
    "fit"); using another raises ValueError.
    """

    def __init__(
        self,
        options: ImageOptions,
        state: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        if arrays:
            raise DamagedError(f"an image input holds no arrays, but {sorted(arrays)} were stored.")
        super().__init__(options, _unfitted_state(options) if state is None else state)
        self._regions: dict[bytes, Array] = {}

    @property
    def standalone_decoder(self) -> str | None:
        return None if self.options.regions else "skipstone.image.geometry:decode_with_geometry"

    def fit(self, sources: Sequence[Source]) -> BaseImageInput:
        """Fit on up to 256 images spread over `sources`.

        Returns a `HighDepthImageInput` if the files have more than 8 bits or other channels than photos.
        Skips unreadable images (the audit and the loader name them).

        Raises:
            DataError: none of the sample can be read.
        """
        sample = sample_sources(sources)
        kind = choose_pixel_format(detect_formats(sample, self.options.pages), self.options)
        if kind is not None and self.options.regions:
            raise UsageError(
                "selective search takes photos of 8 bits, and these pictures are deeper.",
                hint="Reduce them (--bits 8), or choose another --head.",
            )
        if kind is not None:
            return HighDepthImageInput.fit_kind(self.options, kind, sample)
        in_colour = ImageInput(replace(self.options, channels=3, normalize="none"))
        grey, pixels, sizes, first_error = True, _PixelStats(), [], None
        for source in sample:
            try:
                raw = in_colour.decode(source)
            except DataError as error:
                first_error = first_error or error
                continue
            grey = grey and _is_grey(raw.value)
            if self.options.normalize == "fit":
                pixels.add(raw.value)
            sizes.append(raw.size)
        if not sizes:
            raise DataError(
                f"none of {len(sample)} pictures can be read; the first: {first_error}"
            ) from first_error
        channels = (1 if grey else 3) if self.options.channels == "auto" else self.options.channels
        mean, std = _normalization(self.options, channels, pixels)
        state = {
            "channels": channels,
            "mean": mean,
            "std": std,
            "grey": grey,
            "typical_size": [round(float(side)) for side in np.median(sizes, axis=0)],
        }
        return ImageInput(self.options, state)

    def survey(self, sources: Sequence[Source]) -> Mapping[str, Any]:
        return self.fit(sources).get_state()[0]

    def feature_spec(self) -> FeatureSpec:
        return FeatureSpec("image", self.channels, regions=self.options.regions)

    def _decode(self, data: bytes | Array, spec: dict[str, Any]) -> tuple[Array, tuple[int, int]]:
        return decode_with_size(data, spec)

    def encode(self, raw: DecodedSample) -> dict[str, Array]:
        """{"image": (H, W, C)}, and {"regions": (R, 4)} in pixels of it, if the options ask for
        some; rows of zeros follow where fewer are found."""
        arrays = super().encode(raw)
        if self.options.regions:
            arrays[REGIONS] = self._find_regions(raw.value)
        return arrays

    def _find_regions(self, record: Array) -> Array:
        """Found once per record: the search takes most of a second."""
        key = hashlib.blake2b(record.tobytes(), digest_size=16).digest()
        if key not in self._regions:
            found = search_regions(record, self.options.regions)
            self._regions[key] = np.pad(found, ((0, self.options.regions - len(found)), (0, 0)))
        return self._regions[key]

    def inspect_and_decode(
        self, data: bytes | Array
    ) -> tuple[InspectionResult, DecodedSample | None]:
        examined, decoded = inspect_and_decode_image(data, self.decode_spec)
        if decoded is None:
            return examined, None
        pixels, size = decoded
        return examined, DecodedSample(pixels, size, affine_to_source(size, self.decode_spec))

    def preprocessing_module(self) -> nn.Module:
        from skipstone.image.preprocessing import ImagePreprocessing

        return ImagePreprocessing(self._get_state("mean"), self._get_state("std"))

    def make_example(self, batch: int) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, self.example_shape(batch), np.uint8)
        if not self.options.regions:
            return {"image": image}
        corners = rng.uniform(0, min(image.shape[1:3]), (batch, self.options.regions, 2, 2))
        regions = np.sort(corners, axis=2).reshape(batch, -1, 4)
        return {"image": image, REGIONS: regions.astype(np.float32)}

    def make_golden_files(self, count: int) -> list[tuple[str, bytes]]:
        if self.typical_shape is not None:
            return make_own_shape_golden_images(count, self.options.pad, self.options.size)
        return make_golden_images(count, self.options.size)


def _unfitted_state(options: ImageOptions) -> dict[str, Any]:
    """The part of the state that the options decide; photos have 1 or 3 channels."""
    if options.channels not in (1, 3):
        return {}
    state: dict[str, Any] = {"channels": options.channels}
    if options.normalize != "fit":
        state["mean"], state["std"] = _normalization(options, options.channels, _PixelStats())
    return state


class _PixelStats:
    """Streaming mean and standard deviation of the pixels of many records.

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
        mix = _LUMA[None] if channels == 1 else np.eye(3)
        variance = np.diagonal(mix @ covariance @ mix.T)
        return mix @ mean / 255, np.sqrt(np.maximum(variance, 0.0)) / 255


def _normalization(
    options: ImageOptions, channels: int, pixels: _PixelStats
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel."""
    if options.normalize == "fit":
        mean, std = pixels.mean_and_std(channels)
        # 1/255 avoids dividing by 0 where all images are of one flat colour.
        return mean.tolist(), np.maximum(std, 1 / 255).tolist()
    means, stds = STATISTICS[options.normalize]
    if channels == 1:
        return [round(sum(means) / 3, 8)], [round(sum(stds) / 3, 8)]
    return list(means), list(stds)


def _is_grey(record: Array) -> bool:
    low, high = record.min(axis=2).astype(int), record.max(axis=2).astype(int)
    return bool((high - low).max() <= _GREY_TOLERANCE)
