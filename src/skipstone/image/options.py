"""Options of the inputs. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skipstone.core.options import CheckedOptions, Range, int_range, option

Resize = Literal["squash", "crop", "letterbox", "keep"]
Channels = Literal["auto"] | int
Bits = Literal["auto", 8, 32]
Pages = Literal["auto", "first", "channels"]
Normalize = Literal["imagenet", "half", "clip", "fit", "none"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest", "box"]

_MAX_SIZE = 4096
_MAX_CHANNELS = 512


@dataclass(frozen=True, kw_only=True)
class ImageOptions(CheckedOptions):
    """How an image file becomes the record that a network gets.

    Fields marked `later` do not affect fitting, so they may change on a fitted input."""

    size: int = option(
        224,
        range=int_range(1, _MAX_SIZE),
        keeps_fit=True,
        help="side of the square that pictures are resized to, in pixels; for 'keep', the longest "
        "side that is not reduced",
    )
    resize: Resize = option(
        "squash",
        keeps_fit=True,
        help="'squash' stretches the picture to the square, 'crop' takes its centre square, "
        "'letterbox' fits it in and pads with grey, 'keep' leaves size and shape as they are (and "
        "reduces what is larger than --size)",
    )
    crop_share: float = option(
        1.0,
        range=Range(0, 1, open_low=True),
        keeps_fit=True,
        requires={"resize": "crop"},
        help="for 'crop': the side of the centre square, as a share of the picture's shorter side "
        "(0.875 for most networks pretrained on ImageNet; timm's crop_pct)",
    )
    pad: int = option(
        32,
        range=int_range(1, 256),
        keeps_fit=True,
        help="for 'keep': both sides are padded with grey to a multiple of this, the network's "
        "stride",
    )
    channels: Channels = option(
        "auto",
        range=int_range(1, _MAX_CHANNELS),
        help="photos have 1 (grey) or 3 (colour), 'auto' is 1 if all of a sample of the training "
        "data are grey; other pictures have their own number, and those with another one are left "
        "out",
    )
    bits: Bits = option(
        "auto",
        help="depth of the pixels: 'auto' keeps the files' depth, 8 reduces 16 bits to 8, 32 "
        "reads files of different depths as floats without scaling",
    )
    pages: Pages = option(
        "auto",
        help="pages of a TIFF that does not say what they are: 'channels' of one picture, or the "
        "'first' one is the picture",
    )
    normalize: Normalize = option(
        "imagenet",
        help="mean and standard deviation to normalise pixels with: those of the pretrained "
        "weights ('imagenet', 'half' = 0.5 and 0.5, 'clip'), 'fit' measures them on the training "
        "data, 'none' gives pixels in 0..1",
    )
    regions: int = option(
        0,
        range=int_range(0, 5000),
        keeps_fit=True,
        help="regions of each picture, found by selective search, that a network gets as well; for "
        "--head fast-rcnn, which has 1000 by default",
    )
    interpolation: Interpolation = option(
        "bilinear",
        keeps_fit=True,
        help="filter of the one resize; all but 'nearest' are antialiased",
    )
