"""Options of augmentation, and what a preset means. Free of torch, so that ``--help`` stays fast.

Presets, by the side of the record (strengths are those of `AugmentOptions`):

    record     light              standard                      strong
    > 64 px    flip, crop 0.7     flip, crop 0.35, color 0.2    flip, crop 0.25, trivialaugment,
                                                                erase 0.25, mixup 0.2, cutmix 1
    <= 64 px   shift 1/16         shift 1/16                    shift 1/8, rotate 10, erase 0.25,
                                                                mixup 0.2, cutmix 1

Where targets lie on the pictures (masks, boxes), a preset keeps the pictures' shape: `crop` gives
way to `scale` (light 1.25, standard 1.5, strong 2), and nothing is mixed or moved without its
target (strong has blur and erase instead).

Tiny pictures are never mirrored by a preset: at that size they are as often digits and letters as
things, a mirrored 2 is no 2, and whether a picture is grey or in colour does not tell which it is
(SVHN's house numbers are in colour). Where mirrored things are still themselves (Fashion-MNIST,
CIFAR), `flip` pays: ask for it. Larger pictures are photos more often than not: the presets mirror
them, and `flip=0` stops that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from skipstone.errors import did_you_mean
from skipstone.option_types import Range, check_options

TINY = 64

#: What each operation does with strength s, and its strength when named alone. They run in this
#: order, whatever order they are named in.
OPERATIONS: Mapping[str, tuple[float, str]] = {
    "flip": (0.5, "mirror left and right with probability s"),
    "vflip": (0.5, "mirror top and bottom with probability s"),
    "crop": (0.35, "a part of at least s of the area, resized back (Inception, Szegedy 2015)"),
    "scale": (
        1.5,
        "zoom by 1/s to s, the shape kept, and cut out or fill up to the size (targets likewise)",
    ),
    "shift": (1 / 16, "move by up to s of the side, edges repeated (pad and crop)"),
    "rotate": (15.0, "turn by up to s degrees"),
    "color": (0.2, "brightness, contrast and saturation each times 1 - s to 1 + s"),
    "blur": (0.2, "Gaussian blur with probability s"),
    "randaugment": (9.0, "two random operations of magnitude s of 30 (RandAugment, Cubuk 2019)"),
    "trivialaugment": (
        1.0,
        "one random operation of random strength, with probability s (TrivialAugment, Müller 2021)",
    ),
    "erase": (0.25, "a grey rectangle with probability s (random erasing, Zhong 2017)"),
    "mixup": (
        0.2,
        "blend pairs (of texts: what is seen in them), share from Beta(s, s) (Zhang 2018)",
    ),
    "cutmix": (1.0, "swap rectangles of pairs, area from Beta(s, s) (CutMix, Yun 2019)"),
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

#: The same names for pictures whose targets lie on them. Tiny ones are not mirrored here either.
PLACED: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": {"flip": 0.5, "scale": 1.25},
    "standard": {"flip": 0.5, "scale": 1.5, "color": 0.2},
    "strong": {"flip": 0.5, "scale": 2.0, "color": 0.4, "blur": 0.2, "erase": 0.25},
}

_PROBABILITIES = ("flip", "vflip", "blur", "erase", "trivialaugment")
_MOST = {
    "crop": 1.0,
    "shift": 0.5,
    "rotate": 180.0,
    "color": 1.0,
    "randaugment": 30.0,
    "scale": 8.0,
}


def _operation(name: str) -> float | None:
    strength, text = OPERATIONS[name]
    value: float | None = field(
        default=None,
        metadata={"help": f"{text}; 0 is off, s is {strength:.3g} when named alone"},
    )
    return value


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """A preset, or operations by name, or both: an operation's own value wins over the preset's.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    #: Who makes of these options what changes samples, and what mixes batches.
    maker = "skipstone.prepare.augment:make_augment"
    mixer = "skipstone.prepare.mix:make_mix"

    augment: str = field(
        default="standard",
        metadata={
            "help": "none, light, standard or strong; or operations by name, separated by commas: "
            "flip,crop,mixup, or for texts delete,swap,noise (default: standard for pictures, "
            "adapted to their size; none for texts)"
        },
    )
    flip: float | None = _operation("flip")
    vflip: float | None = _operation("vflip")
    crop: float | None = _operation("crop")
    scale: float | None = _operation("scale")
    shift: float | None = _operation("shift")
    rotate: float | None = _operation("rotate")
    color: float | None = _operation("color")
    blur: float | None = _operation("blur")
    randaugment: float | None = _operation("randaugment")
    trivialaugment: float | None = _operation("trivialaugment")
    erase: float | None = _operation("erase")
    mixup: float | None = _operation("mixup")
    cutmix: float | None = _operation("cutmix")
    custom: str | None = field(
        default=None,
        metadata={
            "help": "your own importable callable, 'package.module:name', that takes and returns "
            "a uint8 tensor (C, H, W), or for texts a str; it comes last"
        },
    )

    def __post_init__(self) -> None:
        problems = []
        if self.augment not in PRESETS:
            for word in self.augment.split(","):
                if word.strip() not in OPERATIONS:
                    hint = did_you_mean(word.strip(), [*PRESETS, *OPERATIONS])
                    problems.append(
                        f"{word.strip()!r} is neither a preset ({', '.join(PRESETS)}) nor an "
                        f"operation ({', '.join(OPERATIONS)}). {hint}".rstrip(" ?.")
                    )
        most = {**_MOST, **dict.fromkeys(_PROBABILITIES, 1.0)}
        if self.scale is not None and 0 < self.scale < 1:
            problems.append(f"scale is {self.scale}; allowed: 0 (off), or 1 to 8")
        if self.custom is not None and not all(self.custom.partition(":")):
            problems.append(f"custom is {self.custom!r}; write 'package.module:name'")
        ranges = {name: Range(0, most.get(name, math.inf)) for name in OPERATIONS}
        check_options(self, problems, **ranges)

    def strengths(self, size: int, *, placed: bool = False) -> dict[str, float]:
        """Each operation that is on, in the order in which they run, for records of this side.

        Args:
            placed: whether targets lie on the pictures.
        """
        if self.augment in PRESETS and placed:
            chosen = dict(PLACED[self.augment])
            if size <= TINY:
                chosen.pop("flip", None)
        elif self.augment in PRESETS:
            chosen = dict(PRESETS[self.augment][size > TINY])
        else:
            chosen = {word.strip(): OPERATIONS[word.strip()][0] for word in self.augment.split(",")}
        for name in OPERATIONS:
            value = getattr(self, name)
            if value is not None:
                chosen[name] = float(value)
        return {name: chosen[name] for name in OPERATIONS if chosen.get(name, 0) > 0}

    def describe(
        self, size: int, *, placed: bool = False, made: Mapping[str, float] | None = None
    ) -> str:
        """One sentence for the user: what is done to pictures of this size.

        Args:
            made: strengths of what an input made of these options, where it has its own.
        """
        on = self.strengths(size, placed=placed)
        if made is not None:
            on = {**made, **{name: on[name] for name in ("mixup", "cutmix") if name in on}}
        parts = [f"{name} {strength:.3g}" for name, strength in on.items()]
        if self.custom is not None:
            parts.append(self.custom)
        what = ", ".join(parts) or "nothing"
        sentence = f"augmentation '{self.augment}' at {size} px: {what}"
        if self.augment in ("standard", "strong") and size <= TINY and self.flip is None:
            sentence += (
                "; tiny pictures are not mirrored, because digits and letters lose their meaning "
                "(flip=0.5 asks for it)"
            )
        return sentence
