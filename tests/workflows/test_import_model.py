"""Published weights become a model that answers as the published network."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

import skipstone
from skipstone.bundle.format import Bundle
from skipstone.core.errors import DataError, FinishedAlready, UsageError
from skipstone.image.decode import decode_pixels
from skipstone.image.input import make_image_input
from skipstone.image.options import ImageOptions
from skipstone.inference.open_model import open_model
from skipstone.models.resnet import build_resnet
from skipstone.models.weights import published_preparation
from tests.photos import CLASSES


def published_resnet20(classes: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with the names of a published CIFAR net, and its state."""
    torch.manual_seed(4)
    net = build_resnet("resnet20")
    net.add_module("linear", nn.Linear(64, classes))
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return net.eval(), {f"module.{name}": tensor for name, tensor in net.state_dict().items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({"state_dict": published_resnet20(len(CLASSES))[1]}, folder / "resnet20.pth")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def imported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = skipstone.import_weights(
        weights / "resnet20.pth",
        model="resnet20",
        classes=weights / "classes.txt",
        normalize="imagenet",
        out=tmp_path_factory.mktemp("models") / "imported",
    )
    assert result.exit_code == 0
    assert result.preparation == "32 pixels (squash, bilinear), normalised by 'imagenet'"
    return result.bundle.absolute()


def test_it_answers_as_the_published_network(imported: Path, photo_folder: Path) -> None:
    net, _ = published_resnet20(len(CLASSES))
    photo = next(photo_folder.rglob("*.jpg"), None) or next(photo_folder.rglob("*.png"))
    predictor = open_model(imported, "onnxruntime")
    pixels = torch.from_numpy(decode_pixels(photo.read_bytes(), predictor.input.decode_spec))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((pixels / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = net.linear(net(x)[-1].mean((2, 3)))  # type: ignore[operator]
    outputs = predictor.run({"image": pixels.numpy()[None]})
    np.testing.assert_allclose(outputs["logits"], expected.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.proof
def test_it_evaluates_shrinks_exports_and_goes_on_learning(
    imported: Path, photo_folder: Path, tmp_path: Path
) -> None:
    scores = skipstone.evaluate(imported, photo_folder)
    assert scores.metrics["accuracy"].n > 0
    shrunk = skipstone.shrink(imported, data=photo_folder, max_drop=100, out=tmp_path / "small")
    assert "openvino-int8" in str(Bundle.load(tmp_path / "small").metrics) or shrunk.exit_code == 0
    assert skipstone.verify(tmp_path / "small").exit_code == 0
    exported = skipstone.export(imported, out=tmp_path / "exported")
    assert any(name.endswith(".onnx") for name in exported.files)
    run = skipstone.train(photo_folder, from_=imported, epochs=1, out=tmp_path / "runs")
    assert run.exit_code == 0


def test_shrinking_on_data_of_other_classes_is_refused(imported: Path, tmp_path: Path) -> None:
    for name in (CLASSES[0], "unicorn"):
        for number in range(12):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number, 9, 9)).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    with pytest.raises(UsageError, match=r"classes that .* does not: unicorn"):
        skipstone.shrink(imported, data=tmp_path / "data", out=tmp_path / "small")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet32"}, "cannot load .*resnet20.pth|not the whole network"),
        ({"residual": False}, "outputs differ from the published residual network"),
        ({"normalize": "fit"}, "fixed --normalize"),
        ({"normalize": None}, "not known how resnet20's weights expect pixels"),
        ({"model": "textcnn"}, "and this input gives image"),
        ({"width": 0.5}, "cannot load"),
        ({"weights": "folder"}, "is a folder"),
        ({"weights": "gone.pth"}, "do not exist"),
        ({"classes": "two.txt"}, "with 2 classes: its classifier of 3 classes"),
        ({"classes": "twice.txt"}, "the class 'a' is on the lines 1 and 3"),
        ({"classes": "gap.txt"}, "line 2, is empty"),
        ({"classes": "empty.txt"}, "is empty"),
        ({"loss": "focal"}, "no flag --loss|option of"),
    ],
)
def test_what_cannot_be_imported_says_why(
    options: dict[str, object], message: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for name, text in {
        "two.txt": "a\nb\n",
        "twice.txt": "a\nb\na\n",
        "gap.txt": "a\n\nb\n",
        "empty.txt": "\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    values = {"model": "resnet20", "normalize": "imagenet", **options}
    classes = (
        tmp_path / str(values.pop("classes")) if "classes" in options else weights / "classes.txt"
    )
    path = (
        tmp_path / str(values.pop("weights")) if "weights" in options else weights / "resnet20.pth"
    )
    with pytest.raises((UsageError, DataError), match=message):
        skipstone.import_weights(path, classes=classes, out=tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


def natural_photo(width: int, height: int) -> Image.Image:
    """Smooth structure at several scales, as photos have."""
    draw = np.random.default_rng(0)
    layers = [
        np.asarray(
            Image.fromarray(draw.integers(0, 255, (n, n, 3)).astype(np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float64,
        )
        / n
        for n in (4, 16, 64)
    ]
    total = sum(layers)
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


@pytest.mark.parametrize(
    "name",
    ["efficientnet_lite0", "resnet18", "timm/convnext_atto", "timm/vit_tiny_patch16_224"],
)
@pytest.mark.parametrize("shape", [(400, 533), (256, 256), (900, 300)])
def test_pictures_are_prepared_as_timm_prepares_them(name: str, shape: tuple[int, int]) -> None:
    options = published_preparation(name)
    published = {"efficientnet_lite0": "tf_efficientnet_lite0.in1k", "resnet18": "resnet18.tv_in1k"}
    config = timm.get_pretrained_cfg(published.get(name, name.removeprefix("timm/")))
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict())
    )
    photo = natural_photo(*shape)
    stream = BytesIO()
    photo.save(stream, "PNG")
    input = make_image_input(ImageOptions(channels=3, **options))
    pixels = decode_pixels(stream.getvalue(), input.decode_spec)
    ours = input.preprocessing_module()({"image": torch.from_numpy(pixels)[None]})[0]
    theirs = transform(photo)
    assert ours.shape == theirs.shape
    step = 1 / 255 / min(config.std)  # of one grey level; theirs is cut to whole pixels
    assert float((ours - theirs).abs().mean()) < 2.5 * step
    squashed = decode_pixels(
        stream.getvalue(),
        make_image_input(ImageOptions(channels=3, size=options["size"])).decode_spec,
    )
    other = input.preprocessing_module()({"image": torch.from_numpy(squashed)[None]})[0]
    assert float((other - theirs).abs().mean()) > 4 * float((ours - theirs).abs().mean())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": "0.5,0.5,0.5"}, "--std None is not valid"),
        ({"mean": "0.5", "std": "0.2"}, "--mean has 1 and --std 1 numbers"),
        ({"mean": "0.5,x,0.5", "std": "0.2,0.2,0.2"}, "--mean 0.5,x,0.5 is not valid"),
        ({"mean": "0.5,0.5,0.5", "std": "0.2,0,0.2"}, "--std 0.2,0,0.2 is not valid"),
        ({"mean": "0.5,0.5,0.5", "std": "0.2,0.2,0.2", "normalize": "half"}, "--normalize too"),
    ],
)
def test_numbers_of_pixels_are_checked(
    given: dict[str, str], words: str, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        skipstone.import_weights(
            weights / "resnet20.pth",
            model="resnet20",
            classes=weights / "classes.txt",
            out=tmp_path / "new",
            **given,
        )


def test_imagenets_numbers_are_imagenet(imported: Path, weights: Path, tmp_path: Path) -> None:
    """A mean and a deviation give what their name gives, and the same command says so."""
    words = {"model": "resnet20", "classes": weights / "classes.txt", "out": tmp_path / "new"}
    numbers = {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}
    result = skipstone.import_weights(weights / "resnet20.pth", **words, **numbers)
    assert result.verification.ok
    states = [Bundle.load(folder).input["state"] for folder in (imported, tmp_path / "new")]
    assert states[0] == states[1]
    with pytest.raises(FinishedAlready):
        skipstone.import_weights(weights / "resnet20.pth", **words, **numbers)
