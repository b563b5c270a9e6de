"""Small files that state far more than they hold cost neither memory nor time: per file at most
256 MB beyond its pixels, and 5 seconds (of the processor's)."""

from __future__ import annotations

import pytest

from skipstone.image.high_depth import decode_high_depth
from skipstone.image.inspect_file import inspect_image
from skipstone.image.picture_file import UnreadableImage
from skipstone.image.tiff import read_tiff
from tests.image.bombs import BOMBS, jpeg_of_empty_scans, measure, tiff_of_a_growing_strip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    data = BOMBS[name]()
    problems: list[str] = []
    seconds, grown = measure(lambda: problems.append(inspect_image(data).problem))
    assert grown < 256_000_000
    assert seconds < 5
    if "ImageJ" not in name and "1,000 empty" not in name:  # it is read as the page that it holds
        assert problems[0]


def test_usual_scans_are_read() -> None:
    assert inspect_image(jpeg_of_empty_scans(20, 256)).problem == ""


def test_deflate_is_bounded_without_imagecodecs() -> None:
    """tifffile's own decoder unpacks everything."""
    data = tiff_of_a_growing_strip(1 << 28)

    def read() -> None:
        with pytest.raises(UnreadableImage, match="grow to more than it states"):
            read_tiff(data, "auto")

    assert measure(read)[1] < 100_000_000


def test_a_model_cannot_ask_for_many_channels() -> None:
    spec = {"size": 224, "channels": 100_000, "dtype": "float32", "any_depth": True}
    with pytest.raises(UnreadableImage, match="100,000 channels; up to 1,024"):
        decode_high_depth(BOMBS["npy of 100,000 channels"](), spec)
