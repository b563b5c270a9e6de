"""Options of the inputs. Free of torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skipstone.option_types import check_options, whole

Resize = Literal["squash", "crop", "letterbox", "keep"]
Channels = Literal["auto"] | int
Bits = Literal["auto", 8, 32]
Pages = Literal["auto", "first", "channels"]
Normalize = Literal["imagenet", "half", "clip", "fit", "none"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest", "box"]

_MAX_SIZE = 4096
_MAX_CHANNELS = 512


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How a picture file becomes the square record that a network sees.

    Fields marked `later` may change on an input that was fitted: nothing that it learnt is
    otherwise by them.

    Raises:
        UsageError: naming every value that is not allowed.
    """

    size: int = field(
        default=224,
        metadata={
            "help": "side of the square that pictures are resized to, in pixels; for 'keep', the "
            "longest side that is kept as it is",
            "later": True,
        },
    )
    resize: Resize = field(
        default="squash",
        metadata={
            "help": "'squash' stretches the whole picture to the square, 'crop' keeps its centre "
            "square, 'letterbox' fits all of it and fills the rest with grey, 'keep' leaves size "
            "and shape as they are (larger than --size is made smaller)",
            "later": True,
        },
    )
    pad: int = field(
        default=32,
        metadata={
            "help": "for 'keep': both sides are filled up with grey to a multiple of so many "
            "pixels, which networks divide them by",
            "later": True,
        },
    )
    channels: Channels = field(
        default="auto",
        metadata={
            "help": "of photos 1 (grey) or 3 (colour), 'auto' is 1 where all pictures of a sample "
            "of the training data are grey; of other pictures as many as they have, and those "
            "with more or fewer are left out"
        },
    )
    bits: Bits = field(
        default="auto",
        metadata={
            "help": "depth that pictures are read with: 'auto' keeps all that they have, 8 reduces "
            "16 bits to 8, 32 takes files of several depths by their numbers"
        },
    )
    pages: Pages = field(
        default="auto",
        metadata={
            "help": "what the pages of a TIFF are, where it does not say so itself: 'channels' of "
            "one picture, or the 'first' is the picture"
        },
    )
    normalize: Normalize = field(
        default="imagenet",
        metadata={
            "help": "mean and standard deviation that pixels are scaled by: those the pretrained "
            "weights were made with ('imagenet', 'half' = 0.5 and 0.5, 'clip'), 'fit' measures "
            "them on the training data, 'none' gives pixels in 0..1"
        },
    )
    interpolation: Interpolation = field(
        default="bilinear",
        metadata={
            "help": "filter of the one resize; all but 'nearest' are antialiased",
            "later": True,
        },
    )

    def __post_init__(self) -> None:
        problems = []
        if self.channels != "auto" and not whole(1, _MAX_CHANNELS).holds(self.channels):
            problems.append(
                f"channels is {self.channels!r}; allowed: 'auto', or 1 to {_MAX_CHANNELS}"
            )
        check_options(self, problems, size=whole(1, _MAX_SIZE), pad=whole(1, 256))
