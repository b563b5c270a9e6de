"""A picture file, opened: which decoder reads it, by its first bytes, and what is refused before a
pixel is read.

Needs Pillow only (and pillow-heif where a picture is HEIC). The text of this file is also embedded
in the stand-alone script.
"""

from __future__ import annotations

import io
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

# Pillow's own limits guard its Image.open, through a setting global to the process. The plugins are
# opened here by their signatures, so the limits are these. A JPEG is decoded at a fraction of its
# size and may be larger; of a progressive one the decoder holds all coefficients, up to 6 bytes a
# pixel; anything else is held whole in memory, up to 4 bytes a pixel.
MAX_JPEG_PIXELS = 1_000_000_000
MAX_PROGRESSIVE_PIXELS = 300_000_000
MAX_PIXELS = 200_000_000


class Unreadable(ValueError):
    """No readable picture, with the reason in plain words.

    Args:
        kind: "empty", "not a picture", "not read" (a kind of picture that is not), "too large",
            "truncated" or "damaged".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class plain_words:  # noqa: N801 - reads as a statement
    """Turns whatever a parser raises into `Unreadable`.

    A damaged file makes them fail in any way: OSError, SyntaxError, struct.error, IndexError,
    zlib.error, ... All of them mean the same to the one who owns the file.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MemoryError):
            message = "the picture needs more memory than there is"
            raise Unreadable("too large", message) from error
        if isinstance(error, Exception) and not isinstance(error, Unreadable):
            text = str(error).replace("\n", " ")
            cut = any(word in text.lower() for word in ("truncated", "broken data stream", "eof"))
            message = f"the picture is damaged or cut short ({text or type(error).__name__})"
            raise Unreadable("truncated" if cut else "damaged", message) from error


def open_picture(data: bytes) -> Any:
    """A Pillow image with its header read and none of its pixels: format, size and mode are known.

    Raises:
        Unreadable: no picture, or one that would take more memory than is safe to give it.
    """
    with plain_words():
        image = _open(bytes(data))
        width, height = image.size
        limit = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PIXELS
        if "progressive" in image.info:
            limit = MAX_PROGRESSIVE_PIXELS
        if width * height > limit:
            raise Unreadable(
                "too large",
                f"{width} x {height} pixels are more than the {limit // 1_000_000} million "
                f"that are read from a {image.format} file",
            )
        return image


def _open(data: bytes) -> Any:
    """The file's header read by the plugin that its first bytes name."""
    if not data:
        raise Unreadable("empty", "the file is empty")
    stream = io.BytesIO(data)
    if data[:3] == b"\xff\xd8\xff":  # also of an MPO, whose first picture is the one people see
        return JpegImagePlugin.JpegImageFile(stream)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return PngImagePlugin.PngImageFile(stream)
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
    raise Unreadable("not a picture", "not a JPEG, PNG, WebP, BMP, TIFF, GIF, PPM or HEIC file")


def _open_tiff(stream: io.BytesIO) -> Any:
    """A camera's RAW photo is one, too, whatever it is called: a thumbnail that says so, and the
    picture in a directory below it (TIFF 6.0, tag 254; TIFF/EP and DNG, SubIFDs)."""
    image = TiffImagePlugin.TiffImageFile(stream)
    if image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED and _SUB_DIRECTORIES in image.tag_v2:
        raise Unreadable(
            "not read",
            "its first picture is a thumbnail, as in a camera RAW photo; export it as JPEG",
        )
    return image


_SUBFILE_TYPE, _SUB_DIRECTORIES, _REDUCED = 254, 330, 1


def _open_boxes(data: bytes, stream: io.BytesIO) -> Any:
    """A file of the ISO base media format: HEIC is read, AVIF and videos are not."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        raise Unreadable("not read", "AVIF pictures are not read; convert it to JPEG")
    if not brands & _HEIC_BRANDS:
        raise Unreadable("not a picture", "a video or sound, not a picture")
    try:
        import pillow_heif
    except ImportError:
        raise Unreadable(
            "not read", "a HEIC picture needs pillow-heif: pip install 'skipstone[heic]'"
        ) from None
    opened: Any = pillow_heif.HeifImageFile  # has no types
    return opened(stream)  # turned upright by HEIC's own rules; the EXIF it gives agrees


_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
