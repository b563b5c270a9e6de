"""Pictures of records."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from skipstone.report.pictures import SIDE, picture_uri


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def record(height: int, width: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 4, channels), np.uint8)
    return np.kron(small, np.ones((height // 4, width // 4, 1), np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_records_keep_their_pixels(channels: int) -> None:
    given = record(8, 8, channels)
    uri = picture_uri(given)
    assert uri is not None
    shown = np.asarray(opened(uri)).reshape(SIDE, SIDE, channels)
    np.testing.assert_array_equal(shown[12::24, 12::24], given)


@pytest.mark.parametrize("channels", [1, 3])
def test_large_records_become_thumbnails(channels: int) -> None:
    given = record(400, 800, channels)
    uri = picture_uri(given)
    assert uri is not None
    picture = opened(uri)
    assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE // 2))
    shown = np.asarray(picture, np.float64).reshape(SIDE // 2, SIDE, channels)
    centres = shown[12::24, 24::48]
    assert np.abs(centres - given[50::100, 100::200]).mean() < 8
    assert len(uri) < 20_000


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 12), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(100, np.uint8),
    ],
)
def test_what_is_no_picture(given: np.ndarray) -> None:
    assert picture_uri(given) is None
