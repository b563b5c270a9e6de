"""Pixels of record beyond photos: more than 8 bits, floating point, or any number of channels.

The one decode and the one resize for such images, as `inputs.pixels` is for photos. Needs numpy,
Pillow and tifffile; the stand-alone script embeds its text.

    file bytes -> (H, W, C) as stored -> missing pixels filled -> one resize -> uint8/16, float32

`spec` is a dict with "size", "resize", "interpolation" (see `inputs.pixels`), "channels", "dtype"
(of the record: uint8, uint16, float32), "any_depth" (whether to read files of other types as
float32), "pages" (auto, first, channels) and "limits" ([low, high] per channel to clip float32
records to, or None).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from skipstone.image.decode import compute_boxes, record_shape
from skipstone.image.geometry import affine_to_source
from skipstone.image.picture_file import (
    MAX_PIXELS,
    UnreadableImage,
    convert_parser_errors,
    drop_long_texts,
)
from skipstone.image.tiff import MAX_VALUES, NeedsPackage, read_tiff, read_tiff_layout

#: Most channels of a file: its record has as many, at the size of the model's images.
MAX_CHANNELS = 1024
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_HEAD = b"\x93NUMPY"
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {b"\0": 1, b"\2": 3}  # colour types of the header without alpha: channels
_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
}


@dataclass(frozen=True)
class PixelFormat:
    """Depth and channels of one file's pixels.

    Args:
        dtype: of the record: "uint8", "uint16", or "float32" for all else.
        channels: number of channels, with the pages if the caller counts them as such.
        pages: number of planes that may be channels, if the file does not say; else 1.
        is_photo: whether `inputs.pixels` reads it: 8 bits, grey or colour.
    """

    dtype: str
    channels: int
    pages: int = 1
    is_photo: bool = False

    def __post_init__(self) -> None:
        if self.channels > MAX_CHANNELS:
            raise UnreadableImage(
                "too large",
                f"it has {self.channels:,} channels; up to {MAX_CHANNELS:,} are read",
            )

    def __str__(self) -> str:
        if self.is_photo:
            return "8 bits, grey or colour"
        depth = {"uint8": "8 bits", "uint16": "16 bits", "float32": "32-bit numbers"}[self.dtype]
        return f"{self.channels} channel{'s' * (self.channels > 1)} of {depth}"


def detect_pixel_format(data: bytes | np.ndarray, pages: str = "auto") -> PixelFormat:
    """The kind by the file's header. Raises Unreadable for an invalid one."""
    if isinstance(data, np.ndarray):
        channels = 1 if data.ndim == 2 else data.shape[-1]
        photo = data.dtype == np.uint8 and channels in (1, 3, 4)
        return PixelFormat(_record_type(data.dtype), channels, is_photo=photo)
    if data[:4] in _TIFF_HEADS:
        planes = read_tiff_layout(data)
        channels = planes.channels * (planes.pages if pages == "channels" else 1)
        undecided = planes.pages if pages == "auto" else 1
        photo = planes.is_photo and channels == planes.channels
        return PixelFormat(_record_type(planes.dtype), channels, undecided, photo)
    if data[:6] == _NPY_HEAD:
        array = _read_npy(data)
        return PixelFormat(_record_type(array.dtype), array.shape[2])
    if _is_deep_png(data):
        return PixelFormat("uint16", _PNG_COLOURS[data[25:26]])
    return PixelFormat("uint8", 3, is_photo=True)


def decode_high_depth(data: bytes | np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """A file's bytes, or an array, as the record (size, size, channels) of spec["dtype"].

    Raises:
        Unreadable: not an image of this kind; the message says why.
    """
    return decode_high_depth_with_size(data, spec)[0]


def decode_high_depth_with_size(
    data: bytes | np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """`decode_high_depth`, and the (height, width) of the upright source."""
    with convert_parser_errors():
        stored, missing = _stored(data, spec)
    _require_kind(stored, spec)
    values, medians = _fill_missing(stored, missing)
    record = _deep_record(values, medians, spec)
    if spec["dtype"] != "float32":
        top = np.iinfo(spec["dtype"]).max
        record = np.clip(np.rint(record), 0, top).astype(spec["dtype"])
    elif spec["limits"] is not None:
        low, high = np.asarray(spec["limits"], np.float32).T
        record = np.clip(record, low, high)
    return np.ascontiguousarray(record), (stored.shape[0], stored.shape[1])


def decode_high_depth_with_geometry(
    data: bytes | np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """`decode_high_depth`, and the record's geometry: {"size", "to_source"}."""
    record, size = decode_high_depth_with_size(data, spec)
    return record, {"size": size, "to_source": affine_to_source(size, spec)}


def _record_type(dtype: Any) -> str:
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise UnreadableImage(
            "not read", f"pixels of {dtype} are not read; allowed: integers and floats"
        )
    if dtype.itemsize == 1 and dtype.kind in "bu":
        return "uint8"
    return "uint16" if dtype.kind == "u" and dtype.itemsize == 2 else "float32"


def _is_deep_png(data: bytes) -> bool:
    return data[:8] == _PNG_HEAD and data[24:25] == b"\x10" and data[25:26] in _PNG_COLOURS


def _stored(data: bytes | np.ndarray, spec: dict[str, Any]) -> tuple[np.ndarray, Any]:
    """Upright pixels (H, W, C) in the file's type; and a mask of missing ones, or None."""
    if isinstance(data, np.ndarray):
        return (data[..., None] if data.ndim == 2 else data), None
    if not data:
        raise UnreadableImage("empty", "the file is empty")
    if data[:4] in _TIFF_HEADS:
        return read_tiff(data, spec["pages"])
    if data[:6] == _NPY_HEAD:
        return _read_npy(data), None
    if _is_deep_png(data):
        return _read_deep_png(data), None
    raise UnreadableImage(
        "not read", f"not a TIFF, 16-bit PNG or .npy file with {_kind_of_spec(spec)}"
    )


#: {version: what reads its header}; version 3 is for names of fields, which pixels do not have.
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_npy(data: bytes) -> np.ndarray:
    """(H, W, C) of a file that numpy.save wrote; never unpickles."""
    with convert_parser_errors():
        stream = io.BytesIO(data)
        read_header = _NPY_HEADERS[np.lib.format.read_magic(stream)]
        shape, _, dtype = read_header(stream)
        if math.prod(shape) * dtype.itemsize > len(data):
            stated = " x ".join(map(str, shape))
            raise UnreadableImage("truncated", f"it states {stated} numbers, and ends before")
        stream.seek(0)
        array = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0 or array.size > MAX_VALUES:
        raise UnreadableImage(
            "not a picture",
            f"an array of shape {array.shape} is not a picture; allowed: (height, width) or "
            "(height, width, channels)",
        )
    if array.shape[0] * 2 < min(array.shape[1:]):
        raise UnreadableImage(
            "not read",
            f"an array of shape {array.shape} seems to have its channels first; move them last: "
            "numpy.moveaxis(array, 0, -1)",
        )
    return array


def _read_deep_png(data: bytes) -> np.ndarray:
    """16 bits per channel, grey or RGB; Pillow reduces RGB to 8."""
    image = PngImagePlugin.PngImageFile(io.BytesIO(drop_long_texts(data)))
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(
            "too large", f"{image.width} x {image.height} pixels are too many to read"
        )
    if data[25:26] == b"\0":
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    try:
        import imagecodecs
    except ImportError as error:
        raise NeedsPackage("a colour PNG with 16 bits per channel needs imagecodecs") from error
    array: np.ndarray = imagecodecs.png_decode(data)
    return array


def _kind_of_spec(spec: dict[str, Any]) -> str:
    return str(PixelFormat(spec["dtype"], spec["channels"]))


def _require_kind(stored: np.ndarray, spec: dict[str, Any]) -> None:
    if stored.ndim != 3 or stored.size == 0:
        raise UnreadableImage(
            "not a picture",
            f"an array of shape {stored.shape} is not a picture; allowed: (height, width, "
            "channels)",
        )
    kind = PixelFormat(_record_type(stored.dtype), stored.shape[2])
    has_depth = kind.dtype == spec["dtype"] or spec["any_depth"]
    if kind.channels != spec["channels"] or not has_depth:
        raise UnreadableImage("not read", f"it has {kind}, not {_kind_of_spec(spec)}")


def _fill_missing(
    stored: np.ndarray, missing: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values as float32, and the median of each channel, if it was computed.

    Missing values (NaN, infinite, or the file's "no data") become their channel's median.
    """
    values = stored.astype(np.float32)
    gaps = ~np.isfinite(values) if stored.dtype.kind == "f" else None
    if missing is not None:
        gaps = missing if gaps is None else gaps | missing
    if gaps is None or not gaps.any():
        return values, None
    medians = np.empty(values.shape[2], np.float32)
    for channel in range(values.shape[2]):
        valid = values[..., channel][~gaps[..., channel]]
        if valid.size == 0:
            raise UnreadableImage("damaged", f"channel {channel + 1} has no valid pixel")
        medians[channel] = np.median(valid)
    return np.where(gaps, medians, values), medians


def _deep_record(
    values: np.ndarray, medians: np.ndarray | None, spec: dict[str, Any]
) -> np.ndarray:
    """The one resize, channel by channel: float32 (H, W, C) -> (*canvas, C)."""
    height, width, channels = values.shape
    source, (x0, y0, x1, y1) = compute_boxes(height, width, spec)
    size = (x1 - x0, y1 - y0)
    if source == (0, 0, width, height) and size == (width, height):
        resized = values
    else:
        resized = np.empty((size[1], size[0], channels), np.float32)
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(values[..., channel]))
            plane = plane.resize(size, _RESAMPLING[spec["interpolation"]], box=source)
            resized[..., channel] = np.asarray(plane)
    shape = record_shape(height, width, spec)
    if resized.shape[:2] == shape:
        return resized
    if medians is None:
        medians = np.median(values.reshape(-1, channels), axis=0)
    record = np.tile(np.asarray(medians, np.float32), (*shape, 1))
    record[y0:y1, x0:x1] = resized
    return record
