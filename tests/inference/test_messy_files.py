"""What phones and downloads hold: `predict` and the stand-alone script go on past all of it, and
say the same."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skipstone.inference.export.script import write_standalone
from skipstone.inference.open_model import open_model
from skipstone.inference.predictor import Failure
from tests.photos import make_photo


def _bomb(side: int) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(bytes(99)), b"IEND"):
        parts += [struct.pack(">I", len(chunk) - 4), chunk, struct.pack(">I", zlib.crc32(chunk))]
    return b"".join(parts)


def _files(folder: Path) -> list[tuple[Path, str]]:
    """Files, and what each error says ("" where there is none)."""
    pillow_heif = pytest.importorskip("pillow_heif")
    photo, depth = make_photo(0, "disc"), make_photo(1, "disc").convert("L")
    heic = io.BytesIO()
    pillow_heif.from_pillow(photo).save(heic, quality=90)
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG")
    photo.save(folder / "plain.jpg")
    photo.save(folder / "phone.mpo", "MPO", save_all=True, append_images=[depth.convert("RGB")])
    contents = {
        "phone.heic": (heic.getvalue(), ""),
        "heic-called.jpg": (heic.getvalue(), ""),
        "no-extension": (jpeg.getvalue(), ""),
        "cut.heic": (heic.getvalue()[: len(heic.getvalue()) // 2], "damaged"),
        "cut.jpg": (jpeg.getvalue()[: len(jpeg.getvalue()) // 2], "damaged or cut short"),
        "empty.jpg": (b"", "empty"),
        "page.jpg": (b"<html>404</html>", "not a JPEG"),
        "bomb.png": (_bomb(60_000), "60000 x 60000 pixels are more than the 200 million"),
        "clip.mp4": (b"\0\0\0\x18ftypisom\0\0\0\0mp42isom", "a video"),
        "web.avif": (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "AVIF pictures are not read"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    sound = [(folder / "plain.jpg", ""), (folder / "phone.mpo", "")]
    return sound + [(folder / name, error) for name, (_, error) in contents.items()]


def test_messy_files_are_answered_or_named_alike(exported: Path, tmp_path: Path) -> None:
    files = _files(tmp_path)
    answers = open_model(exported).predict([path for path, _ in files])
    script = write_standalone(exported, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, str(script), "--json", *(str(path) for path, _ in files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    for (path, error), answer, row in zip(files, answers, rows, strict=True):
        assert row["path"] == str(path)
        if error:
            assert isinstance(answer, Failure), path
            assert error in answer.error
            assert answer.error == f"{path}: {row['error']}."
        else:
            assert not isinstance(answer, Failure), answer
            assert row["probability"] == pytest.approx(answer.fields["probability"], abs=1e-5)


def test_the_pictures_of_an_mpo_and_a_heic_are_the_photos(exported: Path, tmp_path: Path) -> None:
    """Not their depth map, thumbnail or a turned copy: the decoded records are near the photo's."""
    pytest.importorskip("pillow_heif")
    predictor = open_model(exported)
    _files(tmp_path)
    plain, mpo, heic = (
        predictor.encode(tmp_path / name)[0]["image"].astype(int)
        for name in ("plain.jpg", "phone.mpo", "phone.heic")
    )
    assert abs(plain - mpo).max() == 0
    assert abs(plain - heic).mean() < 6
    assert Image.open(tmp_path / "phone.mpo").n_frames == 2  # type: ignore[attr-defined]
