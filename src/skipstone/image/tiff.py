"""Read a TIFF of any depth and number of channels as one array, with tifffile.

Needs numpy, Pillow and tifffile (and imagecodecs for compressions that tifffile lacks, such as
LZW). The stand-alone script embeds the text of this file.

A TIFF may hold many planes. The file's metadata (OME, ImageJ, samples per pixel) say which of them
are channels of one image. If it only has pages, the caller decides: they are "channels", or the
"first" one is the image.
"""

from __future__ import annotations

import io
import logging
import lzma
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.image.picture_file import UnreadableImage, convert_parser_errors

#: Largest number of values (pixels times channels times pages) that are read.
MAX_VALUES = 400_000_000
#: Most directories of a file: each takes time, and 114 bytes.
MAX_PAGES = 10_000

_PLANE = "YX"
_CHANNELS = "CS"  # OME's and ImageJ's channels; samples of a pixel
_AXES = {"Z": "depths", "T": "points in time", "I": "pages", "Q": "pages"}
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha
_SEPARATED = 5  # PhotometricInterpretation: CMYK


class NeedsPackage(UnreadableImage):
    """A file that needs an optional package to decompress."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "not read", f"{message}: in skipstone's source folder, pip install '.[tiff]'"
        )


@dataclass(frozen=True)
class TiffLayout:
    """The layout of a TIFF, by its header.

    Args:
        axes, shape: of the array, such as "CYX", (5, 512, 512).
        channels: number of channels of one page.
        pages: number of planes that the file does not call channels; 1 if none is ambiguous.
        page_axis: the file's name of their axis.
        is_photo: whether it is an image of 8 bits, grey or colour, that Pillow reads.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels: int
    pages: int
    page_axis: str
    is_photo: bool


def read_tiff_layout(data: bytes) -> TiffLayout:
    """The layout by the file's tags. Raises Unreadable for invalid ones."""
    with convert_parser_errors(), _opened(data) as file:
        return _planes(file)


def read_tiff(data: bytes, pages: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The upright image (H, W, C) in the file's type, and its missing pixels.

    Args:
        pages: "auto", "first" or "channels".

    Returns:
        The array, and a mask of the same shape (by the file's value for "no data"), or None.

    Raises:
        NeedsPackage: the file's compression needs imagecodecs.
        Unreadable: damaged, truncated, too large, or with pages that may be channels or not.
    """
    with convert_parser_errors(), _opened(data) as file:
        planes = _planes(file)
        values = int(np.prod(planes.shape))
        if values > MAX_VALUES:
            raise UnreadableImage(
                "too large",
                f"{' x '.join(map(str, planes.shape))} numbers are more than the "
                f"{MAX_VALUES // 1_000_000} million that are read from a TIFF file",
            )
        if planes.pages > 1 and pages == "auto":
            raise UnreadableImage("not read", _ambiguous(planes))
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
        nodata = first.tags.get(42113)  # GDAL_NODATA; tifffile's `nodata` is 0 without the tag
        missing = None
        if nodata is not None:
            try:
                missing = picture == np.float64(str(nodata.value).strip(" \0"))
            except ValueError:
                missing = None  # not a number; NaN counts as missing anyway
        orientation = first.tags.get(274)
        orientation = 1 if orientation is None else int(orientation.value)
        return _apply_orientation(picture, missing, orientation)


def _opened(data: bytes) -> Any:
    import tifffile

    # It logs oddities of a file, and raises errors.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # `_multifile`: an OME file may refer to others, which must not be read.
    return tifffile.TiffFile(io.BytesIO(data), _multifile=False)


def _planes(file: Any) -> TiffLayout:
    first = file.pages[0]
    if len(file.pages) > MAX_PAGES:
        raise UnreadableImage("too large", f"it has more than {MAX_PAGES:,} pages")
    series = file.series[0]
    axes, shape = str(series.axes), tuple(int(side) for side in series.shape)
    alike = [s for s in file.series if s.shape == series.shape and s.dtype == series.dtype]
    if len(alike) > 1:  # pages written one by one
        axes, shape = f"I{axes}", (len(alike), *shape)
    channels, pages, page_axis = 1, 1, ""
    for axis, side in zip(axes, shape, strict=True):
        if axis in _CHANNELS:
            channels *= side
        elif axis not in _PLANE:
            pages *= side
            page_axis = page_axis or (axis if side > 1 else "")
    held = sum(int(page.aspage().size) for page in file.pages)
    held = max(held, file.filehandle.size // np.dtype(series.dtype).itemsize)  # one long page
    if math.prod(shape) > held:  # OME, ImageJ and other texts state what they like
        stated = " x ".join(map(str, shape))
        raise UnreadableImage("damaged", f"it states {stated} numbers, and holds {held:,}")
    samples = int(first.samplesperpixel)
    alpha = any(int(extra) in _ALPHA for extra in first.extrasamples)
    colours = samples - alpha
    is_8_bit = np.dtype(series.dtype) in (np.dtype(np.uint8), np.dtype(bool))
    has_colours = colours in (1, 3) or first.photometric == _SEPARATED
    photo = is_8_bit and channels == samples and has_colours
    return TiffLayout(axes, shape, np.dtype(series.dtype), channels, pages, page_axis, bool(photo))


def _ambiguous(planes: TiffLayout) -> str:
    what = _AXES.get(planes.page_axis, f"planes along {planes.page_axis}")
    return f"it has {planes.pages} {what}, and nothing says whether they are channels"


def _require_whole(file: Any, length: int) -> None:
    """Raises Unreadable for a truncated file, whose missing pixels tifffile reads as zeros, and for
    coded pixels that grow to more than the page has: tifffile itself does not limit Deflate and LZMA.
    """
    for page in file.pages:
        page = page.aspage()
        unpack = _UNPACKERS.get(int(page.compression))
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if offset + count > length:
                raise UnreadableImage("truncated", "it is truncated: pixels lie beyond its end")
            most = 2 * page.nbytes + 65_536
            if unpack is None or count * _GROWTH <= most:
                continue
            file.filehandle.seek(offset)
            if len(unpack(file.filehandle.read(count), most + 1)) > most:
                raise UnreadableImage("damaged", "its coded pixels grow to more than it states")


def _unpack_deflate(data: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(data, most)


def _unpack_lzma(data: bytes, most: int) -> bytes:
    return lzma.LZMADecompressor().decompress(data, most)


#: By TIFF's number of the compression. One byte grows at most to about so many of Deflate.
_UNPACKERS = {8: _unpack_deflate, 32946: _unpack_deflate, 34925: _unpack_lzma}
_GROWTH = 1032


def _stacked(file: Any, planes: TiffLayout) -> Any:
    series = file.series[0]
    if len(planes.axes) == len(series.axes):
        return series.asarray()
    alike = [s for s in file.series if s.shape == series.shape and s.dtype == series.dtype]
    return np.stack([one.asarray() for one in alike])


def _channels_last(array: np.ndarray, planes: TiffLayout, pages: str) -> np.ndarray:
    """(..., H, W, ...) -> (H, W, C): pages first, then channels, then samples per pixel."""
    array = array.reshape(planes.shape)
    axes = planes.axes
    if pages == "first":
        for place, axis in reversed(list(enumerate(axes))):
            if axis not in _CHANNELS and axis not in _PLANE:
                array = np.take(array, 0, axis=place)
                axes = axes[:place] + axes[place + 1 :]
    order = [axes.index("Y"), axes.index("X")]
    order += [place for place, axis in enumerate(axes) if axis not in _PLANE + _CHANNELS]
    order += [place for axis in _CHANNELS for place, name in enumerate(axes) if name == axis]
    array = array.transpose(order)
    return array.reshape(*array.shape[:2], -1)


def _apply_orientation(
    picture: np.ndarray, missing: np.ndarray | None, orientation: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make upright by the tag Orientation (TIFF 6.0, page 36)."""
    arrays = [picture] if missing is None else [picture, missing]
    if orientation in (5, 6, 7, 8):
        arrays = [array.transpose(1, 0, 2) for array in arrays]
    if orientation in (2, 3, 6, 7):
        arrays = [array[:, ::-1] for array in arrays]
    if orientation in (3, 4, 7, 8):
        arrays = [array[::-1] for array in arrays]
    return arrays[0], (arrays[1] if len(arrays) > 1 else None)
