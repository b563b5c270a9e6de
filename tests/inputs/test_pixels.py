"""Pixels of record against Pillow's own transforms and exact arithmetic."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from skipstone.inputs import pixels
from skipstone.inputs.examine import examine
from skipstone.inputs.pixels import decode_pixels, decode_with_size, place


def spec(size: int = 16, **changes: Any) -> dict[str, Any]:
    return {
        "size": size,
        "resize": "squash",
        "channels": 3,
        "interpolation": "bilinear",
        **changes,
    }


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth and not symmetric in any way, with some noise."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([200 * x / width, 220 * y / height, 150 - 120 * x * y / (width * height)], -1)
    noise = np.random.default_rng(seed).normal(0, 8, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)[..., :channels]


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def expected(image: Image.Image, size: int = 16, mode: str = "RGB") -> np.ndarray:
    small = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(size, size, -1)


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


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_cut_of_a_file_is_read_or_named() -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        data = saved(Image.fromarray(scene(24, 24)), kind)
        for end in range(0, len(data) - 8, max(1, len(data) // 40)):
            with contextlib.suppress(ValueError):  # and nothing else
                assert decode_pixels(data[:end], spec()).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_half_a_file_is_refused(kind: str) -> None:
    data = saved(Image.fromarray(scene(64, 64)), kind)
    with pytest.raises(ValueError, match="damaged or cut short"):
        decode_pixels(data[: len(data) // 2], spec())


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_flipped_bits_never_escape_as_other_errors() -> None:
    rng = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        data = np.frombuffer(saved(Image.fromarray(scene(24, 24)), kind), np.uint8)
        for _ in range(30):
            hurt = data.copy()
            hurt[rng.integers(0, len(hurt), 4)] ^= rng.integers(1, 256, 4).astype(np.uint8)
            with contextlib.suppress(ValueError):  # and nothing else
                assert decode_pixels(hurt.tobytes(), spec()).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "not a JPEG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp42isom", "a video"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "AVIF pictures are not read"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF pictures are not read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged or cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a JPEG"),
    ],
)
def test_what_is_no_picture(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_pixels(data, spec())


def test_32_bit_pixels_are_refused() -> None:
    data = saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")
    with pytest.raises(ValueError, match="32-bit"):
        decode_pixels(data, spec())


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_broken_exif_block_does_not_lose_the_picture() -> None:
    image = Image.fromarray(scene(20, 20))
    data = saved(image, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0")
    assert np.array_equal(decode_pixels(data, spec()), expected(image))


def bomb(side: int) -> bytes:
    """A PNG that claims `side` x `side` pixels, and holds a few bytes of them."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(bytes(99)), b"IEND"):
        parts.append(struct.pack(">I", len(chunk) - 4) + chunk)
        parts.append(struct.pack(">I", zlib.crc32(chunk)))
    return b"".join(parts)


def test_an_mpo_of_a_phone_is_its_first_picture() -> None:
    photo, depth = Image.fromarray(scene(60, 80)), Image.new("L", (80, 60), 7).convert("RGB")
    data = saved(photo, "MPO", save_all=True, append_images=[depth], quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert np.array_equal(decode_pixels(data, spec()), decode_pixels(first_of(data), spec()))
    found = examine(data)
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
    found = examine(data.getvalue())
    assert (found.problem, found.format, found.size) == ("", "HEIF", size)


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"pip install 'skipstone\[heic\]'"):
        decode_pixels(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", spec())


def test_the_audit_calls_sound_what_decodes_and_names_what_does_not() -> None:
    """One set of rules: whatever the one refuses, the other reports."""
    sound = saved(Image.fromarray(scene(64, 64)), "JPEG")
    cases = {
        b"": "empty",
        b"<html>": "not a picture",
        bomb(60_000): "too large",
        sound[: len(sound) // 2]: "truncated",
        b"\0\0\0\x18ftypavif" + bytes(40): "not read",
        sound: "",
    }
    for data, kind in cases.items():
        problem = examine(data).problem
        assert problem.partition(":")[0] == kind
        if kind:
            with pytest.raises(ValueError, match=re.escape(problem.partition(": ")[2])):
                decode_pixels(data, spec())


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="60000 x 60000 pixels are more than the 200 million"):
        decode_pixels(bomb(60_000), spec())
    assert examine(bomb(60_000)).problem.startswith("too large: 60000 x 60000")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_progressive_jpeg_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_PROGRESSIVE_PIXELS", 999)
    image = Image.fromarray(scene(40, 40))
    assert decode_pixels(saved(image, "JPEG"), spec()).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="40 x 40 pixels are more than"):
        decode_pixels(saved(image, "JPEG", progressive=True), spec())


def test_pillows_global_limit_neither_matters_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    image = Image.fromarray(scene(20, 20))
    assert np.array_equal(decode_pixels(saved(image), spec()), expected(image))
    assert Image.MAX_IMAGE_PIXELS == 10


_MEMORY_PROBE = """
import resource, sys
from skipstone.inputs.pixels import decode_with_size
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spec = {"size": 224, "resize": "squash", "channels": 3, "interpolation": "bilinear"}
record, size = decode_with_size(data, spec)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(size[0] * size[1], (after - before) // 1024, record[3, 3, 0], record[-3, -3, 0])
"""


def test_a_200_megapixel_jpeg_takes_little_memory(tmp_path: Path) -> None:
    """600 MB as RGB; drafted at an eighth it is 200 MP / 64 * 3 bytes = 9 MB."""
    picture = Image.new("L", (16_000, 12_512), 40)
    picture.paste(220, (8_000, 6_256, 16_000, 12_512))
    path = tmp_path / "large.jpg"
    picture.save(path, quality=50)
    del picture
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_PROBE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    count, megabytes, dark, bright = map(int, done.stdout.split())
    assert count > 200_000_000
    assert megabytes < 100
    assert abs(dark - 40) < 4
    assert abs(bright - 220) < 4


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four progressive photos of 200 megapixels at once would take over two gigabytes."""
    monkeypatch.setattr(pixels, "LARGE_PIXELS", 40 * 40)
    inside, most = 0, {"large": 0, "small": 0}
    decode = pixels._decode_file

    def counted(image: Any, wanted: dict[str, Any]) -> Any:
        nonlocal inside
        kind = "large" if pixels._is_large(image) else "small"
        inside += 1
        most[kind] = max(most[kind], inside)
        time.sleep(0.02)
        inside -= 1
        return decode(image, wanted)

    monkeypatch.setattr(pixels, "_decode_file", counted)
    image = Image.fromarray(scene(40, 40))
    for kind, data in (
        ("large", saved(image, "JPEG", progressive=True)),
        ("large", saved(image)),
        ("small", saved(image, "JPEG")),
    ):
        with ThreadPoolExecutor(4) as pool:
            records = list(pool.map(lambda data: decode_pixels(data, spec()), [data] * 8))
        assert all(np.array_equal(record, records[0]) for record in records)
        assert (most[kind] == 1) == (kind == "large")


def test_place_covers_the_record() -> None:
    for resize in ("squash", "crop", "letterbox"):
        source, target = place(30, 50, spec(10, resize=resize))
        assert 0 <= source[0] < source[2] <= 50
        assert 0 <= source[1] < source[3] <= 30
        assert 0 <= target[0] < target[2] <= 10
        assert 0 <= target[1] < target[3] <= 10


def test_the_file_stands_alone() -> None:
    """It is embedded in the exported script: nothing of skipstone, nothing but numpy and Pillow."""
    text = Path(pixels.__file__).read_text()
    code = "import sys\nsys.modules['skipstone'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}exec({text!r})\nassert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


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
