"""Files whose pixels are whole are read, whatever else is in them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipstone.data.read import read_manifest
from skipstone.image.decode import decode_pixels
from skipstone.image.inspect_file import inspect_image
from tests.image.picture_files import saved, scene, spec

HEADER = 33  # bytes of a PNG up to the end of its IHDR chunk
LONG = 3_000_000


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


CHUNKS = {
    "profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(LONG))),
    "packed xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * LONG)),
    "plain xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"a" * LONG),
    "packed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * LONG)),
    "plain text": chunk(b"tEXt", b"Comment\0" + b"a" * LONG),
    "many texts": b"".join(
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 900_000)) for _ in range(80)
    ),
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_a_png_with_long_texts(name: str, mode: str) -> None:
    picture = Image.fromarray(scene(30, 40))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    plain = saved(picture)
    for data in (
        plain[:HEADER] + CHUNKS[name] + plain[HEADER:],
        plain[:-12] + CHUNKS[name] + plain[-12:],  # behind the pixels
    ):
        assert inspect_image(data).problem == ""
        if mode != "I;16":
            assert np.array_equal(decode_pixels(data, spec()), decode_pixels(plain, spec()))


def test_short_texts_are_left_to_pillow() -> None:
    """An orientation may be in XMP."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = saved(Image.fromarray(scene(30, 40)), exif=exif)
    data = plain[:HEADER] + CHUNKS["profile"] + plain[HEADER:]
    assert inspect_image(data).is_rotated
    assert np.array_equal(decode_pixels(data, spec()), decode_pixels(plain, spec()))


JPEGS: dict[str, dict[str, object]] = {
    "plain": {},
    "subsampled": {"quality": 40, "subsampling": 2},
    "optimized": {"optimize": True},
    "restarts": {"quality": 90, "restart_marker_blocks": 3},
    "rows": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(16, 16), (61, 83), (200, 120)])
def test_a_jpeg_without_its_end_marker(name: str, mode: str, size: tuple[int, int]) -> None:
    picture = Image.fromarray(scene(*size)).convert(mode)
    data = saved(picture, "JPEG", **JPEGS[name])
    whole = decode_pixels(data, spec())
    for cut in (data[:-2], data[:-1]):
        assert inspect_image(cut).problem == ""
        assert np.array_equal(decode_pixels(cut, spec()), whole)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("lost", [8, 20, 100, 0.3, 0.6])
def test_a_jpeg_that_lacks_pixels_stays_cut_off(name: str, lost: float) -> None:
    data = saved(Image.fromarray(scene(200, 120)), "JPEG", **JPEGS[name])
    keep = len(data) - (round(lost * len(data)) if lost < 1 else int(lost))
    assert inspect_image(data[:keep]).problem.startswith("truncated")


def test_a_progressive_jpeg_cut_between_scans_stays_cut_off() -> None:
    data = saved(Image.fromarray(scene(200, 120)), "JPEG", progressive=True)
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 4
    for place in scans[1:]:
        table = data.rfind(b"\xff\xc4", 0, place)  # a scan's codes come before it
        for keep in (table, place):
            assert inspect_image(data[:keep]).problem.startswith("truncated")


def test_a_png_without_its_end(tmp_path: Path) -> None:
    data = saved(Image.fromarray(scene(30, 40)))
    assert np.array_equal(decode_pixels(data[:-12], spec()), decode_pixels(data, spec()))


def test_a_jpeg_cut_at_a_restart_stays_cut_off() -> None:
    data = saved(Image.fromarray(scene(200, 120)), "JPEG", restart_marker_rows=1)
    last = max(data.rfind(bytes([0xFF, marker])) for marker in range(0xD0, 0xD8))
    for keep in (last, last + 2):
        assert inspect_image(data[:keep]).problem.startswith("truncated")


@pytest.mark.parametrize(("kind", "suffix"), [("RGB", ".ppm"), ("L", ".pgm"), ("1", ".pbm")])
def test_portable_pixmaps_are_trained_on(tmp_path: Path, kind: str, suffix: str) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        stream = io.BytesIO()
        Image.fromarray(scene(20, 20)).convert(kind).save(stream, "PPM")
        (tmp_path / label / f"1{suffix}").write_bytes(stream.getvalue())
        assert inspect_image(stream.getvalue()).problem == ""
    assert len(read_manifest(tmp_path)) == 2
