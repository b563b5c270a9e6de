"""Options of image augmentation and its presets. Free of torch, so that ``--help`` stays fast.

Presets, by the side of the record (strengths are those of `ImageAugmentOptions`):

    record     light              standard                      strong
    > 64 px    flip, crop 0.7     flip, crop 0.35, color 0.2    flip, crop 0.25, trivialaugment,
                                                                erase 0.25, mixup 0.2, cutmix 1
    <= 64 px   shift 1/16         shift 1/16                    shift 1/8, rotate 10, erase 0.25,
                                                                mixup 0.2, cutmix 1

With spatial targets (masks, boxes) a preset keeps the aspect ratio: `scale` replaces `crop` (light
1.25, standard 1.5, strong 2). It neither mixes images nor moves them without their targets (strong
has blur and erase instead). `mosaic` is in no preset: it costs small networks accuracy.

Presets never mirror tiny images: these are as often digits and letters as objects, and a mirrored
2 is not a 2. Colour does not tell which (SVHN's house numbers are in colour). `flip` improves tiny
images of objects (Fashion-MNIST, CIFAR), so enable it there. Larger images are mostly photos: the
presets mirror them, unless `flip=0`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from skipstone.core.options import Range, check_options, option
from skipstone.inputs.augmentation_options import AugmentationOptions, describe_strengths

TINY = 64

#: {operation: (strength when named alone, help text)}, in the order in which they run.
OPERATIONS: Mapping[str, tuple[float, str]] = {
    "flip": (0.5, "mirror left and right with probability s"),
    "vflip": (0.5, "mirror top and bottom with probability s"),
    "crop": (0.35, "a part of at least s of the area, resized back (Inception, Szegedy 2015)"),
    "scale": (
        1.5,
        "zoom by 1/s to s, the shape kept, and cut out or fill up to the size (targets likewise)",
    ),
    "shift": (1 / 16, "move by up to s of the side, edges repeated (pad and crop)"),
    "translate": (0.1, "move by up to s of each side, filled with grey"),
    "pad_crop": (
        1 / 8,
        "pad each side by s of it with black and cut out the size at a random place (He 2015)",
    ),
    "rotate": (15.0, "turn by up to s degrees"),
    "color": (0.2, "brightness, contrast and saturation each times 1 - s to 1 + s"),
    "brightness": (0.2, "brightness times 1 - s to 1 + s"),
    "contrast": (0.2, "contrast times 1 - s to 1 + s"),
    "saturation": (0.2, "saturation times 1 - s to 1 + s; colour pictures only"),
    "hue": (0.05, "turn the colours by up to s of their circle; colour pictures only"),
    "noise": (
        0.05,
        "Gaussian noise, its standard deviation from 0 to s of the range of pixels",
    ),
    "blur": (0.2, "Gaussian blur with probability s"),
    "randaugment": (9.0, "two random operations of magnitude s of 30 (RandAugment, Cubuk 2019)"),
    "trivialaugment": (
        1.0,
        "one random operation of random strength, with probability s (TrivialAugment, Müller 2021)",
    ),
    "erase": (0.25, "a grey rectangle with probability s (random erasing, Zhong 2017)"),
    "mixup": (
        0.2,
        "blend pairs (of texts: their pooled features), share from Beta(s, s) (Zhang 2018)",
    ),
    "cutmix": (1.0, "swap rectangles of pairs, area from Beta(s, s) (CutMix, Yun 2019)"),
    "mosaic": (
        0.5,
        "for boxes: a window of four pictures with probability s (YOLOv4, Bochkovskiy 2020)",
    ),
}

PRESETS: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
    # name: (tiny pictures, larger ones)
    "none": ({}, {}),
    "light": ({"shift": 1 / 16}, {"flip": 0.5, "crop": 0.7}),
    "standard": ({"shift": 1 / 16}, {"flip": 0.5, "crop": 0.35, "color": 0.2}),
    "strong": (
        {"shift": 1 / 8, "rotate": 10.0, "erase": 0.25, "mixup": 0.2, "cutmix": 1.0},
        {
            "flip": 0.5,
            "crop": 0.25,
            "trivialaugment": 1.0,
            "erase": 0.25,
            "mixup": 0.2,
            "cutmix": 1.0,
        },
    ),
}

#: The presets for spatial targets; tiny images are not mirrored either.
SPATIAL_PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": {"flip": 0.5, "scale": 1.25},
    "standard": {"flip": 0.5, "scale": 1.5, "color": 0.2},
    "strong": {"flip": 0.5, "scale": 2.0, "color": 0.4, "blur": 0.2, "erase": 0.25},
}

#: Operations on a batch.
MIXING = ("mixup", "cutmix", "mosaic")
#: Largest strengths; the others have none.
_MAX_STRENGTH = {
    **dict.fromkeys(("flip", "vflip", "blur", "erase", "trivialaugment", "mosaic"), 1.0),
    "crop": 1.0,
    "shift": 0.5,
    "translate": 1.0,
    "pad_crop": 1.0,
    **dict.fromkeys(("brightness", "contrast", "saturation", "noise"), 1.0),
    "hue": 0.5,
    "rotate": 180.0,
    "color": 1.0,
    "randaugment": 30.0,
    "scale": 8.0,
}


def _operation(name: str) -> float | None:
    strength, text = OPERATIONS[name]
    help = f"{text}; 0 is off, s is {strength:.3g} when named alone"
    return option(None, range=Range(0, _MAX_STRENGTH.get(name, math.inf)), help=help)


@dataclass(frozen=True, kw_only=True)
class ImageAugmentOptions(AugmentationOptions):
    """A preset, operations by name, or both; an operation's own value overrides the preset's.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    augmentation_factory = "skipstone.image.augment_factory:make_image_augmentation"
    mixing_factory = "skipstone.image.augment_factory:make_image_mixing"
    what = "pictures"
    preset_names = tuple(PRESETS)
    strengths_alone = MappingProxyType({name: row[0] for name, row in OPERATIONS.items()})

    augment: str = option(
        "standard",
        help="none, light, standard or strong; or operations by name, separated by commas: "
        "flip,crop,mixup, or for texts delete,swap,noise (default: standard for pictures, adapted "
        "to their size; none for texts)",
    )
    flip: float | None = _operation("flip")
    vflip: float | None = _operation("vflip")
    crop: float | None = _operation("crop")
    scale: float | None = _operation("scale")
    shift: float | None = _operation("shift")
    translate: float | None = _operation("translate")
    pad_crop: float | None = _operation("pad_crop")
    rotate: float | None = _operation("rotate")
    color: float | None = _operation("color")
    brightness: float | None = _operation("brightness")
    contrast: float | None = _operation("contrast")
    saturation: float | None = _operation("saturation")
    hue: float | None = _operation("hue")
    noise: float | None = _operation("noise")
    blur: float | None = _operation("blur")
    randaugment: float | None = _operation("randaugment")
    trivialaugment: float | None = _operation("trivialaugment")
    erase: float | None = _operation("erase")
    mixup: float | None = _operation("mixup")
    cutmix: float | None = _operation("cutmix")
    mosaic: float | None = _operation("mosaic")
    custom: str | None = option(
        None,
        help="your own importable callable, 'package.module:name', that takes and returns a uint8 "
        "tensor (C, H, W), or for texts a str; it comes last",
        names_outside=True,
    )

    def __post_init__(self) -> None:
        problems = self.list_unknown_names()
        if self.scale is not None and 0 < self.scale < 1:
            problems.append(f"scale is {self.scale}; allowed: 0 (off), or 1 to 8")
        if self.custom is not None and not all(self.custom.partition(":")):
            problems.append(f"custom is {self.custom!r}; write 'package.module:name'")
        check_options(self, problems)

    def list_operations(self) -> list[str]:
        """The operations of `augment`; `pad` is another option's name, and here means `pad_crop`."""
        return ["pad_crop" if word == "pad" else word for word in super().list_operations()]

    def get_strengths(self, size: int, *, is_spatial: bool = False) -> dict[str, float]:
        """{operation: strength} of the enabled ones in the order in which they run.

        Args:
            size: side of the records.
            is_spatial: whether the task has spatial targets.
        """
        preset: Mapping[str, float] | None = None
        if self.augment in PRESETS and is_spatial:
            preset = SPATIAL_PRESETS[self.augment]
            if size <= TINY:
                preset = {name: value for name, value in preset.items() if name != "flip"}
        elif self.augment in PRESETS:
            preset = PRESETS[self.augment][size > TINY]
        return self.enabled_strengths(preset)

    def describe_operations(
        self,
        size: int,
        *,
        is_spatial: bool = False,
        used_strengths: Mapping[str, float] | None = None,
    ) -> str:
        """One sentence for the user: the operations on images of this size.

        Args:
            used_strengths: strengths that the input's augmentation uses instead of these options'.
        """
        strengths = self.get_strengths(size, is_spatial=is_spatial)
        if used_strengths is not None:
            mixing = {n: s for n, s in strengths.items() if n in MIXING}
            strengths = {**used_strengths, **mixing}
        sentence = describe_strengths(f"{self.augment!r} at {size} px", strengths, self.custom)
        if self.augment in ("standard", "strong") and size <= TINY and self.flip is None:
            sentence += (
                "; tiny pictures are not mirrored, because digits and letters lose their meaning "
                "(flip=0.5 asks for it)"
            )
        return sentence
