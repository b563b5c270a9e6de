"""Damage that decoders pass over in silence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from skipstone.image.inspect_file import inspect_image
from tests.image.scenes import as_jpeg, scene


def _jpeg(picture: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    return out.getvalue()


def _pictures() -> list[Image.Image]:
    ramp = np.broadcast_to(np.linspace(0, 255, 300).astype(np.uint8), (200, 300))
    page = np.full((900, 700, 3), 255, np.uint8)
    page[30:60, 40:600:7] = 0
    return [
        *(scene(seed) for seed in range(3)),
        Image.new("RGB", (2000, 1500), (255, 255, 255)),
        Image.new("L", (1500, 1500), 7),
        Image.fromarray(ramp),
        Image.fromarray(page),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 40, "subsampling": 2},
        {"optimize": True},
        {"progressive": True},
        {"quality": 100, "subsampling": 0, "restart_marker_blocks": 3},
        {"comment": b"\x00" * 2000},
    ],
    ids=str,
)
def test_sound_files_are_sound(options: dict[str, object]) -> None:
    for picture in _pictures():
        found = inspect_image(_jpeg(picture, **options))
        assert (found.problem, found.damage) == ("", "")
    sound = as_jpeg(scene(1))
    assert inspect_image(sound + b"\x00" * 5000 + b"\xff\xc9 behind the picture").damage == ""


def test_a_block_that_was_never_written() -> None:
    data = as_jpeg(scene(2, (500, 400)))
    damaged = data[:9000] + bytes(4096) + data[9000 + 4096 :]
    found = inspect_image(damaged)
    assert found.problem == ""
    assert found.damage == "4,096 zero bytes where coded pixels should be"


@pytest.mark.parametrize("marker", [0x01, 0x02, 0xC3, 0xD8, 0xE1, 0xF7, 0xFD])
def test_a_marker_that_has_no_place_there(marker: int) -> None:
    data = as_jpeg(scene(2, (500, 400)))
    found = inspect_image(data[:9000] + bytes([0xFF, marker]) + data[9002:])
    impossible = f"an impossible marker (FF {marker:02X}) within the coded pixels"
    assert found.problem or found.damage in (impossible, "the coded pixels are cut off")


def test_garbage_does_not_raise() -> None:
    data = as_jpeg(scene(4))
    random = np.random.default_rng(0)
    for _ in range(60):
        start = int(random.integers(2, len(data)))
        inspect_image(data[:start] + random.bytes(int(random.integers(1, 400))) + data[start:])
        inspect_image(data[:start])
