"""SSD: default boxes on several maps (Liu et al. 2016, arXiv:1512.02325).

Each place of each map has default boxes of a few shapes. A 3x3 convolution gives, for each of them,
a class (or background) and how it moves to the object. Maps come from the backbone, then from
convolutions of stride 2, so that each map has boxes of its own size.

    sizes        linear from 0.15 of the image on the first map to 0.9 on the last
    shapes       1, a larger 1, and each ratio and its inverse; where the training part has enough
                 boxes of a map's size, clusters of them (k-means with 1 - IoU as distance, Redmon &
                 Farhadi 2017, arXiv:1612.08242, section 2)
    training     a default box answers for the object that it overlaps by 0.5 or most; softmax over
                 classes with the three hardest backgrounds for each object, and smooth L1

Names of parameters, default boxes and losses are torchvision's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from skipstone.core.errors import UsageError
from skipstone.models.box_offsets import clip_boxes, decode_offsets, encode_offsets, pair_positions
from skipstone.models.heads.base import Head
from skipstone.models.heads.dense import conv_norm_relu, deep_map_indices
from skipstone.models.heads.options import SsdOptions
from skipstone.models.losses import Criterion, Outputs, Targets

#: Scale of the first and of the last map, as shares of the image, and of what follows the last.
SCALES, LAST_SCALE = (0.15, 0.9), 1.0
#: Overlap from which a default box answers for an object.
MATCH_IOU = 0.5
#: Backgrounds that are trained for each default box with an object.
NEGATIVES = 3


class ScoringLayers(nn.Module):
    """A convolution per map; (N, places, columns) of all maps."""

    def __init__(self, channels: Sequence[int], counts: Sequence[int], columns: int) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(
            nn.Conv2d(width, columns * count, 3, padding=1)
            for width, count in zip(channels, counts, strict=True)
        )
        self.columns = columns

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = []
        for layer, feature in zip(self.module_list, maps, strict=True):
            values = layer(feature)  # (N, count * columns, H, W)
            parts.append(values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, self.columns))
        return torch.cat(parts, dim=1)


class SsdHead(Head):
    """{"boxes": (N, A, 4) in pixels of the input, "scores": (N, A, K) in 0..1}, float32.

    Args:
        options: number of maps, and the ratios of default boxes.
        channels: of the backbone's feature maps; the last three of stride 8 or more are used.
        strides: of the backbone's feature maps.
        classes: K.
        shapes: (width, height) of the default boxes of each map, as shares of the image
            (`fit_default_shapes`); None: those of `default_shapes`.

    Raises:
        UsageError: shapes of another number than `default_shapes` has, or not in 0..1.
    """

    def __init__(
        self,
        options: SsdOptions,
        *,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        classes: int,
        shapes: Sequence[Sequence[Sequence[float]]] | None = None,
    ) -> None:
        super().__init__()
        self.used = deep_map_indices(strides, min(3, options.ssd_maps))
        widths = [channels[index] for index in self.used]
        layers = []
        while len(widths) < options.ssd_maps:
            width = max(128, min(512, widths[-1] // 2))
            squeeze = conv_norm_relu(widths[-1], width // 2, 1)
            layers.append(nn.Sequential(*squeeze, *conv_norm_relu(width // 2, width, 3, stride=2)))
            widths.append(width)
        self.extra = nn.ModuleList(layers)
        self.shapes = default_shapes(len(widths), options.ssd_ratios)
        if shapes is not None:
            self.shapes = _read_shapes(shapes, self.shapes)
        counts = [len(shapes) for shapes in self.shapes]
        self.classification_head = ScoringLayers(widths, counts, classes + 1)
        self.regression_head = ScoringLayers(widths, counts, 4)

    def forward(self, features: tuple[Tensor, ...], size: Sequence[int]) -> dict[str, Tensor]:
        raw = self.training_outputs(features, size)
        boxes = decode_offsets(raw["offsets"].float(), raw["anchors"])
        return {
            "boxes": clip_boxes(boxes, size),
            "scores": raw["logits"].float().softmax(dim=-1)[..., 1:],
        }

    def training_outputs(
        self, features: tuple[Tensor, ...], size: Sequence[int]
    ) -> dict[str, Tensor]:
        maps = [features[index] for index in self.used]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        return {
            "logits": self.classification_head(maps),
            "offsets": self.regression_head(maps),
            "anchors": make_default_boxes(maps, self.shapes, size),
        }

    def criterion(self) -> Criterion:
        return SsdCriterion()


def default_shapes(maps: int, ratios: Sequence[float]) -> list[list[tuple[float, float]]]:
    """(width, height) of the default boxes of each map, as shares of the image."""
    low, high = SCALES
    scales = [low + (high - low) * level / max(maps - 1, 1) for level in range(maps)]
    shapes = []
    for scale, following in itertools.pairwise([*scales, LAST_SCALE]):
        between = math.sqrt(scale * following)
        level = [(scale, scale), (between, between)]
        for ratio in ratios:
            wide, high_ = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            level += [(wide, high_), (high_, wide)]
        shapes.append([(min(w, 1.0), min(h, 1.0)) for w, h in level])
    return shapes


def fit_default_shapes(options: SsdOptions, sides: np.ndarray) -> dict[str, Any]:
    """{"shapes": of `SsdHead`} for boxes whose sides, as shares of the image, are (n, 2).

    A box belongs to the map whose size is closest to its own. A map with fewer different boxes than
    shapes keeps `default_shapes`.
    """
    shapes = default_shapes(options.ssd_maps, options.ssd_ratios)
    sides = np.clip(sides, 1e-3, 1.0)
    sizes = np.log([level[0][0] for level in shapes])
    level = np.abs(np.log(sides).mean(axis=1)[:, None] - sizes).argmin(axis=1)
    return {
        "shapes": [
            cluster_sides(own, len(usual)).round(4).tolist()
            if len(np.unique(own := sides[level == number], axis=0)) >= len(usual)
            else [list(shape) for shape in usual]
            for number, usual in enumerate(shapes)
        ]
    }


def cluster_sides(sides: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) centres of sides (n, 2), of which at least `count` differ; smallest area first.

    K-means with 1 - IoU of boxes of the same middle as distance, from the centres of k-means on
    logarithms.
    """
    from sklearn.cluster import KMeans

    start = KMeans(count, n_init=4, random_state=0).fit(np.log(sides))
    centres = np.exp(start.cluster_centers_)
    for _ in range(100):
        common = np.minimum(sides[:, None], centres[None]).prod(axis=2)
        union = sides.prod(axis=1)[:, None] + centres.prod(axis=1)[None] - common
        owner = (common / union).argmax(axis=1)
        before = centres
        centres = np.array(
            [
                sides[owner == number].mean(axis=0) if (owner == number).any() else centre
                for number, centre in enumerate(before)
            ]
        )
        if np.array_equal(before, centres):
            break
    return np.asarray(centres[np.argsort(centres.prod(axis=1), kind="stable")])


def _read_shapes(
    shapes: Sequence[Sequence[Sequence[float]]], usual: list[list[tuple[float, float]]]
) -> list[list[tuple[float, float]]]:
    try:
        read = [[(float(w), float(h)) for w, h in level] for level in shapes]
    except (TypeError, ValueError):
        read = []
    if [len(level) for level in read] != [len(level) for level in usual] or not all(
        0 < side <= 1 for level in read for shape in level for side in shape
    ):
        raise UsageError(
            f"the default boxes {shapes!r:.80} do not fit --ssd-maps and --ssd-ratios: allowed are "
            f"{len(usual)} lists of {len(usual[0])} pairs (width, height) in 0..1."
        )
    return read


def make_default_boxes(
    maps: Sequence[Tensor], shapes: Sequence[Sequence[tuple[float, float]]], size: Sequence[int]
) -> Tensor:
    """(A, 4) float32 in pixels: of each map, of each place, of each shape."""
    parts = []
    for feature, level in zip(maps, shapes, strict=True):
        height, width = feature.shape[-2:]
        y = (torch.arange(height, dtype=torch.float32, device=feature.device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=feature.device) + 0.5) / width
        middle = pair_positions(x, y)[:, None]  # (H W, 1, 2)
        half = torch.tensor(level, dtype=torch.float32, device=feature.device) / 2
        parts.append(torch.cat([middle - half, middle + half], dim=2).reshape(-1, 4))
    scale = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)
    return torch.cat(parts) * scale.to(parts[0].device)


@torch.no_grad()
def match_default_boxes(anchors: Tensor, objects: Tensor) -> Tensor:
    """The object (A,) that each default box answers for, -1 for none: the one of greatest overlap
    from MATCH_IOU on, and for each object at least its best default box."""
    overlap = box_iou(objects, anchors)  # (m, A)
    best, owner = overlap.amax(dim=0), overlap.argmax(dim=0)
    owner = torch.where(best < MATCH_IOU, -1, owner)
    owner[overlap.max(dim=1).indices] = torch.arange(len(objects), device=objects.device)
    return owner


class SsdCriterion(Criterion):
    """Softmax with the hardest backgrounds, and smooth L1 of offsets.

    Outputs {"logits": (N, A, K + 1), "offsets": (N, A, 4), "anchors": (A, 4)}; default boxes on
    ignored objects are not trained as background.
    """

    def forward(self, outputs: Outputs, y: Targets) -> dict[str, Tensor]:
        logits, offsets = outputs["logits"].float(), outputs["offsets"].float()
        anchors = outputs["anchors"]
        score, box = logits.sum() * 0.0, offsets.sum() * 0.0
        for row, (all_objects, labels, ignored) in enumerate(
            zip(y["boxes"], y["labels"], y["ignored"], strict=True)
        ):
            objects = all_objects.as_subclass(Tensor).float()
            usable = ((objects[:, 2:] - objects[:, :2]).amin(dim=1) > 0) & ~ignored
            target = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
            if bool(usable.any()):
                owner = match_default_boxes(anchors, objects[usable])
                rows = (owner >= 0).nonzero()[:, 0]
                target[rows] = labels[usable][owner[rows]] + 1
                wanted = encode_offsets(objects[usable][owner[rows]], anchors[rows])
                box = box + F.smooth_l1_loss(offsets[row, rows], wanted, reduction="sum")
            entropy = F.cross_entropy(logits[row], target, reduction="none")
            is_object = target > 0
            negative = entropy.detach().clone()
            negative[is_object] = -torch.inf
            if bool(ignored.any()):
                near = box_iou(anchors, objects[ignored]).amax(dim=1) > 0
                negative[near] = -torch.inf
            count = min(NEGATIVES * int(is_object.sum()), int(torch.isfinite(negative).sum()))
            hardest = negative.topk(count).indices
            score = score + entropy[is_object].sum() + entropy[hardest].sum()
        return {"score": score, "box": box}

    def weight(self, y: Targets) -> Tensor:
        """Objects, and 1 for a photo without any; times the default boxes that answer for one."""
        counts = [max(1, len(boxes)) for boxes in y["boxes"]]
        return torch.tensor(4.0 * sum(counts), device=y["boxes"][0].device)
