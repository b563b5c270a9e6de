"""Augmentation of images: torchvision.transforms.v2's kernels with a generator per sample.

v2's transform classes draw from the random state of the process, which belongs to the training
thread (dropout) and is unsafe in loading threads. Here each sample has its own generator, keyed by
(seed, epoch, id, view), so that its augmentation depends on nothing else. The drawn numbers go to
the deterministic v2 functionals, which also apply every geometric operation to masks and boxes
(tv_tensors among a sample's targets).
"""

from __future__ import annotations

import importlib
import math
import random
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from skipstone.core.errors import UsageError
from skipstone.core.rng import draw_uniform, scoped_seed, transform_with_fill
from skipstone.data.mask_files import IGNORE_INDEX
from skipstone.data.samples import Sample
from skipstone.image.random_policies import apply_randaugment, apply_trivialaugment
from skipstone.inputs.base import REGIONS, DecodedSample
from skipstone.models.box_offsets import clip_boxes

Values = list[Tensor]  # the image uint8 (C, H, W) first, then masks and boxes as tv_tensors
Operation = Callable[[Values, random.Random, float], Values]
Custom = Callable[[Tensor], Tensor]

GEOMETRIC = frozenset(
    {"flip", "vflip", "crop", "scale", "shift", "translate", "pad_crop", "rotate"}
)
GREY = 128  # fills what lies outside an image, as padding of records does
#: Draws of a crop that keeps an object.
_CROP_TRIES = 10
#: Share of a box's area that has to stay in the image.
MIN_VISIBLE = 0.4


class ImageAugmentation:
    """The operations of `strengths` in order, then `custom`.

    Of a sample's boxes, those of which less than `MIN_VISIBLE` stays in the image are dropped, with
    their rows of all ragged targets.

    Args:
        strengths: {operation: strength}, see `ImageAugmentOptions.strengths`.
        custom: takes and returns a uint8 tensor (C, H, W); may draw from the random states of
            torch, numpy and Python, which are seeded for it and restored.
        key: name of the input's array to change.
        output_size: (height, width) that every sample is cropped or padded to, if the input's arrays
            differ in shape.
        operations: {name: function}; `OPERATIONS` by default.
        ragged: names of targets with a row per object.
    """

    def __init__(
        self,
        strengths: Mapping[str, float],
        custom: Custom | None = None,
        key: str = "image",
        output_size: tuple[int, int] | None = None,
        operations: Mapping[str, Operation] | None = None,
        ragged: frozenset[str] = frozenset(),
    ) -> None:
        self.ragged = ragged
        self.output_size = output_size
        self._scale = strengths.get("scale", 1.0)
        self._needs_frame = output_size is not None or "scale" in strengths
        functions = OPERATIONS if operations is None else operations
        self.operations = [
            (functions[name], value) for name, value in strengths.items() if name in functions
        ]
        self.strengths = dict(strengths)
        self.custom = custom
        self.key = key
        self._is_geometric = bool(GEOMETRIC & strengths.keys()) or output_size is not None

    #: It changes encoded samples and their targets.
    augments_records = False

    #: Fills what lies outside an image: one value per channel, or one for all.
    fill: Sequence[float] = (GREY,)

    def to_compute_type(self, image: Tensor) -> Tensor:
        """Convert to the type that operations compute in."""
        return image

    @property
    def is_thread_safe(self) -> bool:
        """Whether loading threads may call it: a user's callable may draw from the global
        random states, which training uses."""
        return self.custom is None

    def augment_record(
        self, raw: DecodedSample, *, id: int, view: int, seed: int, epoch: int
    ) -> DecodedSample:
        return raw

    def __call__(self, sample: Sample, *, seed: int, epoch: int) -> Sample:
        """The augmented sample; x[key] is uint8 (H, W, C) in and out."""
        meta = sample.meta
        rng = random.Random(f"{seed},{epoch},{meta.id},{meta.view}")
        targets = sample.y or {}
        spatial = [name for name, y in targets.items() if isinstance(y, tv_tensors.TVTensor)]
        if self._is_geometric:
            _refuse_plain_spatial_targets({k: y for k, y in targets.items() if k not in spatial})
        image = self.to_compute_type(sample.x[self.key]).permute(2, 0, 1)  # (C, H, W)
        values = [image, *(_unclamp(targets[name]) for name in spatial)]
        if REGIONS in sample.x:
            values.append(_as_boxes(sample.x[REGIONS], image))
        if self._needs_frame:
            values = _zoom_and_crop(values, rng, self._scale, self.output_size, self.fill)
        for operation, strength in self.operations:
            values = operation(values, rng, strength)
        if self.custom is not None:
            values[0] = _apply_custom(self.custom, values[0].contiguous(), rng)
        image = values[0].permute(1, 2, 0).contiguous()  # (H, W, C)
        regions = {REGIONS: _clip_regions(values.pop(), image)} if REGIONS in sample.x else {}
        y = {**targets, **dict(zip(spatial, values[1:], strict=True))} if spatial else sample.y
        return Sample(
            {**sample.x, **regions, self.key: image},
            y if y is None else drop_hidden_boxes(y, self.ragged),
            # the affine to the source's coordinates no longer holds
            replace(meta, to_source=None) if self._is_geometric and meta.to_source else meta,
        )


def _unclamp(value: Tensor) -> Tensor:
    """Boxes that operations do not cut off at the border, so that what is visible can be told."""
    if not isinstance(value, tv_tensors.BoundingBoxes):
        return value
    unclamped: Tensor = tv_tensors.BoundingBoxes(
        value.as_subclass(Tensor),
        format=value.format,
        canvas_size=value.canvas_size,
        clamping_mode=None,
    )
    return unclamped


def _as_boxes(regions: Tensor, image: Tensor) -> Tensor:
    """Regions (R, 4) as boxes that operations move with the image (C, H, W)."""
    boxes: Tensor = tv_tensors.BoundingBoxes(
        regions,
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=(image.shape[1], image.shape[2]),
        clamping_mode=None,
    )
    return boxes


def _clip_regions(regions: Tensor, image: Tensor) -> Tensor:
    """Regions (R, 4) without what lies outside the image (H, W, C); zeros where nothing remains."""
    clipped = clip_boxes(regions.as_subclass(Tensor), image.shape)
    return clipped * (clipped[:, 2:] > clipped[:, :2]).all(dim=1, keepdim=True)


def drop_hidden_boxes(y: dict[str, Tensor], ragged: frozenset[str]) -> dict[str, Tensor]:
    """Boxes end at the border of the image. Those that are hidden are dropped with their rows of
    the `ragged` targets."""
    boxes = next((v for v in y.values() if isinstance(v, tv_tensors.BoundingBoxes)), None)
    if boxes is None:
        return y
    height, width = boxes.canvas_size
    plain = boxes.as_subclass(Tensor)
    limits = plain.new_tensor([width, height, width, height])
    inside = torch.minimum(plain.clamp_min(0), limits)
    shares = _areas(inside) / _areas(plain).clamp_min(1e-6)
    visible = shares >= MIN_VISIBLE
    rest = {name: value[visible] for name, value in y.items() if name in ragged}
    like = tv_tensors.wrap(inside[visible], like=boxes)
    return {**y, **{name: like if y[name] is boxes else value for name, value in rest.items()}}


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _refuse_plain_spatial_targets(targets: Mapping[str, Tensor]) -> None:
    """Boxes and masks that are plain tensors would not move with the image."""
    for name, target in targets.items():
        if target.ndim >= 2:
            raise UsageError(
                f"the augmentation moves pictures, but not the target {name!r}: it is a plain "
                "tensor, not a tv_tensor (torchvision.tv_tensors.BoundingBoxes, Mask).",
                hint="Use --augment none, or color and erase, which move nothing.",
            )


def import_callable(path: str) -> Callable[..., Any]:
    """The callable named "package.module:name". Raises UsageError if there is none."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"augmentation {path!r}: {module_name!r} cannot be imported ({error}).",
            hint="Install it, or put its folder on PYTHONPATH.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        what = "no such name" if function is None else f"a {type(function).__name__}, not callable"
        raise UsageError(f"augmentation {path!r}: in {module.__file__} {name!r} is {what}.")
    return cast(Callable[..., Any], function)


def describe_callable(function: Callable[..., Any]) -> str:
    """The name "module:name" of a function or class; for another callable, its repr."""
    if isinstance(function, type | types.FunctionType | types.BuiltinFunctionType):
        return f"{function.__module__}:{function.__qualname__}"
    return repr(function)


def _apply_custom(custom: Custom, image: Tensor, rng: random.Random) -> Tensor:
    with scoped_seed(rng.getrandbits(32)):
        result = custom(image)
    name = describe_callable(custom)
    if not isinstance(result, Tensor):
        raise UsageError(f"augmentation {name} returned {type(result).__name__}, not a tensor.")
    if result.dtype != image.dtype or result.shape != image.shape:
        raise UsageError(
            f"augmentation {name} returned {result.dtype} {tuple(result.shape)}; "
            f"it must keep the type and shape: {image.dtype} {tuple(image.shape)}."
        )
    return result


def _flip(values: Values, rng: random.Random, probability: float) -> Values:
    return [F.horizontal_flip(v) for v in values] if rng.random() < probability else values


def _vflip(values: Values, rng: random.Random, probability: float) -> Values:
    return [F.vertical_flip(v) for v in values] if rng.random() < probability else values


def _crop(values: Values, rng: random.Random, smallest: float) -> Values:
    height, width = values[0].shape[-2:]
    for _ in range(_CROP_TRIES):
        box = draw_crop_box(height, width, (smallest, 1.0), (3 / 4, 4 / 3), rng)
        if _keeps_an_object(values, box):
            return [_resized_crop(v, box, (height, width)) for v in values]
    return values


def _keeps_an_object(values: Values, box: tuple[int, ...]) -> bool:
    """Whether the middle of one of the boxes lies in the box (top, left, height, width); true for
    images without boxes."""
    boxes = next((v for v in values[1:] if isinstance(v, tv_tensors.BoundingBoxes)), None)
    if boxes is None or not len(boxes):
        return True
    top, left, height, width = box
    middle = (boxes[:, :2] + boxes[:, 2:]).as_subclass(Tensor) / 2
    low, high = middle.new_tensor([left, top]), middle.new_tensor([left + width, top + height])
    return bool(((middle >= low) & (middle < high)).all(dim=1).any())


def draw_crop_box(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: random.Random,
) -> tuple[int, int, int, int]:
    """(top, left, height, width) by the rule of v2.RandomResizedCrop (Szegedy 2015).

    The share of the area is uniform, the aspect ratio uniform in its logarithm. After ten draws
    that do not fit: the largest centred box of an allowed ratio.
    """
    for _ in range(10):
        target = height * width * draw_uniform(rng, *area)
        aspect = math.exp(draw_uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.random() * (height - h + 1))
            return top, int(rng.random() * (width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def _zoom_and_crop(
    values: Values,
    rng: random.Random,
    scale: float,
    frame: tuple[int, int] | None,
    grey: Sequence[float],
) -> Values:
    """Zoom by 1/scale to scale (uniform in its logarithm) and crop `frame` at a random place.

    Pads with grey, and masks with IGNORE. Resamples once.
    """
    height, width = values[0].shape[-2:]
    frame = frame or (height, width)
    zoom = math.exp(draw_uniform(rng, -math.log(scale), math.log(scale)))
    window = [max(1, round(side / zoom)) for side in frame]
    for _ in range(_CROP_TRIES):
        y, x = (
            min(0, side - size) + int(rng.random() * (abs(side - size) + 1))
            for side, size in zip((height, width), window, strict=True)
        )
        if _keeps_an_object(values, (y, x, *window)):
            break
    pad = [
        max(0, -x),
        max(0, -y),
        max(0, x + window[1] - width),
        max(0, y + window[0] - height),
    ]
    box = (y + pad[1], x + pad[0], *window)
    cropped = []
    for value in values:
        if any(pad):
            value = F.pad(value, pad, fill=fill_value(value, list(grey)))
        if list(frame) == window:
            cropped.append(F.crop(value, *box))
        else:
            cropped.append(_resized_crop(value, box, frame))
    return cropped


def _resized_crop(value: Tensor, box: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """F.resized_crop, but masks are sampled at pixel centres.

    v2 resizes masks by torch's "nearest", which samples at pixel corners: a mask enlarged twice
    would be off by half a pixel.
    """
    if not isinstance(value, tv_tensors.Mask):
        return cast(Tensor, F.resized_crop(value, *box, list(size), antialias=True))
    part = F.crop(value, *box)
    rows, columns = (
        ((torch.arange(new) + 0.5) * (old / new)).floor().long().clamp_max(old - 1)
        for old, new in zip(part.shape[-2:], size, strict=True)
    )
    return cast(Tensor, tv_tensors.wrap(part[..., rows[:, None], columns], like=value))


def fill_value(value: Tensor, colour: float | list[float]) -> float | list[float]:
    """The fill value outside an image or mask."""
    return IGNORE_INDEX if isinstance(value, tv_tensors.Mask) else colour


def _shift(values: Values, rng: random.Random, share: float) -> Values:
    """Pad by `share` of the side, repeating the edge's pixels, and crop at a random place."""
    height, width = values[0].shape[-2:]
    pad_y, pad_x = max(1, round(share * height)), max(1, round(share * width))
    y = int(rng.random() * (2 * pad_y + 1))
    x = int(rng.random() * (2 * pad_x + 1))
    shifted = []
    for value in values:
        # boxes have no edge pixels
        mode = "constant" if isinstance(value, tv_tensors.BoundingBoxes) else "edge"
        padded = F.pad(value, [pad_x, pad_y, pad_x, pad_y], padding_mode=mode)
        shifted.append(F.crop(padded, y, x, height, width))
    return shifted


def _translate(values: Values, rng: random.Random, share: float) -> Values:
    return _move(values, rng, share, GREY)


def _pad_crop(values: Values, rng: random.Random, share: float) -> Values:
    return _move(values, rng, share, 0)


def _move(values: Values, rng: random.Random, share: float, colour: float) -> Values:
    """Move by whole pixels, up to `share` of each side; masks are filled with IGNORE."""
    height, width = values[0].shape[-2:]
    pad_y, pad_x = round(share * height), round(share * width)
    y = int(rng.random() * (2 * pad_y + 1))
    x = int(rng.random() * (2 * pad_x + 1))
    padding = [pad_x, pad_y, pad_x, pad_y]
    padded = (F.pad(value, padding, fill=fill_value(value, colour)) for value in values)
    return [F.crop(value, y, x, height, width) for value in padded]


def _rotate(values: Values, rng: random.Random, degrees: float) -> Values:
    angle = draw_uniform(rng, -degrees, degrees)
    image = transform_with_fill(
        values[0], lambda image: F.rotate(image, angle, InterpolationMode.BILINEAR)
    )
    return [image, *(F.rotate(v, angle, fill=fill_value(v, 0)) for v in values[1:])]


def _color(values: Values, rng: random.Random, strength: float) -> Values:
    """v2.ColorJitter without hue, in fixed order; without saturation for grey images."""
    low, high = 1 - strength, 1 + strength
    image = F.adjust_brightness(values[0], draw_uniform(rng, low, high))
    image = F.adjust_contrast(image, draw_uniform(rng, low, high))
    saturation = draw_uniform(rng, low, high)
    if image.shape[0] == 3:
        image = F.adjust_saturation(image, saturation)
    return [image, *values[1:]]


def _brightness(values: Values, rng: random.Random, strength: float) -> Values:
    factor = draw_uniform(rng, 1 - strength, 1 + strength)
    return [F.adjust_brightness(values[0], factor), *values[1:]]


def _contrast(values: Values, rng: random.Random, strength: float) -> Values:
    factor = draw_uniform(rng, 1 - strength, 1 + strength)
    return [F.adjust_contrast(values[0], factor), *values[1:]]


def _saturation(values: Values, rng: random.Random, strength: float) -> Values:
    factor = draw_uniform(rng, 1 - strength, 1 + strength)
    return [F.adjust_saturation(values[0], factor), *values[1:]]


def _hue(values: Values, rng: random.Random, share: float) -> Values:
    return [F.adjust_hue(values[0], draw_uniform(rng, -share, share)), *values[1:]]


def _noise(values: Values, rng: random.Random, strength: float) -> Values:
    noise = draw_noise(values[0], rng, strength) * 255
    return [(values[0] + noise).round().clamp(0, 255).to(torch.uint8), *values[1:]]


def draw_noise(image: Tensor, rng: random.Random, strength: float) -> Tensor:
    """Normal numbers of the image's shape, their standard deviation uniform from 0 to `strength`."""
    deviation = draw_uniform(rng, 0, strength)
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    return torch.randn(image.shape, generator=generator) * deviation


def _blur(values: Values, rng: random.Random, probability: float) -> Values:
    apply, share = rng.random() < probability, rng.random()
    if not apply:
        return values
    side = min(values[0].shape[-2:])
    # up to 2 pixels at 224; at tiny sizes enough to be visible
    sigma = 0.3 + share * (max(0.8, 2 * side / 224) - 0.3)
    kernel = min(2 * math.ceil(2 * sigma) + 1, side - 1 + side % 2)
    return [F.gaussian_blur(values[0], [kernel, kernel], [sigma, sigma]), *values[1:]]


def _erase(values: Values, rng: random.Random, probability: float) -> Values:
    """2 to 33 % of the area, ratio 0.3 to 3.3 (the paper's numbers), in mid grey."""
    apply = rng.random() < probability
    height, width = values[0].shape[-2:]
    box = draw_crop_box(height, width, (0.02, 0.33), (0.3, 3.3), rng)
    if not apply:
        return values
    grey = torch.full((values[0].shape[0], 1, 1), GREY, dtype=torch.uint8)
    return [F.erase(values[0], *box, grey), *values[1:]]


def _randaugment(values: Values, rng: random.Random, magnitude: float) -> Values:
    return [apply_randaugment(values[0], rng, magnitude), *values[1:]]


def _trivialaugment(values: Values, rng: random.Random, probability: float) -> Values:
    if rng.random() >= probability:
        return values
    return [apply_trivialaugment(values[0], rng), *values[1:]]


OPERATIONS: Mapping[str, Operation] = {
    "flip": _flip,
    "vflip": _vflip,
    "crop": _crop,
    "shift": _shift,
    "translate": _translate,
    "pad_crop": _pad_crop,
    "rotate": _rotate,
    "color": _color,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "noise": _noise,
    "blur": _blur,
    "randaugment": _randaugment,
    "trivialaugment": _trivialaugment,
    "erase": _erase,
}
