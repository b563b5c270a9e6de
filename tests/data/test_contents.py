"""Sources, types by bytes, digests and duplicates, and manifests as files."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.data.fingerprint import compute_digest, find_duplicate_groups
from skipstone.data.manifest import Manifest, build_table, load_manifest, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.sources import FileRef, Inline, read_source
from skipstone.image.picture_types import detect_picture_format
from tests.photos import make_photo, write_idx


def files(root: Path, contents: list[bytes]) -> Manifest:
    names = []
    for number, data in enumerate(contents):
        (root / f"{number}.jpg").write_bytes(data)
        names.append(f"{number}.jpg")
    return Manifest(
        build_table({"path": names, "target": ["a"] * len(names)}, pa.string()),
        root=root,
        reader="class-folders",
        input="image",
        task="classify",
        schema={"classes": ["a"]},
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_formats_as_pillow_writes_them(form: str) -> None:
    data = io.BytesIO()
    make_photo(0, "disc", (8, 8)).save(data, form)
    assert detect_picture_format(data.getvalue()[:32]) == form


@given(
    st.sampled_from(["", "BM", "II*", "MM", "RIFF"]), st.text(st.characters(exclude_categories="C"))
)
@example("BM", "a short text4")  # whose last byte would be the size of a header, were there more
def test_text_is_no_picture(start: str, rest: str) -> None:
    assert detect_picture_format((start + rest).encode()[:32]) is None


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    assert read_source(FileRef(tmp_path / "a")) == b"bytes"
    assert read_source(Inline(b"x")) == b"x"
    assert read_source(Inline("ä")) == "ä".encode()
    array = np.zeros((2, 2, 3), np.uint8)
    assert read_source(Inline(array)) is array
    with pytest.raises(DataError, match=r"/b cannot be read: No such file"):
        read_source(FileRef(tmp_path / "b"))
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_source(FileRef(tmp_path))


@given(st.lists(st.sampled_from([b"", b"a", b"b", b"cc", b"dd", b"eee"]), min_size=1, max_size=12))
def test_duplicates_are_equal_bytes_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    manifest = files(tmp_path_factory.mktemp("dup"), contents)
    expected = [
        rows
        for data in sorted(set(contents) - {b""}, key=contents.index)
        if len(rows := [row for row, value in enumerate(contents) if value == data]) > 1
    ]
    assert find_duplicate_groups(manifest) == expected
    every = [hashlib.sha256(data).hexdigest() for data in contents]
    assert find_duplicate_groups(manifest, every) == expected


def test_duplicates_inside_a_container_and_beside_it(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    pictures[4] = pictures[1]
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", pictures)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", np.arange(6) % 2)
    manifest = read_manifest(tmp_path)
    assert find_duplicate_groups(manifest) == [[0, 6], [1, 4, 7, 10], [2, 8], [3, 9], [5, 11]]
    assert compute_digest(read_source(manifest.source_at(2))) == compute_digest(
        pictures[2][:, :, None]
    )


def test_a_digest_is_sha256_of_the_bytes_and_of_an_array_s_shape() -> None:
    assert compute_digest(b"one") == hashlib.sha256(b"one").hexdigest()
    array = np.arange(12, dtype=np.uint8)
    assert compute_digest(array.reshape(3, 4, 1)) != compute_digest(array.reshape(4, 3, 1))


def test_a_manifest_survives_its_file(tmp_path: Path, tag_table: Path) -> None:
    manifest = read_manifest(tag_table)
    manifest = replace(manifest, skipped_counts={"hidden files": 3})
    save_manifest(manifest, tmp_path / "m.parquet")
    again = load_manifest(tmp_path / "m.parquet")
    assert again == replace(manifest, table=again.table)
    assert again.table.equals(manifest.table)
    assert again.compute_fingerprint() == manifest.compute_fingerprint()
    assert again.filter_rows("role", "").list_sources() == manifest.list_sources()


def test_a_damaged_manifest_is_said_to_be(tmp_path: Path, tag_table: Path) -> None:
    path = tmp_path / "m.parquet"
    save_manifest(read_manifest(tag_table), path)
    data = path.read_bytes()
    for broken in (data[:-20], data[: len(data) // 2], b"", b"PAR1", data[:4] + data[40:]):
        path.write_bytes(broken)
        with pytest.raises(DamagedError):
            load_manifest(path)
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(DamagedError, match="not a manifest of skipstone"):
        load_manifest(path)


def test_options_are_checked() -> None:
    assert ReadOptions(label_columns="a, b").label_columns == ("a", "b")  # type: ignore[arg-type]
    assert ReadOptions(label_columns=["a"]).label_columns == ("a",)  # type: ignore[arg-type]
    for wrong in (
        {"label_column": "a", "label_columns": ("b",)},
        {"separator": ""},
        {"delimiter": ";;"},
    ):
        with pytest.raises(UsageError):
            ReadOptions(**wrong)  # type: ignore[arg-type]


def test_turned_photos_look_the_same(tmp_path: Path) -> None:
    from PIL import ImageOps

    from tests.photos import save_photo

    upright = make_photo(3, "square")
    stored = Image.open(save_photo(upright, tmp_path / "turned", variant=4))
    assert stored.size == (48, 40)
    seen = np.asarray(ImageOps.exif_transpose(stored), np.int16)
    assert np.abs(seen - np.asarray(upright, np.int16)).mean() < 12
