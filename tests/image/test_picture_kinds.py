"""Each kind of picture file, against Pillow's own transforms: modes, EXIF, animations, HEIC."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from skipstone.image.decode import decode_pixels, decode_with_size
from skipstone.image.inspect_file import inspect_image
from tests.image.picture_files import expected, saved, scene, spec


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_exif_orientation_equals_pillow(orientation: int, kind: str, resize: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    extra = {"lossless": True} if kind == "WEBP" else {}
    data = saved(Image.fromarray(scene(29, 21)), kind, exif=exif, **extra)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    record, size = decode_with_size(data, spec(resize=resize))
    assert size == (upright.height, upright.width)
    reference = decode_pixels(saved(upright), spec(resize=resize))
    assert np.array_equal(record, reference)
    if resize == "squash":
        assert np.array_equal(record, expected(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_drafted_jpeg(orientation: int) -> None:
    """Sides that no power of two divides: the last drafted pixel stands for a part of one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(scene(333, 251)), "JPEG", quality=95, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    record, size = decode_with_size(data, spec())
    assert size == (upright.height, upright.width)
    difference = np.abs(record.astype(int) - expected(upright).astype(int))
    assert difference.max() <= 6
    assert difference.mean() < 0.7


def modes() -> dict[str, tuple[bytes, Image.Image]]:
    """name -> file bytes, and the picture they mean."""
    rgb = Image.fromarray(scene(25, 31))
    grey = rgb.convert("L")
    alpha = Image.fromarray(np.linspace(0, 255, 25 * 31).astype(np.uint8).reshape(25, 31))
    rgba, la = rgb.copy(), grey.copy()
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    white = Image.new("RGB", rgb.size, "white")
    on_white = Image.composite(rgb, white, alpha)
    grey_on_white = Image.composite(grey.convert("RGB"), white, alpha)
    palette = rgb.quantize(40)
    keyed = palette.convert("RGB")
    hole = np.asarray(palette) == 3
    keyed = Image.fromarray(np.where(hole[..., None], np.uint8(255), np.asarray(keyed)))
    cmyk = rgb.convert("CMYK")
    bits = grey.convert("1")
    deep = np.asarray(grey).astype(np.uint16) * 257
    return {
        "rgb png": (saved(rgb), rgb),
        "rgb bmp": (saved(rgb, "BMP"), rgb),
        "rgb ppm": (saved(rgb, "PPM"), rgb),
        "rgb tiff": (saved(rgb, "TIFF"), rgb),
        "rgb webp": (saved(rgb, "WEBP", lossless=True), rgb),
        "grey png": (saved(grey), grey),
        "grey alpha": (saved(la), grey_on_white),
        "rgba png": (saved(rgba), on_white),
        "rgba webp": (saved(rgba, "WEBP", lossless=True, exact=True), on_white),
        "palette png": (saved(palette), palette.convert("RGB")),
        "palette gif": (saved(palette, "GIF"), palette.convert("RGB")),
        "palette with a transparent colour": (saved(palette, transparency=3), keyed),
        "cmyk tiff": (saved(cmyk, "TIFF"), cmyk.convert("RGB")),
        "one bit": (saved(bits), bits.convert("L")),
        "16 bit grey png": (saved(Image.fromarray(deep)), grey),
        "16 bit grey tiff": (saved(Image.fromarray(deep), "TIFF"), grey),
    }


@pytest.mark.parametrize("name", modes())
@pytest.mark.parametrize("channels", [1, 3])
def test_modes(name: str, channels: int) -> None:
    data, meant = modes()[name]
    record = decode_pixels(data, spec(channels=channels))
    assert record.dtype == np.uint8
    assert record.flags.c_contiguous
    assert record.flags.writeable
    reference = expected(meant, mode="L" if channels == 1 else "RGB")
    # Pillow's two ways to blend with alpha round differently, by one step
    allowed = 1 if "alpha" in name or "rgba" in name else 0
    assert np.abs(record.astype(int) - reference.astype(int)).max() <= allowed


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    rgb = Image.new("RGB", (40, 40), (220, 40, 60))
    data = saved(rgb.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(decode_pixels(data, spec()).mean((0, 1)) - [220, 40, 60]).max() < 6


def test_sixteen_bits_round_to_eight() -> None:
    values = np.array([[0, 128, 129, 257, 32767, 65406, 65407, 65535]], np.uint16).repeat(8, 0)
    record = decode_pixels(saved(Image.fromarray(values)), spec(8, channels=1))[0, :, 0]
    assert record.tolist() == [round(int(v) / 257) for v in values[0]]


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_pixels(data, spec(4)), expected(frames[0], 4))


def test_an_mpo_of_a_phone_is_its_first_picture() -> None:
    photo, depth = Image.fromarray(scene(60, 80)), Image.new("L", (80, 60), 7).convert("RGB")
    data = saved(photo, "MPO", save_all=True, append_images=[depth], quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert np.array_equal(decode_pixels(data, spec()), decode_pixels(first_of(data), spec()))
    found = inspect_image(data)
    assert (found.problem, found.format, found.mode) == ("", "MPO", "RGB+")


def first_of(mpo: bytes) -> bytes:
    """The bytes of the first picture alone: a JPEG by itself."""
    return mpo[: mpo.index(b"\xff\xd9\xff\xd8") + 2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_equals_pillow_heif(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    picture = heif.from_pillow(Image.fromarray(scene(66, 90)))
    picture.save(data, quality=95, exif=exif.tobytes())
    meant = heif.open_heif(data.getvalue()).to_pillow()
    meant = ImageOps.exif_transpose(meant)
    record, size = decode_with_size(data.getvalue(), spec())
    assert size == (meant.height, meant.width)
    assert np.array_equal(record, expected(meant))
    found = inspect_image(data.getvalue())
    assert (found.problem, found.format, found.size) == ("", "HEIF", size)


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"pip install '\.\[heic\]'"):
        decode_pixels(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", spec())
