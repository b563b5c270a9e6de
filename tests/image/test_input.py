"""ImageInput: fit, state, front, goldens, affine."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from skipstone.core.errors import DamagedError, DataError, UsageError
from skipstone.core.registry import INPUTS
from skipstone.data.sources import FileRef, Inline
from skipstone.image import decode as pixels
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions


def picture(height: int, width: int, seed: int = 0, *, grey: bool = False) -> Inline:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Inline(array.mean(2).astype(np.uint8)[..., None].repeat(3, 2) if grey else array)


def test_it_is_registered_with_its_options() -> None:
    entry = INPUTS["image"]
    assert isinstance(entry.load()(ImageOptions(channels=3)), ImageInput)
    assert entry.make_options({"size": 28}) == ImageOptions(size=28)


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        ImageOptions(size=0, resize="stretch", channels=0)  # type: ignore[arg-type]
    for word in ("size is 0", "'stretch'", "'squash'", "channels is 0"):
        assert word in str(caught.value)


@pytest.mark.parametrize("grey", [False, True])
def test_fit_finds_channels_and_typical_size(grey: bool) -> None:
    sources = [picture(20 + n, 40, n, grey=grey) for n in range(5)]
    fitted = ImageInput(ImageOptions(size=8)).fit(sources)
    state, arrays = fitted.get_state()
    assert state["channels"] == fitted.feature_spec().channels == (1 if grey else 3)
    assert state["typical_size"] == [22, 40]
    assert fitted.decode(sources[0]).value.shape == (8, 8, state["channels"])
    again = ImageInput(ImageOptions(size=8), json.loads(json.dumps(state)), arrays)
    assert again.get_state() == (state, {})
    assert np.array_equal(again.decode(sources[1]).value, fitted.decode(sources[1]).value)


def test_one_colour_picture_makes_it_colour() -> None:
    sources = [picture(9, 9, n, grey=n != 3) for n in range(5)]
    assert ImageInput(ImageOptions(size=8)).fit(sources).channels == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_fitted_normalisation_gives_mean_zero_and_spread_one(channels: int) -> None:
    sources = [picture(8, 8, n) for n in range(6)]
    options = ImageOptions(size=8, channels=channels, normalize="fit")  # type: ignore[arg-type]
    fitted = ImageInput(options).fit(sources)
    batch = np.stack([fitted.encode(fitted.decode(s))["image"] for s in sources])
    x = fitted.preprocessing_module()({"image": torch.from_numpy(batch)})
    assert x.shape == (6, channels, 8, 8)
    colour = ImageInput(ImageOptions(size=8, channels=3))
    pixels = np.stack([colour.decode(s).value for s in sources]).reshape(-1, 3) / 255
    if channels == 1:
        pixels = pixels @ np.array([[0.299], [0.587], [0.114]])
    state, _ = fitted.get_state()
    np.testing.assert_allclose(state["mean"], pixels.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(state["std"], pixels.std(0), rtol=0, atol=1e-12)
    assert x.mean((0, 2, 3)).abs().max() < 0.02
    assert (x.std((0, 2, 3)) - 1).abs().max() < 0.02


def test_unreadable_pictures_are_passed_over_by_fit() -> None:
    bad = Inline(b"no picture", "bad.jpg")
    assert ImageInput(ImageOptions(size=8)).fit([bad, picture(9, 9)]).channels == 3
    with pytest.raises(
        DataError, match=r"none of 2 pictures can be read; the first: bad.jpg: not a JPEG"
    ):
        ImageInput(ImageOptions(size=8)).fit([bad, bad])


def test_photos_of_a_phone_without_the_extra_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = Inline(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "IMG_1.HEIC")
    with pytest.raises(DataError, match=r"IMG_1.HEIC: .*pip install '\.\[heic\]'"):
        ImageInput(ImageOptions(size=8)).fit([heic, heic])


def test_using_it_unfitted_is_an_error() -> None:
    with pytest.raises(ValueError, match="call fit first"):
        ImageInput(ImageOptions()).feature_spec()
    with pytest.raises(ValueError, match="no mean before it is fitted"):
        ImageInput(ImageOptions(channels=3, normalize="fit")).preprocessing_module()
    with pytest.raises(DamagedError):
        ImageInput(ImageOptions(), None, {"mean": np.zeros(3)})


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(DataError, match=r"holiday\.jpg: the picture is damaged"):
        ImageInput(ImageOptions(channels=3)).decode(FileRef(path))


@pytest.mark.parametrize("name", ["imagenet", "half", "clip", "none"])
def test_the_front_equals_torchvision(name: str) -> None:
    image = ImageInput(ImageOptions(size=8, channels=3, normalize=name))  # type: ignore[arg-type]
    state, _ = image.get_state()
    batch = torch.from_numpy(image.make_example(2)["image"])
    x = image.preprocessing_module()({"image": batch})
    reference = F.to_dtype(batch.permute(0, 3, 1, 2).contiguous(), torch.float32, scale=True)
    reference = F.normalize(reference, state["mean"], state["std"])
    torch.testing.assert_close(x, reference, atol=2e-6, rtol=0)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image.preprocessing_module()({"image": batch.float()}), x)


def test_the_front_stays_float32_and_out_of_the_state_dict() -> None:
    image = ImageInput(ImageOptions(size=8, channels=3))
    batch = {"image": torch.from_numpy(image.make_example(1)["image"])}
    front = image.preprocessing_module()
    exact = front(batch)
    assert not front.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front(batch), exact)
    assert torch.equal(front.bfloat16()(batch), exact)


def test_the_front_exports_with_a_dynamic_batch() -> None:
    image = ImageInput(ImageOptions(size=8, channels=3))
    front = image.preprocessing_module()
    x = {"image": torch.from_numpy(image.make_example(2)["image"])}
    program = torch.export.export(
        front, (x,), dynamic_shapes=({"image": {0: torch.export.Dim("n")}},)
    )
    five = {"image": torch.from_numpy(image.make_example(5)["image"])}
    assert torch.equal(program.module()(five), front(five))


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_to_source_finds_a_marked_point(resize: str) -> None:
    """A bright spot in the record, mapped back, lies on the spot in the source."""
    array = np.zeros((120, 200, 3), np.uint8)
    array[50:58, 90:98] = 255
    image = ImageInput(ImageOptions(size=50, channels=3, resize=resize))  # type: ignore[arg-type]
    raw = image.decode(Inline(array))
    assert raw.size == (120, 200)
    bright = raw.value[..., 0].astype(float)
    bright[raw.value[..., 0] == pixels.LETTERBOX_GREY] = 0
    y, x = np.mgrid[0:50, 0:50] + 0.5  # pixel centres
    cx, cy = (bright * x).sum() / bright.sum(), (bright * y).sum() / bright.sum()
    assert raw.to_source is not None
    a, b, c, d, e, f = raw.to_source
    assert a * cx + b * cy + c == pytest.approx(94, abs=1)
    assert d * cx + e * cy + f == pytest.approx(54, abs=1)


def test_goldens_are_the_same_each_time_and_all_readable() -> None:
    image = ImageInput(ImageOptions(size=32, channels=3))
    files = image.make_golden_files(12)
    assert files == image.make_golden_files(12)
    assert len({name for name, _ in files}) == 12
    assert len({data for _, data in files}) == 12
    for name, data in files:
        assert image.decode(Inline(data, name)).value.std() > 10


@pytest.mark.parametrize("size", [8, 28, 64])
def test_goldens_notice_each_sabotage(size: int) -> None:
    """BGR for RGB, EXIF ignored, another filter: some golden's record moves clearly."""
    image = ImageInput(ImageOptions(size=size, channels=3))
    files = image.make_golden_files(9)
    records = [image.decode(Inline(data)).value.astype(float) for _, data in files]
    other = ImageInput(ImageOptions(size=size, channels=3, interpolation="nearest"))
    bicubic = ImageInput(ImageOptions(size=size, channels=3, interpolation="bicubic"))

    def moved(changed: list[np.ndarray]) -> float:
        return max(float(np.abs(a - b).mean()) for a, b in zip(records, changed, strict=True))

    assert moved([record[..., ::-1] for record in records]) > 20
    assert moved([other.decode(Inline(data)).value for _, data in files]) > 4
    assert moved([bicubic.decode(Inline(data)).value for _, data in files]) > 1
    ignored = []
    for _, data in files:
        raw = Image.open(io.BytesIO(data)).convert("RGB")
        ignored.append(np.asarray(raw.resize((size, size), Image.Resampling.BILINEAR)))
    assert moved(ignored) > 15
    turned = [ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size for _, data in files]
    assert any(a != Image.open(io.BytesIO(d)).size for a, (_, d) in zip(turned, files, strict=True))


def test_goldens_of_kept_shapes_fill_one_frame(tmp_path: Path) -> None:
    """Their sides differ, and all are filled up alike, so that their answers are stored as one."""
    photos = ImageInput(ImageOptions(resize="keep", channels=3))
    np.lib.format.write_array(
        (tmp_path / "a.npy").open("wb"), np.arange(70 * 90 * 4, dtype=np.uint16).reshape(70, 90, 4)
    )
    deep = ImageInput(ImageOptions(resize="keep")).fit([FileRef(tmp_path / "a.npy")])
    for made in (photos, deep):
        raws = [made.decode(Inline(data, name)) for name, data in made.make_golden_files(14)]
        assert {raw.value.shape[:2] for raw in raws} == {(64, 96)}
        assert len({raw.size for raw in raws}) > 7
        assert made.dynamic_axes == {"image": {1: ("height", 32, None), 2: ("width", 32, None)}}


@pytest.mark.parametrize("size", [8, 32, 64, 95, 96, 512])
@pytest.mark.parametrize("pad", [1, 32, 256])
def test_goldens_of_pictures_that_keep_their_shape_fill_one_batch(size: int, pad: int) -> None:
    """Also where the longest side that is allowed is shorter than they usually are."""
    options = ImageOptions(size=size, resize="keep", pad=pad, channels=3)
    state = {"channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}
    input = ImageInput(options, state)
    shapes = {
        input.decode(Inline(data, name=name)).value.shape
        for name, data in input.make_golden_files(12)
    }
    assert len(shapes) == 1
