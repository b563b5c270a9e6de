"""The record's pixels against Pillow's own resizing and exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from skipstone.image import decode as pixels
from skipstone.image.decode import compute_boxes, decode_for_specs, decode_pixels, decode_with_size
from tests.image.picture_files import expected, saved, scene, spec


@pytest.mark.parametrize("name", pixels._FILTERS)
def test_each_filter_is_pillows(name: str) -> None:
    image = Image.fromarray(scene(61, 47))
    record = decode_pixels(saved(image), spec(16, interpolation=name))
    assert np.array_equal(record, np.asarray(image.resize((16, 16), pixels._FILTERS[name])))


def test_crop_and_letterbox_equal_pillows() -> None:
    image = Image.fromarray(scene(40, 60))
    crop = decode_pixels(saved(image), spec(resize="crop"))
    cut = image.crop((10, 0, 50, 40)).resize((16, 16), Image.Resampling.BILINEAR)
    # at its edge the filter sees the pixels that a cut beforehand would have lost
    assert np.array_equal(crop[:, 1:-1], np.asarray(cut)[:, 1:-1])
    seen = image.resize((16, 16), Image.Resampling.BILINEAR, box=(10, 0, 50, 40))
    assert np.array_equal(crop, np.asarray(seen))
    letterbox = decode_pixels(saved(image), spec(resize="letterbox"))
    fitted = image.resize((16, 11), Image.Resampling.BILINEAR)
    assert np.array_equal(letterbox[2:13], np.asarray(fitted))
    assert (letterbox[:2] == pixels.LETTERBOX_GREY).all()
    assert (letterbox[13:] == pixels.LETTERBOX_GREY).all()


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_extreme_shapes(shape: tuple[int, int], resize: str, kind: str) -> None:
    data = saved(Image.new("RGB", (shape[1], shape[0]), (9, 9, 9)), kind)
    record, size = decode_with_size(data, spec(resize=resize))
    assert size == shape
    assert record.shape == (16, 16, 3)


def test_arrays_in_hand() -> None:
    grey, colour = scene(28, 28)[..., 0], scene(20, 30)
    same = decode_pixels(grey, spec(28, channels=1))
    assert np.array_equal(same[..., 0], grey)
    assert same.flags.writeable
    assert not np.shares_memory(same, grey)
    assert np.array_equal(decode_pixels(colour, spec()), expected(Image.fromarray(colour)))
    assert np.array_equal(decode_pixels(grey, spec(28)), np.repeat(grey[..., None], 3, axis=2))
    deep = grey.astype(np.uint16) * 257
    assert np.array_equal(decode_pixels(deep, spec(28, channels=1)), same)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_pixels(array, spec())


def test_place_covers_the_record() -> None:
    for resize in ("squash", "crop", "letterbox"):
        source, target = compute_boxes(30, 50, spec(10, resize=resize))
        assert 0 <= source[0] < source[2] <= 50
        assert 0 <= source[1] < source[3] <= 30
        assert 0 <= target[0] < target[2] <= 10
        assert 0 <= target[1] < target[3] <= 10


KEEP = {"size": 200, "resize": "keep", "channels": 3, "interpolation": "bilinear", "pad": 32}


def test_keep_leaves_pixels_as_they_are_and_fills_up() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (70, 101, 3), np.uint8)
    record, size = decode_with_size(picture, KEEP)
    assert size == (70, 101)
    assert record.shape == (96, 128, 3)
    assert np.array_equal(record[:70, :101], picture)
    assert (record[70:] == pixels.LETTERBOX_GREY).all()
    assert (record[:, 101:] == pixels.LETTERBOX_GREY).all()
    whole = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(decode_with_size(whole, KEEP)[0], whole)


def test_keep_makes_what_is_too_large_smaller() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    record, size = decode_with_size(picture, KEEP)
    assert size == (300, 400)
    assert record.shape == (160, 224, 3)
    expected = Image.fromarray(picture).resize((200, 150), Image.Resampling.BILINEAR)
    assert np.array_equal(record[:150, :200], np.asarray(expected))
    assert (record[150:] == pixels.LETTERBOX_GREY).all()


SPECS = [
    spec(size=96, draft=192),
    spec(size=192),
    spec(size=64, resize="crop", channels=1),
    spec(size=160, resize="keep", pad=32, interpolation="lanczos"),
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("shape", [(40, 60), (333, 251), (900, 1500)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_several_records_of_one_decode_are_those_of_many(
    kind: str, shape: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(scene(*shape)), kind, exif=exif)
    for found, one in zip(decode_for_specs(data, SPECS), SPECS, strict=True):
        record, size = decode_with_size(data, one)
        assert found[1] == size
        assert np.array_equal(found[0], record)


@pytest.mark.parametrize(
    ("kind", "specs", "decodes"), [("JPEG", SPECS[:2], 1), ("JPEG", SPECS, 2), ("PNG", SPECS, 1)]
)
def test_a_file_is_decoded_once(
    kind: str, specs: list[dict[str, Any]], decodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JPEG once for each fraction of its size that is asked for."""
    data = saved(Image.fromarray(scene(900, 1500)), kind)
    count = 0
    prepare = ImageFile.ImageFile.load_prepare

    def counted(self: ImageFile.ImageFile) -> None:
        nonlocal count
        count += 1
        prepare(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counted)
    decode_for_specs(data, specs)
    assert count == decodes
