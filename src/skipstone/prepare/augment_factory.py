"""Make the augmentation of an image input from its options."""

from __future__ import annotations

from skipstone.errors import UsageError
from skipstone.inputs.base import ImageRecords, Input
from skipstone.prepare.augment import OPERATIONS, Augment, import_callable
from skipstone.prepare.augment_options import AugmentOptions
from skipstone.prepare.deep_augment import DeepAugment, without_photos_own
from skipstone.tasks.base import Task

#: These move the image without its masks and boxes.
_IMAGE_ONLY = frozenset({"randaugment", "trivialaugment"})


def make_augment(options: AugmentOptions, input: Input, task: Task | None = None) -> Augment | None:
    """The augmentation of this input's arrays, or None if nothing changes them.

    Args:
        task: may have spatial targets.

    Raises:
        UsageError: the input is not one of images, or `custom` cannot be imported.
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
    is_spatial = task is not None and bool(task.places)
    strengths = options.strengths(min(example["image"].shape[1:3]), placed=is_spatial)
    if is_spatial and (image_only := _IMAGE_ONLY & strengths.keys()):
        raise UsageError(
            f"{' and '.join(sorted(image_only))} may move a picture without its mask or boxes.",
            hint="Name other operations: --augment flip,scale,color,blur,erase",
        )
    frame, levels = None, None
    if isinstance(input, ImageRecords):
        frame, levels = input.frame, input.levels
    if levels is not None:
        strengths = without_photos_own(options, strengths)
    strengths = {name: s for name, s in strengths.items() if name in (*OPERATIONS, "scale")}
    custom = None if options.custom is None else import_callable(options.custom)
    if not strengths and custom is None and frame is None:
        return None
    if levels is not None:
        return DeepAugment(levels, example["image"].dtype, strengths, custom, frame=frame)
    return Augment(strengths, custom, frame=frame)
