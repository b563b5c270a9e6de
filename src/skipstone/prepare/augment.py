"""Random changes to training samples: torchvision.transforms.v2's kernels, our own dice.

Why the dice are ours: v2's transform classes draw from the one random state of the process, which
belongs to the training thread (dropout) and cannot be used from loading threads. Here each sample
has its own generator, keyed by (seed, epoch, id, view), so that a sample's augmentation depends on
nothing else; the drawn numbers go to the deterministic v2 functionals, which also carry masks and
boxes (tv_tensors among a sample's targets) through every geometric operation.
"""

from __future__ import annotations

import importlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from skipstone.data.masks import IGNORE
from skipstone.data.samples import Sample
from skipstone.errors import UsageError
from skipstone.inputs.base import Input, Raw
from skipstone.prepare.augment_options import AugmentOptions
from skipstone.prepare.random_policies import randaugment, trivialaugment
from skipstone.prepare.randomness import moved, scoped_seed, uniform
from skipstone.tasks.base import Task

Values = list[Tensor]  # the image uint8 (C, H, W) first, then masks and boxes as tv_tensors
Operation = Callable[[Values, random.Random, float], Values]
Custom = Callable[[Tensor], Tensor]

GEOMETRIC = frozenset({"flip", "vflip", "crop", "scale", "shift", "rotate"})
#: These move the picture by themselves, and no target with it.
ALONE = frozenset({"randaugment", "trivialaugment"})
GREY = 128  # what lies beyond a picture, as in a record that is filled up


class Augment:
    """The operations of `strengths` in order, then `custom`.

    Args:
        strengths: operation name -> strength, see `AugmentOptions.strengths`.
        custom: takes and returns a uint8 tensor (C, H, W); may draw from the random states of
            torch, numpy and Python, which are seeded for it and put back.
        key: the name of the input's array to change.
        frame: (height, width) that every sample is brought to, by cutting out or filling up, where
            the input's arrays differ in shape.
        operations: what the names mean, where it is not `OPERATIONS`.
    """

    def __init__(
        self,
        strengths: Mapping[str, float],
        custom: Custom | None = None,
        key: str = "image",
        frame: tuple[int, int] | None = None,
        operations: Mapping[str, Operation] | None = None,
    ) -> None:
        self.frame = frame
        self._scale = strengths.get("scale", 1.0)
        self._framed = frame is not None or "scale" in strengths
        known = OPERATIONS if operations is None else operations
        self.operations = [
            (known[name], value) for name, value in strengths.items() if name in known
        ]
        self.strengths = dict(strengths)
        self.custom = custom
        self.key = key
        self._geometric = bool(GEOMETRIC & strengths.keys()) or frame is not None

    #: It changes what is encoded already, and what lies on it.
    on_records = False

    #: What lies beyond a picture's border, a number a channel or one for all.
    grey: Sequence[float] = (GREY,)

    def prepare(self, image: Tensor) -> Tensor:
        """The type that operations work in."""
        return image

    @property
    def thread_safe(self) -> bool:
        """Whether it may run beside training: a user's callable may use the global dice."""
        return self.custom is None

    def record(self, raw: Raw, *, id: int, view: int, seed: int, epoch: int) -> Raw:
        return raw

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        """The changed sample; x[key] is uint8 (H, W, C) in and out."""
        meta = sample.meta
        rng = random.Random(f"{seed},{epoch},{meta.id},{meta.view}")
        targets = sample.y or {}
        carried = [name for name, y in targets.items() if isinstance(y, tv_tensors.TVTensor)]
        if self._geometric:
            _refuse_left_behind({k: y for k, y in targets.items() if k not in carried})
        image = self.prepare(sample.x[self.key]).permute(2, 0, 1)  # (C, H, W)
        values = [image, *(targets[name] for name in carried)]
        if self._framed:
            values = _frame(values, rng, self._scale, self.frame, self.grey)
        for operation, strength in self.operations:
            values = operation(values, rng, strength)
        if self.custom is not None:
            values[0] = _apply_custom(self.custom, values[0].contiguous(), rng)
        image = values[0].permute(1, 2, 0).contiguous()  # (H, W, C)
        return Sample(
            {**sample.x, self.key: image},
            {**targets, **dict(zip(carried, values[1:], strict=True))} if carried else sample.y,
            # a moved picture's coordinates no longer lead back to the source's
            replace(meta, to_source=None) if self._geometric and meta.to_source else meta,
        )


def _refuse_left_behind(targets: Mapping[str, Tensor]) -> None:
    """Boxes and masks that are plain tensors would stay where they are while the picture moves."""
    for name, target in targets.items():
        if target.ndim >= 2:
            raise UsageError(
                f"the augmentation moves pictures, but the target {name!r} would stay behind: "
                "it is no tv_tensor (torchvision.tv_tensors.BoundingBoxes, Mask).",
                hint="Use --augment none, or color and erase, which move nothing.",
            )


def make_augment(options: AugmentOptions, input: Input, task: Task | None = None) -> Augment | None:
    """What `options` mean for this input's arrays, or None where nothing is to be done.

    Args:
        task: whose targets may lie on the pictures.

    Raises:
        UsageError: the input does not emit pictures, or `custom` cannot be imported.
    """
    example = input.example(1)
    if input.emits().kind != "image" or "image" not in example:
        if options.augment in ("none", "standard") and options == AugmentOptions(
            augment=options.augment
        ):
            return None
        raise UsageError(
            f"these augmentations are for pictures; this input emits {input.emits().kind!r}.",
            hint="Leave the augmentation options out.",
        )
    placed = task is not None and bool(task.places)
    strengths = options.strengths(min(example["image"].shape[1:3]), placed=placed)
    if placed and (alone := ALONE & strengths.keys()):
        raise UsageError(
            f"{' and '.join(sorted(alone))} may move a picture without what lies on it (its mask, "
            "its boxes).",
            hint="Name other operations: --augment flip,scale,color,blur,erase",
        )
    make: Callable[..., Augment] = Augment
    if (levels := getattr(input, "levels", None)) is not None:
        from skipstone.prepare import deep_augment  # which needs this module

        strengths = deep_augment.without_photos_own(options, strengths)
        make = partial(deep_augment.DeepAugment, levels, example["image"].dtype)
    own = {name: value for name, value in strengths.items() if name in (*OPERATIONS, "scale")}
    custom = None if options.custom is None else import_callable(options.custom)
    frame: tuple[int, int] | None = getattr(input, "frame", None)
    if not own and custom is None and frame is None:
        return None
    return make(own, custom, frame=frame)


def import_callable(path: str) -> Callable[..., Any]:
    """The callable that "package.module:name" means."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"augmentation {path!r}: {module_name!r} cannot be imported ({error}).",
            hint="Install it, or put its folder on PYTHONPATH.",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        what = "no such name" if found is None else f"a {type(found).__name__}, not callable"
        raise UsageError(f"augmentation {path!r}: in {module.__file__} {name!r} is {what}.")
    made: Callable[..., Any] = found
    return made


def _apply_custom(custom: Custom, image: Tensor, rng: random.Random) -> Tensor:
    with scoped_seed(rng.getrandbits(32)):
        result = custom(image)
    name = f"{getattr(custom, '__module__', '')}:{getattr(custom, '__qualname__', custom)}"
    if not isinstance(result, Tensor):
        raise UsageError(f"augmentation {name} returned {type(result).__name__}, not a tensor.")
    if result.dtype != image.dtype or result.shape != image.shape:
        raise UsageError(
            f"augmentation {name} returned {result.dtype} {tuple(result.shape)}; "
            f"it must return what it was given: {image.dtype} {tuple(image.shape)}."
        )
    return result


def _flip(values: Values, rng: random.Random, probability: float) -> Values:
    return [F.horizontal_flip(v) for v in values] if rng.random() < probability else values


def _vflip(values: Values, rng: random.Random, probability: float) -> Values:
    return [F.vertical_flip(v) for v in values] if rng.random() < probability else values


def _crop(values: Values, rng: random.Random, smallest: float) -> Values:
    height, width = values[0].shape[-2:]
    box = crop_box(height, width, (smallest, 1.0), (3 / 4, 4 / 3), rng)
    return [_cut(v, box, (height, width)) for v in values]


def crop_box(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: random.Random,
) -> tuple[int, int, int, int]:
    """(top, left, height, width) by the rule of v2.RandomResizedCrop (Szegedy 2015).

    A share of the area, uniform, and an aspect ratio, uniform in its logarithm; after ten that do
    not fit, the largest centred box whose ratio is allowed.
    """
    for _ in range(10):
        target = height * width * uniform(rng, *area)
        aspect = math.exp(uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.random() * (height - h + 1))
            return top, int(rng.random() * (width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def _frame(
    values: Values,
    rng: random.Random,
    scale: float,
    frame: tuple[int, int] | None,
    grey: Sequence[float],
) -> Values:
    """Zoom by 1/scale to scale (uniform in its logarithm) and cut `frame` out at random.

    What the picture does not fill becomes grey, and counts for nothing in a mask. One resampling.
    """
    height, width = values[0].shape[-2:]
    frame = frame or (height, width)
    zoom = math.exp(uniform(rng, -math.log(scale), math.log(scale)))
    window = [max(1, round(side / zoom)) for side in frame]
    begin = [
        min(0, side - size) + int(rng.random() * (abs(side - size) + 1))
        for side, size in zip((height, width), window, strict=True)
    ]
    top, left = begin
    pad = [
        max(0, -left),
        max(0, -top),
        max(0, left + window[1] - width),
        max(0, top + window[0] - height),
    ]
    box = (top + pad[1], left + pad[0], *window)
    moved = []
    for value in values:
        if any(pad):
            value = F.pad(value, pad, fill=beyond(value, list(grey)))
        if list(frame) == window:
            moved.append(F.crop(value, *box))
        else:
            moved.append(_cut(value, box, frame))
    return moved


def _cut(value: Tensor, box: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """F.resized_crop, but a mask's pixels are the nearest to their own middles.

    v2 takes torch's "nearest", whose pixels begin where the others' middles are: enlarged twice, a
    mask would lie half a pixel beside its picture.
    """
    if not isinstance(value, tv_tensors.Mask):
        cut: Tensor = F.resized_crop(value, *box, list(size), antialias=True)
        return cut
    part = F.crop(value, *box)
    rows, columns = (
        ((torch.arange(new) + 0.5) * (old / new)).floor().long().clamp_max(old - 1)
        for old, new in zip(part.shape[-2:], size, strict=True)
    )
    picked: Tensor = tv_tensors.wrap(part[..., rows[:, None], columns], like=value)
    return picked


def beyond(value: Tensor, colour: float | list[float]) -> float | list[float]:
    """What fills the outside of a picture, or of what lies on it."""
    return IGNORE if isinstance(value, tv_tensors.Mask) else colour


def _shift(values: Values, rng: random.Random, share: float) -> Values:
    """Pad by `share` of the side and crop back; the edge's pixels are repeated."""
    height, width = values[0].shape[-2:]
    pad_y, pad_x = max(1, round(share * height)), max(1, round(share * width))
    top = int(rng.random() * (2 * pad_y + 1))
    left = int(rng.random() * (2 * pad_x + 1))
    moved = []
    for value in values:
        # boxes know no edge to repeat
        mode = "constant" if isinstance(value, tv_tensors.BoundingBoxes) else "edge"
        padded = F.pad(value, [pad_x, pad_y, pad_x, pad_y], padding_mode=mode)
        moved.append(F.crop(padded, top, left, height, width))
    return moved


def _rotate(values: Values, rng: random.Random, degrees: float) -> Values:
    angle = uniform(rng, -degrees, degrees)
    image = moved(values[0], lambda image: F.rotate(image, angle, InterpolationMode.BILINEAR))
    return [image, *(F.rotate(v, angle, fill=beyond(v, 0)) for v in values[1:])]


def _color(values: Values, rng: random.Random, strength: float) -> Values:
    """v2.ColorJitter without hue, in fixed order; saturation means nothing to a grey picture."""
    low, high = 1 - strength, 1 + strength
    image = F.adjust_brightness(values[0], uniform(rng, low, high))
    image = F.adjust_contrast(image, uniform(rng, low, high))
    saturation = uniform(rng, low, high)
    if image.shape[0] == 3:
        image = F.adjust_saturation(image, saturation)
    return [image, *values[1:]]


def _blur(values: Values, rng: random.Random, probability: float) -> Values:
    apply, share = rng.random() < probability, rng.random()
    if not apply:
        return values
    side = min(values[0].shape[-2:])
    # up to 2 pixels at 224; at tiny sizes at least what can be seen
    sigma = 0.3 + share * (max(0.8, 2 * side / 224) - 0.3)
    kernel = min(2 * math.ceil(2 * sigma) + 1, side - 1 + side % 2)
    return [F.gaussian_blur(values[0], [kernel, kernel], [sigma, sigma]), *values[1:]]


def _erase(values: Values, rng: random.Random, probability: float) -> Values:
    """2 to 33 % of the area, ratio 0.3 to 3.3 (the paper's numbers), in mid grey."""
    apply = rng.random() < probability
    height, width = values[0].shape[-2:]
    box = crop_box(height, width, (0.02, 0.33), (0.3, 3.3), rng)
    if not apply:
        return values
    grey = torch.full((values[0].shape[0], 1, 1), GREY, dtype=torch.uint8)
    return [F.erase(values[0], *box, grey), *values[1:]]


def _randaugment(values: Values, rng: random.Random, magnitude: float) -> Values:
    return [randaugment(values[0], rng, magnitude), *values[1:]]


def _trivialaugment(values: Values, rng: random.Random, probability: float) -> Values:
    if rng.random() >= probability:
        return values
    return [trivialaugment(values[0], rng), *values[1:]]


OPERATIONS: Mapping[str, Operation] = {
    "flip": _flip,
    "vflip": _vflip,
    "crop": _crop,
    "shift": _shift,
    "rotate": _rotate,
    "color": _color,
    "blur": _blur,
    "randaugment": _randaugment,
    "trivialaugment": _trivialaugment,
    "erase": _erase,
}
