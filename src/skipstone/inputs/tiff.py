"""TIFF of any depth and number of channels as one array, by tifffile.

Needs numpy, Pillow and tifffile (and imagecodecs where a file is packed in a way that tifffile does
not unpack itself, such as LZW). The text of this file is also embedded in the stand-alone script.

A TIFF may hold many planes. Which of them are channels of one picture is decided by what the file
says of itself (OME, ImageJ, samples of a pixel); where it only has pages, whoever reads it has to
say what they are: "channels", or the "first" is the picture.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.inputs.picture_file import Unreadable, plain_words

#: Numbers in a file (pixels times channels times pages) that are held in memory at most.
MAX_VALUES = 400_000_000

_PLANE = "YX"
_CHANNELS = "CS"  # OME's and ImageJ's channels; samples of a pixel
_AXES = {"Z": "depths", "T": "points in time", "I": "pages", "Q": "pages"}
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha
_SEPARATED = 5  # PhotometricInterpretation: CMYK


class NeedsPackage(Unreadable):
    """A file that only an optional package can unpack."""

    def __init__(self, message: str) -> None:
        super().__init__("not read", f"{message}: pip install 'skipstone[tiff]'")


@dataclass(frozen=True)
class TiffPlanes:
    """What a TIFF holds, before any pixel is read.

    Args:
        axes, shape: of all that is read, such as "CYX", (5, 512, 512).
        channels: of the picture, where pages count as channels; `pages` of them otherwise.
        pages: how many planes there are beside the channels; 1 where there is nothing to decide.
        page_axis: what the file calls them.
        photo: whether it is a picture in 8 bits, grey or colour, that Pillow reads.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    pages: int
    page_axis: str
    photo: bool


def look_at_tiff(data: bytes) -> TiffPlanes:
    """What the file holds, by its tags. Unreadable where they cannot be read."""
    with plain_words(), _opened(data) as file:
        return _planes(file)


def read_tiff(data: bytes, pages: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture (H, W, C) in the file's own type, upright; and which pixels are missing.

    Args:
        pages: "auto", "first" or "channels".

    Returns:
        The array, and a mask of the same shape (the file's own value for "no data"), or None.

    Raises:
        NeedsPackage: the file's compression needs imagecodecs.
        Unreadable: damaged, cut short, too large, or pages that may be channels or not.
    """
    with plain_words(), _opened(data) as file:
        planes = _planes(file)
        values = int(np.prod(planes.shape))
        if values > MAX_VALUES:
            raise Unreadable(
                "too large",
                f"{' x '.join(map(str, planes.shape))} numbers are more than the "
                f"{MAX_VALUES // 1_000_000} million that are read from a TIFF file",
            )
        if planes.pages > 1 and pages == "auto":
            raise Unreadable("not read", _ambiguous(planes))
        first = file.pages[0]
        _require_whole(file, len(data))
        try:
            array = np.asarray(_stacked(file, planes))
        except Exception as error:
            if "requires the 'imagecodecs'" in str(error):
                raise NeedsPackage(
                    f"its compression ({first.compression.name}) needs imagecodecs"
                ) from error
            raise
        picture = _channels_last(array, planes, pages)
        nodata = first.tags.get(42113)  # GDAL_NODATA; tifffile's own `nodata` is 0 where unsaid
        missing = None
        if nodata is not None:
            try:
                missing = picture == np.float64(str(nodata.value).strip(" \0"))
            except ValueError:
                missing = None  # not a number: NaN is missing anyway
        turn = first.tags.get(274)
        return _turned(picture, missing, 1 if turn is None else int(turn.value))


def _opened(data: bytes) -> Any:
    import tifffile

    # It logs what it finds odd in a file; what matters is raised.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # `_multifile`: an OME file may name others, which nobody handed over.
    return tifffile.TiffFile(io.BytesIO(data), _multifile=False)


def _planes(file: Any) -> TiffPlanes:
    series = file.series[0]
    first = file.pages[0]
    axes, shape = str(series.axes), tuple(int(side) for side in series.shape)
    alike = [s for s in file.series if s.shape == series.shape and s.dtype == series.dtype]
    if len(alike) > 1:  # pages that were written one by one
        axes, shape = f"I{axes}", (len(alike), *shape)
    channels, pages, page_axis = 1, 1, ""
    for axis, side in zip(axes, shape, strict=True):
        if axis in _CHANNELS:
            channels *= side
        elif axis not in _PLANE:
            pages *= side
            page_axis = page_axis or (axis if side > 1 else "")
    samples = int(first.samplesperpixel)
    alpha = any(int(extra) in _ALPHA for extra in first.extrasamples)
    seen = samples - alpha
    eight = np.dtype(series.dtype) in (np.dtype(np.uint8), np.dtype(bool))
    photo = eight and channels == samples and (seen in (1, 3) or first.photometric == _SEPARATED)
    return TiffPlanes(axes, shape, np.dtype(series.dtype), channels, pages, page_axis, bool(photo))


def _ambiguous(planes: TiffPlanes) -> str:
    what = _AXES.get(planes.page_axis, f"planes along {planes.page_axis}")
    return f"it has {planes.pages} {what}, and nothing says whether they are channels"


def _require_whole(file: Any, length: int) -> None:
    """tifffile reads what lies behind the end of a file as zeros or not at all."""
    for page in file.pages:
        page = page.aspage()
        ends = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > length for offset, count in ends):
            raise Unreadable("truncated", "it is cut short: pixels lie behind its end")


def _stacked(file: Any, planes: TiffPlanes) -> Any:
    series = file.series[0]
    if len(planes.axes) == len(series.axes):
        return series.asarray()
    alike = [s for s in file.series if s.shape == series.shape and s.dtype == series.dtype]
    return np.stack([one.asarray() for one in alike])


def _channels_last(array: np.ndarray, planes: TiffPlanes, pages: str) -> np.ndarray:
    """(..., H, W, ...) -> (H, W, C): pages first, then channels, then samples of a pixel."""
    array = array.reshape(planes.shape)
    axes = planes.axes
    if pages == "first":
        for place, axis in reversed(list(enumerate(axes))):
            if axis not in _CHANNELS and axis not in _PLANE:
                array = np.take(array, 0, axis=place)
                axes = axes[:place] + axes[place + 1 :]
    order = [axes.index("Y"), axes.index("X")]
    order += [place for place, axis in enumerate(axes) if axis not in _PLANE + _CHANNELS]
    order += [place for axis in _CHANNELS for place, own in enumerate(axes) if own == axis]
    array = array.transpose(order)
    return array.reshape(*array.shape[:2], -1)


def _turned(
    picture: np.ndarray, missing: np.ndarray | None, turn: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """As the tag Orientation says (TIFF 6.0, page 36)."""
    both = [picture] if missing is None else [picture, missing]
    if turn in (5, 6, 7, 8):
        both = [one.transpose(1, 0, 2) for one in both]
    if turn in (2, 3, 6, 7):
        both = [one[:, ::-1] for one in both]
    if turn in (3, 4, 7, 8):
        both = [one[::-1] for one in both]
    return both[0], (both[1] if len(both) > 1 else None)
