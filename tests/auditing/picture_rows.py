"""A fake task and small manifests of pictures, for the tests of loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from skipstone.data.manifest import Manifest, build_table
from skipstone.data.samples import Sample, SampleMeta
from skipstone.image.augment import ImageAugmentation
from skipstone.image.augment_factory import make_image_augmentation
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions

NAMES = ("cat", "dog", "emu")


class FakeTask:
    """Three classes by name."""

    name = "fake"
    ragged: frozenset[str] = frozenset()
    spatial_targets: frozenset[str] = frozenset()

    def target_loader(self, manifest: Manifest) -> Any:
        return lambda value: value

    def encode_target(self, value: str, meta: Any = None) -> dict[str, torch.Tensor]:
        return {"label": torch.tensor(NAMES.index(value))}

    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return {"label": torch.nn.functional.one_hot(y["label"], len(NAMES)).float()}


class UnmixableTask(FakeTask):
    def to_soft_targets(self, y: dict[str, Any]) -> dict[str, Any] | None:
        return None


def write_rows(root: Path, labels: list[str], side: int = 12) -> Manifest:
    """One noisy PNG a row; pixel (0, 0) holds the row's number."""
    root.mkdir(parents=True, exist_ok=True)
    for number, _ in enumerate(labels):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(root / f"{number:03d}.png")
    return Manifest(
        build_table(
            {"path": [f"{number:03d}.png" for number in range(len(labels))], "target": labels},
            pa.string(),
        ),
        root=root,
        reader="folder",
        input="image",
        task="fake",
        schema={"classes": list(NAMES)},
    )


def make_sample(side: int = 96, channels: int = 3, *, number: int = 0) -> Sample:
    """A noisy gradient, not symmetric in any way."""
    y, x = np.mgrid[0:side, 0:side]
    base = np.stack([200 * x / side, 220 * y / side, 150 - 100 * x * y / side**2], -1)
    noise = np.random.default_rng(number).normal(0, 8, base.shape)
    pixels = np.clip(base + noise, 0, 255).astype(np.uint8)[..., :channels]
    meta = SampleMeta(number, size=(side, side), to_source=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    x_ = {"image": torch.from_numpy(np.ascontiguousarray(pixels))}
    return Sample(x_, {"label": torch.tensor(number % 3)}, meta)


def augment_for(side: int, channels: int = 3, **options: object) -> ImageAugmentation | None:
    image = ImageInput(ImageOptions(size=side, channels=channels))  # type: ignore[arg-type]
    return make_image_augmentation(ImageAugmentOptions(**options), image)  # type: ignore[arg-type]
