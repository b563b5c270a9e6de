"""Options of the heads. Free of torch, so that `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import PROBABILITY, CheckedOptions, Range, int_range, option

FcnStride = Literal[8, 16, 32]
FinestStride = Literal[4, 8, 16]


_DROPOUT_HELP = "probability of dropping one of the head's features while training"
_HIDDEN_HELP = "units of each hidden layer that classifies a region"
_PYRAMID_HELP = "channels of each map of the detector's pyramid"


@dataclass(frozen=True, kw_only=True)
class HeadChoice:
    """The choice of head."""

    head: str = option(
        "auto",
        help="auto: the task's default; or a name, where the task has a choice. For masks: "
        "lraspp, fcn, unet, segnet, deeplabv3, deeplabv3plus. For boxes: pyramid, yolo, ssd, "
        "faster-rcnn, fast-rcnn",
    )


@dataclass(frozen=True, kw_only=True)
class LinearOptions(CheckedOptions):
    """Average the deepest feature map, then one linear layer."""

    dropout: float = option(0.0, range=PROBABILITY, help=_DROPOUT_HELP)


@dataclass(frozen=True, kw_only=True)
class FcnOptions(CheckedOptions):
    """FCN-32s, 16s or 8s."""

    fcn_stride: FcnStride = option(
        8, help="stride of the finest map that is classified: FCN-8s, 16s, 32s"
    )
    dropout: float = option(0.1, range=PROBABILITY, help=_DROPOUT_HELP)


@dataclass(frozen=True, kw_only=True)
class LrasppOptions(CheckedOptions):
    """LR-ASPP."""

    lraspp_channels: int = option(
        128, range=int_range(1), help="channels of LR-ASPP's two branches on the deepest map"
    )


@dataclass(frozen=True, kw_only=True)
class UNetOptions(CheckedOptions):
    """U-Net."""

    decoder_channels: tuple[int, ...] = option(
        (256, 128, 64, 32, 16),
        range=int_range(1),
        help="channels of U-Net's steps, deepest first",
    )


@dataclass(frozen=True, kw_only=True)
class SegNetOptions:
    """SegNet's decoder, which mirrors its encoder and has no options."""


@dataclass(frozen=True, kw_only=True)
class DeepLabOptions(CheckedOptions):
    """DeepLab v3 and v3+."""

    aspp_channels: int = option(
        256, range=int_range(1), help="channels of each branch of DeepLab's pyramid"
    )
    atrous_rates: tuple[int, ...] = option(
        (),
        range=int_range(1),
        help="dilation rates of DeepLab's branches, in pixels of the deepest map; default 6,12,18 "
        "at stride 16, others in proportion",
    )
    dropout: float = option(0.5, range=PROBABILITY, help=_DROPOUT_HELP)


@dataclass(frozen=True, kw_only=True)
class BranchOptions(CheckedOptions):
    """Detectors with a pyramid, and branches for scores and boxes on each of its maps."""

    pyramid_channels: int = option(128, range=int_range(8), help=_PYRAMID_HELP)
    branch_layers: int = option(
        2, range=int_range(0, 8), help="convolutions before the scores, and before the boxes"
    )


@dataclass(frozen=True, kw_only=True)
class PyramidOptions(BranchOptions):
    """The default detector."""

    distance_bins: int = option(
        16,
        range=int_range(2, 64),
        help="whole numbers over which a box's distances are distributed, in strides",
    )


@dataclass(frozen=True, kw_only=True)
class YoloOptions(BranchOptions):
    """YOLO."""

    csp_layers: int = option(
        1, range=int_range(0, 8), help="residual layers of each block that joins two of YOLO's maps"
    )


@dataclass(frozen=True, kw_only=True)
class SsdOptions(CheckedOptions):
    """SSD."""

    ssd_maps: int = option(
        6,
        range=int_range(1, 8),
        help="maps with default boxes, each half as large as the one before",
    )
    ssd_ratios: tuple[float, ...] = option(
        (2.0, 3.0),
        range=Range(1, open_low=True),
        help="ratios of the sides of default boxes, next to squares",
    )


@dataclass(frozen=True, kw_only=True)
class FastRcnnOptions(CheckedOptions):
    """Fast R-CNN."""

    region_channels: int = option(
        128, range=int_range(1), help="channels of the map that regions are pooled from"
    )
    region_hidden: int = option(256, range=int_range(1), help=_HIDDEN_HELP)


@dataclass(frozen=True, kw_only=True)
class FasterRcnnOptions(CheckedOptions):
    """Faster R-CNN. torchvision's has 256 channels, 1024 hidden units, stride 4, an anchor scale of 8
    and 1000 regions."""

    pyramid_channels: int = option(128, range=int_range(8), help=_PYRAMID_HELP)
    region_hidden: int = option(256, range=int_range(1), help=_HIDDEN_HELP)
    max_regions: int = option(
        300, range=int_range(1, 2000), help="most regions of a photo that are classified"
    )
    finest_stride: FinestStride = option(
        8, help="stride of the finest map of the pyramid; 4 finds smaller objects, and costs more"
    )
    anchor_scale: float = option(
        4.0, range=Range(0, open_low=True), help="side of a map's anchors, in its strides"
    )
    anchor_ratios: tuple[float, ...] = option(
        (0.5, 1.0, 2.0),
        range=Range(0, open_low=True),
        help="ratios of height to width of anchors",
    )
