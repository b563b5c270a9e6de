"""Open an image file: choose the decoder by its first bytes, and check limits before decoding.

Needs Pillow only (and pillow-heif for HEIC). The stand-alone script embeds the text of this file.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import Any

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

# Pillow's own limit applies to Image.open and is global to the process. Plugins are opened directly
# here, so these limits apply. A JPEG is decoded at a fraction of its size and may be larger; for a
# progressive one the decoder holds all coefficients, up to 6 bytes per pixel; other formats are
# decoded whole, up to 4 bytes per pixel.
MAX_JPEG_PIXELS = 1_000_000_000
MAX_PROGRESSIVE_PIXELS = 300_000_000
MAX_PIXELS = 200_000_000
# Pillow decodes these in Python: slowly, and with several copies of the pixels.
MAX_SLOW_PIXELS = 16_000_000
_SLOW_DECODERS = ("bmp_rle", "ppm", "ppm_plain")
# Pixels times scans of a JPEG: an empty scan has a few bytes, and visits every pixel.
MAX_SCANNED_PIXELS = 3_000_000_000


class UnreadableImage(ValueError):
    """Not a readable image; the message gives the reason in plain words.

    Args:
        kind: "empty", "not a picture", "not read" (an unsupported format), "too large",
            "truncated" or "damaged".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class convert_parser_errors:  # noqa: N801 - reads as a statement
    """Turns any exception of a parser into `UnreadableImage`.

    For damaged files parsers raise OSError, SyntaxError, struct.error, IndexError, zlib.error, ...,
    which all mean the same to the user.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MemoryError):
            message = "the picture needs more memory than there is"
            raise UnreadableImage("too large", message) from error
        if isinstance(error, Exception) and not isinstance(error, UnreadableImage):
            text = str(error).replace("\n", " ")
            cut = any(word in text.lower() for word in ("truncated", "broken data stream", "eof"))
            message = f"the picture is damaged or cut short ({text or type(error).__name__})"
            raise UnreadableImage("truncated" if cut else "damaged", message) from error


def open_image(data: bytes) -> Any:
    """A Pillow image of which only the header (format, size, mode) has been read.

    Raises:
        Unreadable: not an image, or one that would take too much memory.
    """
    with convert_parser_errors():
        image = _open(bytes(data))
        width, height = image.size
        limit = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS
        if "progressive" in image.info:
            limit = MAX_PROGRESSIVE_PIXELS
        if image.tile and image.tile[0][0] in _SLOW_DECODERS:
            limit = MAX_SLOW_PIXELS
        if width * height > limit:
            raise UnreadableImage(
                "too large",
                f"{width} x {height} pixels are more than the {limit // 1_000_000} million "
                f"that are read from a {image.format} file",
            )
        scans = data.count(b"\xff\xda") if image.format == "JPEG" else 1
        if scans > 1 and width * height * scans > MAX_SCANNED_PIXELS:
            raise UnreadableImage(
                "too large", f"{scans:,} scans of {width} x {height} pixels take too long to decode"
            )
        return image


def _open(data: bytes) -> Any:
    """Read the file's header with the plugin for its first bytes."""
    if not data:
        raise UnreadableImage("empty", "the file is empty")
    stream = io.BytesIO(data)
    if data[:3] == b"\xff\xd8\xff":  # also an MPO, whose first image is the photo
        return _open_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return PngImagePlugin.PngImageFile(io.BytesIO(drop_long_texts(data)))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(stream)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _open_tiff(stream)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return GifImagePlugin.GifImageFile(stream)
    if data[:2] == b"BM":
        return BmpImagePlugin.BmpImageFile(stream)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n":
        return PpmImagePlugin.PpmImageFile(stream)
    if data[4:8] == b"ftyp":
        return _open_boxes(data, stream)
    raise UnreadableImage(
        "not a picture", "not a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM or HEIC file"
    )


def drop_long_texts(data: bytes) -> bytes:
    """A PNG without its colour profile and texts from the first on that makes them longer than
    1 MiB: Pillow refuses those. Neither is used here. Slide scanners write long profiles, and
    editors the history of a picture."""
    pieces, first, place, total = [], 0, 8, 0
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if kind in (b"iCCP", b"zTXt", b"iTXt", b"tEXt"):
            if total <= _MAX_TEXT:
                total += _text_length(kind, data[place + 8 : end - 4])
            if total > _MAX_TEXT:
                pieces.append(data[first:place])
                first = end
        place = end
    return b"".join([*pieces, data[first:]]) if pieces else data


_MAX_TEXT = PngImagePlugin.MAX_TEXT_CHUNK
_MAX_COMPARED = 50_000_000  # pixels of a JPEG without an end marker, which is decoded three times


def _text_length(kind: bytes, body: bytes) -> int:
    """The length of a text or profile, decompressed; at most one more than is allowed."""
    packed = body.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and packed[:1] != b"\1"):
        return len(body)
    packed = packed[1:] if kind != b"iTXt" else packed[2:].partition(b"\0")[2].partition(b"\0")[2]
    try:
        return len(zlib.decompressobj().decompress(packed, _MAX_TEXT + 1))
    except zlib.error:
        return len(body)


def _open_jpeg(data: bytes) -> Any:
    """Open a JPEG. A file that lacks only its end marker gets one, since its pixels are whole."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    scan = data.rfind(b"\xff\xda")
    if scan < 0 or data.find(b"\xff\xd9", scan) > 0:
        return image
    if image.width * image.height > _MAX_COMPARED:
        return image
    data = data[:-1] if data.endswith(b"\xff") else data  # half of the marker
    has_all = _has_all_scans if "progressive" in image.info else _has_all_restarts
    if not has_all(image, data, scan):
        return image
    try:
        # Where codes of pixels are missing, any bytes in their place change the picture.
        endings = (b"\xff\xd9", *(fill * 64 + b"\xff\xd9" for fill in (b"\x5a", b"\xc3\x18\xe7")))
        pictures = {_decode_whole(data + ending) for ending in endings}
    except Exception:
        return image
    return (
        JpegImagePlugin.JpegImageFile(io.BytesIO(data + endings[0]))
        if len(pictures) == 1
        else image
    )


def _has_all_scans(image: Any, data: bytes, scan: int) -> bool:
    """Whether the scans of a progressive JPEG, the last at `scan`, have every bit of every
    coefficient (ITU-T T.81, B.2.3)."""
    complete = set()
    first = data.rfind(b"\xff\xc2", 0, scan)
    for start in (match.end() for match in re.finditer(rb"\xff\xda", data[first : scan + 2])):
        header = data[first + start + 2 : first + start + 14]
        count = header[0]
        components, (low, high, bits) = (
            header[1 : 2 * count : 2],
            header[2 * count + 1 : 2 * count + 4],
        )
        if not bits & 15:
            complete |= {(part, place) for part in components for place in range(low, high + 1)}
    has_restarts = b"\xff\xdd\x00\x04" in data[:scan]
    return len(complete) == 64 * len(image.layer) and not has_restarts


def _has_all_restarts(image: Any, data: bytes, scan: int) -> bool:
    """Whether the only scan has begun the last of its restart intervals (ITU-T T.81, B.2.4.4)."""
    if data[scan + 4 : scan + 5] != bytes([len(image.layer)]):
        return False  # a scan per colour
    restart = data.rfind(b"\xff\xdd\x00\x04", 0, scan)
    interval = int.from_bytes(data[restart + 4 : restart + 6], "big") if restart >= 0 else 0
    if not interval:
        return True
    is_grey = len(image.layer) == 1
    across, down = (1 if is_grey else max(layer[axis] for layer in image.layer) for axis in (1, 2))
    units = -(-image.width // (8 * across)) * -(-image.height // (8 * down))
    count: int = -(-units // interval) - 1
    return len(re.findall(rb"\xff[\xd0-\xd7]", data[scan:])) == count


def _decode_whole(data: bytes) -> bytes:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    image.load()
    return image.tobytes()


def _open_tiff(stream: io.BytesIO) -> Any:
    """Open a TIFF, but not a camera's RAW photo: that is a TIFF of a reduced-resolution image with
    the photo in a SubIFD (TIFF 6.0, tag 254; TIFF/EP and DNG, SubIFDs)."""
    image = TiffImagePlugin.TiffImageFile(stream)
    if image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED and _SUB_DIRECTORIES in image.tag_v2:
        raise UnreadableImage(
            "not read",
            "its first picture is a thumbnail, as in a camera RAW photo; export it as JPEG",
        )
    return image


_SUBFILE_TYPE, _SUB_DIRECTORIES, _REDUCED = 254, 330, 1


def _open_boxes(data: bytes, stream: io.BytesIO) -> Any:
    """Open a file of the ISO base media format: HEIC, but neither AVIF nor videos."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        raise UnreadableImage("not read", "AVIF pictures are not read; convert it to JPEG")
    if not brands & _HEIC_BRANDS:
        raise UnreadableImage("not a picture", "a video or sound, not a picture")
    try:
        import pillow_heif
    except ImportError:
        raise UnreadableImage(
            "not read",
            "a HEIC picture needs pillow-heif: in skipstone's source folder, pip install '.[heic]'",
        ) from None
    opened: Any = pillow_heif.HeifImageFile  # has no types
    return opened(stream)  # upright by HEIC's own transformations; its EXIF orientation agrees


_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
