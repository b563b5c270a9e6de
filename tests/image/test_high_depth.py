"""Pixels beyond photos: what is read, exactly as stored, and what is refused with the next step."""

from __future__ import annotations

import builtins
import io
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from skipstone.core.errors import DataError, UsageError
from skipstone.data.sources import Inline
from skipstone.image.high_depth import (
    decode_high_depth,
    decode_high_depth_with_size,
    detect_pixel_format,
)
from skipstone.image.input import ImageInput, make_image_input
from skipstone.image.inspect_file import inspect_image
from skipstone.image.options import ImageOptions
from skipstone.image.picture_file import UnreadableImage
from tests.high_depth_pictures import npy, stripes, tiff

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (24, 24, 5)).astype(np.uint16)


def spec(array: np.ndarray, **changes: Any) -> dict[str, Any]:
    """A record of the array's own size and type."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    own = {"dtype": array.dtype.name, "channels": channels, "size": array.shape[0]}
    more = {"resize": "squash", "interpolation": "bilinear", "pages": "auto", "pad": 1}
    return {**more, "any_depth": False, "limits": None, **own, **changes}


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "deflate": {"compression": "zlib", "predictor": True},
    "LZW": {"compression": "lzw", "predictor": True},
    "ZSTD": {"compression": "zstd"},
    "tiles": {"tile": (16, 16)},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_every_bit(layout: str, dtype: Any) -> None:
    array = (WIDE if dtype == np.uint16 else WIDE / 257).astype(dtype)
    found = decode_high_depth(tiff(array, **LAYOUTS[layout]), spec(array))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_planes_apart_and_axes_that_the_file_names() -> None:
    planes = np.moveaxis(WIDE, -1, 0)
    files = [
        tiff(planes, planarconfig="separate"),
        tiff(planes, planarconfig=None, ome=True, metadata={"axes": "CYX"}),
        tiff(planes, planarconfig=None, imagej=True, metadata={"axes": "CYX"}),
        npy(WIDE),
        npy(np.asfortranarray(WIDE)),
    ]
    for data in files:
        assert str(detect_pixel_format(data)) == "5 channels of 16 bits"
        np.testing.assert_array_equal(decode_high_depth(data, spec(WIDE)), WIDE)


def test_channels_and_depths_together_come_in_order() -> None:
    """ImageJ's hyperstack (Z, C, Y, X) with its depths taken for channels: z outer, c inner."""
    stack = RNG.integers(0, 9999, (2, 3, 16, 16)).astype(np.uint16)
    data = tiff(stack, planarconfig=None, imagej=True, metadata={"axes": "ZCYX"})
    assert detect_pixel_format(data).pages == 2
    found = decode_high_depth(data, spec(np.zeros((16, 16, 6), np.uint16), pages="channels"))
    np.testing.assert_array_equal(found, np.moveaxis(stack.reshape(6, 16, 16), 0, -1))
    found = decode_high_depth(data, spec(np.zeros((16, 16, 3), np.uint16), pages="first"))
    np.testing.assert_array_equal(found, np.moveaxis(stack[0], 0, -1))


@pytest.mark.parametrize("how", ["one by one", "as a stack", "OME's Z", "ImageJ's time"])
def test_pages_that_nothing_explains_are_refused_with_the_flags(how: str) -> None:
    pages = np.ascontiguousarray(np.moveaxis(WIDE, -1, 0))
    stream = io.BytesIO()
    if how == "one by one":
        with tifffile.TiffWriter(stream) as file:
            for page in pages:
                file.write(page)
    elif how == "as a stack":
        tifffile.imwrite(stream, pages, photometric="minisblack", metadata=None)
    elif how == "OME's Z":
        tifffile.imwrite(stream, pages, ome=True, metadata={"axes": "ZYX"})
    else:
        tifffile.imwrite(stream, pages, imagej=True, metadata={"axes": "TYX"})
    data = stream.getvalue()
    with pytest.raises(UsageError) as caught:
        ImageInput(ImageOptions(size=24)).fit([Inline(data, "cells.tif")])
    assert "cells.tif has 5 pages" in caught.value.message
    assert "--pages channels" in str(caught.value.hint)
    with pytest.raises(UnreadableImage, match=r"5 .*nothing says whether they are channels"):
        decode_high_depth(data, spec(WIDE))
    np.testing.assert_array_equal(decode_high_depth(data, spec(WIDE, pages="channels")), WIDE)
    first = decode_high_depth(data, spec(WIDE[..., :1], pages="first"))
    np.testing.assert_array_equal(first, WIDE[..., :1])
    assert inspect_image(data).pixel_format == "1 channel of 16 bits in 5 pages"


def test_a_preview_page_of_another_size_is_no_channel() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(WIDE[..., 0])
        file.write(WIDE[::2, ::2, 0])
    found = decode_high_depth(stream.getvalue(), spec(WIDE[..., :1]))
    np.testing.assert_array_equal(found, WIDE[..., :1])


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_is_that_of_photos(turn: int) -> None:
    """Against Pillow, which turns an 8-bit TIFF by the same tag."""
    grey = RNG.integers(0, 256, (9, 7), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(image))
    deep = tiff(grey.astype(np.float32), extratags=[(274, "H", 1, turn, True)])
    found, size = decode_high_depth_with_size(
        deep, spec(np.zeros((9, 9), np.float32), resize="keep", size=9)
    )
    assert size == expected.shape
    np.testing.assert_array_equal(found[: size[0], : size[1], 0], expected)


def test_png_of_16_bits_keeps_them() -> None:
    grey = WIDE[..., 0]
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    assert str(detect_pixel_format(stream.getvalue())) == "1 channel of 16 bits"
    np.testing.assert_array_equal(decode_high_depth(stream.getvalue(), spec(grey))[..., 0], grey)
    import imagecodecs

    colour = bytes(imagecodecs.png_encode(np.ascontiguousarray(WIDE[..., :3])))
    np.testing.assert_array_equal(decode_high_depth(colour, spec(WIDE[..., :3])), WIDE[..., :3])


def test_without_imagecodecs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*arguments: object, **options: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    data = tiff(WIDE, compression="lzw")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", decode)
    with pytest.raises(UnreadableImage, match=r"LZW.*pip install '\.\[tiff\]'"):
        decode_high_depth(data, spec(WIDE))
    monkeypatch.undo()
    import imagecodecs

    colour = bytes(imagecodecs.png_encode(np.ascontiguousarray(WIDE[..., :3])))
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "imagecodecs":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnreadableImage, match=r"colour PNG.*\.\[tiff\]"):
        decode_high_depth(colour, spec(WIDE[..., :3]))


def test_the_one_resize_is_pillows_in_float32() -> None:
    """Against Pillow's mode F, a channel at a time; whole numbers are rounded once, at the end."""
    found = decode_high_depth(tiff(WIDE), spec(WIDE, size=10))
    for channel in range(5):
        plane = Image.fromarray(WIDE[..., channel].astype(np.float32))
        small = np.asarray(plane.resize((10, 10), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[..., channel], np.rint(small))


def test_missing_pixels_take_the_median_of_their_channel() -> None:
    array = RNG.normal(100, 5, (16, 16, 2)).astype(np.float32)
    holed = array.copy()
    holed[3:6, 3:6, 0] = np.nan
    holed[0, 0, 1] = np.inf
    holed[9, 9, 1] = -9999
    data = tiff(holed, extratags=[(42113, "s", 6, "-9999", True)])
    found = decode_high_depth(data, spec(array))
    known = np.isfinite(holed) & (holed != -9999)
    np.testing.assert_array_equal(found[known], array[known])
    np.testing.assert_array_equal(found[3:6, 3:6, 0], np.median(array[..., 0][known[..., 0]]))
    np.testing.assert_array_equal(found[9, 9, 1], np.median(array[..., 1][known[..., 1]]))
    with pytest.raises(UnreadableImage, match="channel 2 has no valid pixel"):
        decode_high_depth(tiff(np.where([True, False], array, np.nan)), spec(array))


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.98])
@pytest.mark.parametrize("layout", ["contiguous", "deflate", "LZW", "tiles"])
def test_a_file_that_is_cut_short_is_never_read_as_zeros(keep: float, layout: str) -> None:
    data = tiff(WIDE, **LAYOUTS[layout])
    cut = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(UnreadableImage):
        decode_high_depth(cut, spec(WIDE))


def test_arrays_that_are_no_pictures() -> None:
    for array in (
        np.zeros(4),
        np.zeros((3, 30, 30)),
        np.zeros((4, 4, 0)),
        np.zeros((4, 4), complex),
    ):
        with pytest.raises(UnreadableImage):
            decode_high_depth(npy(array), spec(WIDE))
    stream = io.BytesIO()
    np.save(stream, np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(UnreadableImage, match="allow_pickle"):
        decode_high_depth(stream.getvalue(), spec(WIDE))


def test_a_photo_stays_a_photo() -> None:
    rgb = RNG.integers(0, 256, (20, 20, 3), np.uint8)
    for data in (
        tiff(rgb, photometric="rgb"),
        tiff(np.dstack([rgb, rgb[..., :1]]), photometric="rgb", extrasamples=["unassalpha"]),
        tiff(np.dstack([rgb, rgb[..., :1]]), photometric="separated"),
        tiff(rgb[..., 0]),
    ):
        assert detect_pixel_format(data).is_photo
    # red, green, blue and near infrared is no picture with transparency
    four = tiff(np.dstack([rgb, rgb[..., :1]]), photometric="rgb", extrasamples=["unspecified"])
    assert str(detect_pixel_format(four)) == "4 channels of 8 bits"


def fitted(sources: list[Inline], **options: Any) -> ImageInput:
    return ImageInput(ImageOptions(**{"size": 24, "normalize": "fit", **options})).fit(sources)


def test_what_the_training_part_holds_is_scaled_to_mean_0_and_spread_1() -> None:
    arrays = [RNG.normal([9, 900, 30000], [1, 50, 4000], (24, 24, 3)) for _ in range(8)]
    sources = [Inline(tiff(np.rint(array).astype(np.uint16))) for array in arrays]
    sources[0] = Inline(
        tiff(np.where(RNG.random((24, 24, 1)) < 0.002, 65535, arrays[0]).astype("u2"))
    )
    input = fitted(sources)
    x = np.stack([input.encode(input.decode(source))["image"] for source in sources[1:]])
    seen = input.preprocessing_module()({"image": torch.from_numpy(x)})
    assert seen.dtype == torch.float32
    assert seen.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=0.1)
    assert seen.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=0.1)  # for all hot pixels
    state, arrays_of_state = input.get_state()
    again = make_image_input(input.options, state, arrays_of_state)
    assert again.decode_spec == input.decode_spec
    assert torch.equal(again.preprocessing_module()({"image": torch.from_numpy(x)}), seen)


def test_weights_made_with_half_see_the_numbers_they_know() -> None:
    """0.5 and 0.5 gives ImageNet's photos a mean of -0.1 and a spread of 0.45."""
    sources = [Inline(npy(RNG.normal(7, 3, (24, 24, 3)).astype(np.float32))) for _ in range(8)]
    input = fitted(sources, normalize="half")
    x = np.stack([input.decode(source).value for source in sources])
    seen = input.preprocessing_module()({"image": torch.from_numpy(x)})
    assert float(seen.mean()) == pytest.approx(-0.102, abs=0.02)
    assert float(seen.std()) == pytest.approx(0.452, abs=0.02)


def test_garbage_of_1e30_is_held_where_numbers_end() -> None:
    array = RNG.normal(0, 1, (24, 24, 1)).astype(np.float32)
    broken = array.copy()
    broken[0, 0] = 3e38
    input = fitted([Inline(npy(array))] * 9 + [Inline(npy(broken))])
    assert input.decode(Inline(npy(broken))).value.max() < 5000


MIXED = {
    "channels": ([tiff(WIDE), tiff(WIDE), tiff(WIDE[..., :2])], "--channels 5"),
    "depths": ([tiff(WIDE), tiff(WIDE.astype(np.float32))], "--bits 32"),
    "photos": ([tiff(WIDE[..., 0]), tiff((WIDE[..., 0] // 257).astype(np.uint8))], "--bits"),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_mixed_set_is_refused_with_the_flag_that_decides(name: str) -> None:
    files, flag = MIXED[name]
    with pytest.raises(UsageError) as caught:
        fitted([Inline(data, f"{number}.tif") for number, data in enumerate(files)])
    assert "differ in depth" in caught.value.message
    assert "such as 0.tif" in caught.value.message
    assert flag in str(caught.value.hint)


def test_the_flags_decide() -> None:
    channels, depths = (
        [Inline(data) for data in MIXED[name][0]] for name in ("channels", "depths")
    )
    five = fitted(channels, channels=5)
    assert five.channels == 5
    with pytest.raises(DataError, match="it has 2 channels of 16 bits, not 5 channels of 16 bits"):
        five.decode(channels[2])
    wide = fitted(depths, bits=32)
    assert [wide.decode(source).value.dtype for source in depths] == [np.float32] * 2
    with pytest.raises(UsageError, match="no picture has so many"):
        fitted(channels, channels=7)
    grey = [Inline(tiff(WIDE[..., 0])), Inline(tiff((WIDE[..., 0] // 257).astype(np.uint8)))]
    assert fitted(grey, bits=8).decode(grey[0]).value.dtype == np.uint8
    with pytest.raises(UsageError, match="cannot become an 8-bit photo"):
        fitted(channels, bits=8)


@pytest.mark.parametrize("pages", ["auto", "channels"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_goldens_are_files_of_the_same_kind(channels: int, dtype: Any, pages: str) -> None:
    array = RNG.integers(0, 200, (20, 20, channels)).astype(dtype)
    if dtype == np.uint8 and channels == 1:
        array = np.stack([array[..., 0]] * 2, axis=-1)  # one channel of 8 bits is a photo
        channels = 2
    planes = np.moveaxis(array, -1, 0)
    one = tiff(planes, planarconfig=None) if pages == "channels" else tiff(array)
    input = fitted([Inline(one)], pages=pages, size=16)
    files = input.make_golden_files(14)
    assert files == input.make_golden_files(14)
    records = [input.decode(Inline(data, name)).value for name, data in files]
    assert {record.shape for record in records} == {(16, 16, channels)}
    assert {record.dtype for record in records} == {np.dtype(dtype)}
    assert len({record.tobytes() for record in records}) == 14


def test_8_bits_lose_what_16_keep() -> None:
    """The premise of the tests of whole chains: the label is in the low byte alone."""
    for picture in (stripes(0, 4), stripes(0, 14)):
        assert (picture >> 8).std((0, 1)).tolist() == [0] * 5
        assert (picture & 255).std((0, 1)).min() > 50


def test_faint_detail_is_given_by_itself() -> None:
    sources = [Inline(npy(stripes(number, 6, side=24))) for number in range(20)]
    input = fitted(sources)
    assert input.get_state()[0]["detail"] is not None
    assert (input.channels, input.feature_spec().channels) == (5, 10)
    x = np.stack([input.decode(source).value for source in sources])
    seen = input.preprocessing_module()({"image": torch.from_numpy(x)})
    assert seen.shape == (20, 10, 24, 24)
    assert seen[:, 5:].std((2, 3)).mean() == pytest.approx(1, abs=0.1)
    # the high byte is nowhere in it, nor the last bit of a rounding
    shifted = input.preprocessing_module()({"image": torch.from_numpy(x % 256 + np.uint16(0xF000))})
    assert float((shifted - seen)[:, 5:].abs().max()) < 1e-3
    padded = np.pad(x.astype(np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    wanted = x - np.nanmean(windows, (-2, -1))
    found = 8 * torch.atanh(seen[:, 5:].double() / 8).permute(0, 2, 3, 1)
    scale = np.array(input.get_state()[0]["detail"])
    np.testing.assert_allclose(found.numpy() * scale, wanted, atol=0.3)
    again = make_image_input(input.options, input.get_state()[0])
    assert torch.equal(again.preprocessing_module()({"image": torch.from_numpy(x)}), seen)


def test_plain_detail_is_not() -> None:
    """One number for all high bytes: the low one is all that differs, and is seen as it is."""
    plain = [stripes(number, 6, side=24) % 256 + np.uint16(0x4000) for number in range(20)]
    input = fitted([Inline(npy(array)) for array in plain])
    assert input.get_state()[0]["detail"] is None
    assert input.feature_spec().channels == 5
