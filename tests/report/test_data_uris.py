"""Pictures of records."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from skipstone.image.preview import to_display
from skipstone.report.data_uris import MAX_SIDE, encode_data_uri


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def record(height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 4, channels), np.uint8)
    return np.kron(small, np.ones((height // 4, width // 4, 1), np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_records_keep_their_pixels(channels: int) -> None:
    given = record(8, 8, channels)
    uri = encode_data_uri(given)
    assert uri is not None
    shown = np.asarray(opened(uri)).reshape(MAX_SIDE, MAX_SIDE, channels)
    np.testing.assert_array_equal(shown[12::24, 12::24], given)


@pytest.mark.parametrize("channels", [1, 3])
def test_large_records_become_thumbnails(channels: int) -> None:
    given = record(400, 800, channels)
    uri = encode_data_uri(given)
    assert uri is not None
    picture = opened(uri)
    assert (picture.format, picture.size) == ("JPEG", (MAX_SIDE, MAX_SIDE // 2))
    shown = np.asarray(picture, np.float64).reshape(MAX_SIDE // 2, MAX_SIDE, channels)
    centres = shown[12::24, 24::48]
    assert np.abs(centres - given[50::100, 100::200]).mean() < 8
    assert len(uri) < 20_000


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((8, 8, 3), np.int64),
        np.zeros((8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(100, np.uint8),
    ],
)
def test_what_is_no_picture(given: np.ndarray) -> None:
    assert encode_data_uri(given) is None


def test_deep_pictures_are_stretched_between_their_percentiles() -> None:
    """12 bits of a dim microscope at an offset: black on black where 0..65535 were the scale."""
    rng = np.random.default_rng(0)
    dim = np.linspace(3000, 3400, 10_000).reshape(100, 100, 1).astype(np.uint16)
    dim[0, 0] = 65535  # a hot pixel takes nothing from the others
    picture = to_display(dim)
    assert picture.dtype == np.uint8
    assert picture.shape == (100, 100, 1)
    assert picture.min() == 0
    assert 250 <= np.quantile(picture, 0.99) <= 255
    assert 120 < np.median(picture) < 135
    for channels, seen in ((1, 1), (2, 3), (3, 3), (5, 3)):
        record = rng.normal(-3, 0.1, (40, 40, channels)).astype(np.float32)
        assert to_display(record).shape == (40, 40, seen)
        assert encode_data_uri(record) is not None
    # views of one picture keep their difference in brightness
    assert to_display(dim + np.uint16(200), like=dim).mean() > to_display(dim, like=dim).mean() + 50


def test_photos_are_shown_as_they_are() -> None:
    photo = np.random.default_rng(0).integers(90, 99, (9, 9, 3), np.uint8)
    assert to_display(photo) is photo
