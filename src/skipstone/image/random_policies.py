"""RandAugment and TrivialAugment: random operations from a fixed list, with the sample's generator.

Operations and ranges are those of torchvision.transforms.v2 (tests compare them). Rotation and
shear fill the uncovered area with the border's colour (`randomness.moved`); v2 leaves a dark seam.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from skipstone.core.rng import transform_with_fill

Change = Callable[[Tensor, float], Tensor]

_BINS = 31


def apply_randaugment(image: Tensor, rng: random.Random, magnitude: float) -> Tensor:
    """Two operations, each of the one `magnitude` of 30 (Cubuk 2019, arXiv:1909.13719)."""
    for _ in range(2):
        name = _draw_operation(rng)
        image = CHANGES[name](image, _signed(name, _rand_strength(name, magnitude, image), rng))
    return image


def apply_trivialaugment(image: Tensor, rng: random.Random) -> Tensor:
    """One operation of a random one of 31 strengths (Müller 2021, arXiv:2103.10158, wide)."""
    name = _draw_operation(rng)
    step = int(rng.random() * _BINS)
    return CHANGES[name](image, _signed(name, _trivial_strength(name, step), rng))


def _draw_operation(rng: random.Random) -> str:
    names = tuple(CHANGES)
    return names[int(rng.random() * len(names))]


def _signed(name: str, strength: float, rng: random.Random) -> float:
    negative = rng.random() <= 0.5
    return -strength if negative and name in _SIGNED else strength


def _rand_strength(name: str, magnitude: float, image: Tensor) -> float:
    """Linear in magnitude / 30, see v2.RandAugment."""
    share = magnitude / (_BINS - 1)
    height, width = image.shape[-2:]
    most = {
        "ShearX": 0.3,
        "ShearY": 0.3,
        "TranslateX": 150 / 331 * width,
        "TranslateY": 150 / 331 * height,
        "Rotate": 30.0,
    }
    return _strength(name, share, most, tonal=0.9, bits=4)


def _trivial_strength(name: str, step: int) -> float:
    most = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
    return _strength(name, step / (_BINS - 1), most, tonal=0.99, bits=6)


def _strength(
    name: str, share: float, most: Mapping[str, float], *, tonal: float, bits: int
) -> float:
    if name in most:
        return share * most[name]
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        return share * tonal
    if name == "Posterize":
        return float(round(8 - share * bits))
    return 1 - share if name == "Solarize" else 0.0


def _shear_x(image: Tensor, strength: float) -> Tensor:
    return _affine(image, shear=[math.degrees(math.atan(strength)), 0.0], center=[0.0, 0.0])


def _shear_y(image: Tensor, strength: float) -> Tensor:
    return _affine(image, shear=[0.0, math.degrees(math.atan(strength))], center=[0.0, 0.0])


def _affine(
    image: Tensor,
    *,
    translate: tuple[int, int] = (0, 0),
    shear: list[float] | None = None,
    center: list[float] | None = None,
) -> Tensor:
    return transform_with_fill(
        image,
        lambda image: F.affine(
            image,
            angle=0.0,
            translate=list(translate),
            scale=1.0,
            shear=shear or [0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            center=center,
        ),
    )


def _rotate(image: Tensor, strength: float) -> Tensor:
    return transform_with_fill(
        image, lambda image: F.rotate(image, strength, InterpolationMode.BILINEAR)
    )


def _saturation(image: Tensor, strength: float) -> Tensor:
    return cast(Tensor, F.adjust_saturation(image, 1 + strength)) if image.shape[0] == 3 else image


def _solarize(image: Tensor, strength: float) -> Tensor:
    return cast(Tensor, F.solarize(image, 255 * strength))


CHANGES: Mapping[str, Change] = {
    "Identity": lambda image, strength: image,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": lambda image, strength: _affine(image, translate=(int(strength), 0)),
    "TranslateY": lambda image, strength: _affine(image, translate=(0, int(strength))),
    "Rotate": _rotate,
    "Brightness": lambda image, strength: F.adjust_brightness(image, 1 + strength),
    "Color": _saturation,
    "Contrast": lambda image, strength: F.adjust_contrast(image, 1 + strength),
    "Sharpness": lambda image, strength: F.adjust_sharpness(image, 1 + strength),
    "Posterize": lambda image, strength: F.posterize(image, int(strength)),
    "Solarize": _solarize,
    "AutoContrast": lambda image, strength: F.autocontrast(image),
    "Equalize": lambda image, strength: F.equalize(image),
}

_SIGNED = frozenset(
    {
        "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate",
        "Brightness", "Color", "Contrast", "Sharpness",
    }
)  # fmt: skip
