"""Make the augmentation of an image input from its options."""

from __future__ import annotations

from skipstone.core.errors import UsageError
from skipstone.datasets.mixing import ImageMixing
from skipstone.image.augment import OPERATIONS, ImageAugmentation, import_callable
from skipstone.image.augment_options import TINY, ImageAugmentOptions
from skipstone.image.base_input import ImageRecords
from skipstone.image.high_depth_augment import HighDepthAugmentation, replace_photo_operations
from skipstone.image.mosaic import MosaicMixing
from skipstone.inputs.base import Input
from skipstone.tasks.base import Task

#: These move the image without its masks and boxes.
_IMAGE_ONLY = frozenset({"randaugment", "trivialaugment"})
#: These change the colours of colour pictures.
_COLOURS = frozenset({"saturation", "hue"})


def make_image_augmentation(
    options: ImageAugmentOptions, input: Input, task: Task | None = None
) -> ImageAugmentation | None:
    """The augmentation of this input's arrays, or None if nothing changes them.

    Args:
        task: may have spatial targets.

    Raises:
        UsageError: the input is not one of images, or `custom` cannot be imported.
    """
    example = input.make_example(1)
    if input.feature_spec().kind != "image" or "image" not in example:
        if options.augment in ("none", "standard") and options == ImageAugmentOptions(
            augment=options.augment
        ):
            return None
        raise UsageError(
            f"these augmentations are for pictures; this input emits {input.feature_spec().kind!r}.",
            hint="Leave the augmentation options out.",
        )
    is_spatial = task is not None and bool(task.spatial_targets)
    strengths = options.get_strengths(min(example["image"].shape[1:3]), is_spatial=is_spatial)
    if is_spatial and (image_only := _IMAGE_ONLY & strengths.keys()):
        raise UsageError(
            f"{' and '.join(sorted(image_only))} may move a picture without its mask or boxes.",
            hint="Name other operations: --augment flip,scale,color,blur,erase",
        )
    if example["image"].shape[3] == 1 and (colours := _COLOURS & strengths.keys()):
        raise UsageError(
            f"{' and '.join(sorted(colours))} would change nothing: these pictures are grey.",
            hint="Leave it out. Grey pictures have: --augment brightness,contrast,noise,blur",
        )
    ragged = frozenset() if task is None else task.ragged
    frame, levels = None, None
    if isinstance(input, ImageRecords):
        frame, levels = input.typical_shape, input.channel_stats
    if levels is not None:
        strengths = replace_photo_operations(options, strengths)
    strengths = {name: s for name, s in strengths.items() if name in (*OPERATIONS, "scale")}
    custom = None if options.custom is None else import_callable(options.custom)
    if not strengths and custom is None and frame is None:
        return None
    if levels is not None:
        return HighDepthAugmentation(
            levels, example["image"].dtype, strengths, custom, output_size=frame, ragged=ragged
        )
    return ImageAugmentation(strengths, custom, output_size=frame, ragged=ragged)


def make_image_mixing(
    options: ImageAugmentOptions, task: Task
) -> ImageMixing | MosaicMixing | None:
    """The mixing of images, or None if it is off.

    Raises:
        UsageError: the task has spatial targets; or, for mosaic, no boxes.
    """
    # presets mix with the same strength at any size
    strengths = options.get_strengths(TINY, is_spatial=bool(task.spatial_targets))
    mixup, cutmix = strengths.get("mixup", 0.0), strengths.get("cutmix", 0.0)
    if task.spatial_targets and (mixup or cutmix):
        raise UsageError(
            f"MixUp and CutMix mix the targets of two pictures, which {task.name!r} does not "
            "support: its targets lie on the pictures.",
            hint="Leave --mixup and --cutmix out.",
        )
    if mosaic := strengths.get("mosaic", 0.0):
        if "boxes" not in task.spatial_targets:
            raise UsageError(
                f"mosaic puts four pictures with boxes into one; {task.name!r} has no boxes.",
                hint="Leave --mosaic out.",
            )
        return MosaicMixing(task, mosaic)
    return ImageMixing(task, mixup=mixup, cutmix=cutmix) if mixup or cutmix else None
