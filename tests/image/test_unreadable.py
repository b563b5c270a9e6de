"""Files that are damaged, no pictures, or larger than is safe: read, or named; and at what cost."""

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
import tifffile
from PIL import Image

from skipstone.image import decode as pixels
from skipstone.image import picture_file
from skipstone.image.decode import decode_pixels
from skipstone.image.inspect_file import inspect_image
from tests.image.picture_files import expected, saved, scene, spec


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
        problem = inspect_image(data).problem
        assert problem.partition(":")[0] == kind
        if kind:
            with pytest.raises(ValueError, match=re.escape(problem.partition(": ")[2])):
                decode_pixels(data, spec())


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="60000 x 60000 pixels are more than the 200 million"):
        decode_pixels(bomb(60_000), spec())
    assert inspect_image(bomb(60_000)).problem.startswith("too large: 60000 x 60000")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_progressive_jpeg_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "MAX_PROGRESSIVE_PIXELS", 999)
    image = Image.fromarray(scene(40, 40))
    assert decode_pixels(saved(image, "JPEG"), spec()).shape == (16, 16, 3)
    with pytest.raises(ValueError, match="40 x 40 pixels are more than"):
        decode_pixels(saved(image, "JPEG", progressive=True), spec())


def tiff_of(small_first: bool) -> bytes:
    """A TIFF of two pictures, the second in a directory below the first, as cameras' RAW photos and
    as pyramids have it."""
    sides = (8, 64) if small_first else (64, 8)
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(scene(sides[0], sides[0]), subifds=1, subfiletype=int(small_first))
        file.write(scene(sides[1], sides[1]), subfiletype=int(not small_first))
    return stream.getvalue()


def test_a_raw_photo_by_another_name_is_not_read_as_its_thumbnail() -> None:
    with pytest.raises(ValueError, match=r"thumbnail, as in a camera RAW photo; export it as JPEG"):
        decode_pixels(tiff_of(small_first=True), spec())
    pyramid = decode_pixels(tiff_of(small_first=False), spec())
    assert np.array_equal(pyramid, expected(Image.fromarray(scene(64, 64))))


def test_pillows_global_limit_neither_matters_nor_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    image = Image.fromarray(scene(20, 20))
    assert np.array_equal(decode_pixels(saved(image), spec()), expected(image))
    assert Image.MAX_IMAGE_PIXELS == 10


_MEMORY_PROBE = """
import resource, sys
from skipstone.image.decode import decode_with_size
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

    def counted(image: Any, *rest: Any) -> Any:
        nonlocal inside
        kind = "large" if pixels._is_large(image) else "small"
        inside += 1
        most[kind] = max(most[kind], inside)
        time.sleep(0.02)
        inside -= 1
        return decode(image, *rest)

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
