"""Which files are pictures: by their first bytes, or by their extension if these are inconclusive."""

from __future__ import annotations

from pathlib import PurePath

from skipstone.core.registry import INPUTS

_VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
)
_SIDECAR_SUFFIXES = frozenset(
    {".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".xmp", ".md", ".aae"}
)
#: Camera RAW. By their bytes most are TIFF files whose first image is a thumbnail.
_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos"}
    | {".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srf", ".srw", ".x3f"}
)
_RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0", b"FOVb")
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# Sizes of the header that follows a BMP's 14-byte file header; "BM" alone may begin a text.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

VIDEO = "videos"
SIDECAR = "sidecar files (text, JSON, XML, CSV)"
GIF = "GIF pictures (not read: save them as PNG)"
AVIF = "AVIF pictures (not read: save them as JPEG)"
RAW = "camera RAW photos (not read: export them as JPEG or TIFF)"
OTHER = "other files"

#: How to convert files that are not read, by the reason for which they are skipped.
CONVERSIONS = {
    AVIF: "Save them as JPEG first (with ImageMagick: magick mogrify -format jpg *.avif).",
    GIF: "Save them as PNG first (with ImageMagick: magick mogrify -format png *.gif).",
    RAW: "Export them as JPEG, or as TIFF of 16 bits, from the program that shows them.",
    VIDEO: "Extract frames first, one per second: ffmpeg -i VIDEO -vf fps=1 %05d.jpg",
}


def detect_picture_format(head: bytes) -> str | None:
    """JPEG, PNG, WEBP, BMP, TIFF or HEIF (Pillow's names), NPY, or None.

    Args:
        head: the first 32 bytes of the file, or all of a shorter file.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    header = head[14:18]
    if head[:2] == b"BM" and len(header) == 4 and int.from_bytes(header, "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head[16:]:
        return "HEIF"
    return "NPY" if head.startswith(b"\x93NUMPY") else None


def is_camera_raw(name: str, head: bytes = b"") -> bool:
    """Whether a file is camera RAW. With an empty `head` the extension alone decides."""
    if head.startswith(_RAW_HEADS) or head[4:12] == b"ftypcrx ":
        return True
    if head.startswith(b"II*\0") and head[8:10] == b"CR":
        return True
    has_suffix = PurePath(name).suffix.casefold() in _RAW_SUFFIXES
    return has_suffix and detect_picture_format(head) in (None, "TIFF")


def not_picture_reason(name: str, head: bytes) -> str | None:
    """Why a file is not a picture; None if its bytes or its extension say that it is one.

    An empty or damaged `.jpg` counts as a picture: it becomes an unreadable row, which the audit
    reports. Skipping it would hide the problem.
    """
    if is_camera_raw(name, head):
        return RAW
    if detect_picture_format(head) is not None:
        return None
    if head.startswith(b"GIF8"):
        return GIF
    if head[4:8] == b"ftyp":
        return AVIF if b"avif" in head[8:] or head[8:12] == b"avis" else VIDEO
    if head.startswith(b"\x1aE\xdf\xa3") or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return VIDEO
    suffix = PurePath(name).suffix.casefold()
    if suffix in INPUTS["image"].suffixes:
        return None
    if suffix in _VIDEO_SUFFIXES:
        return VIDEO
    return SIDECAR if suffix in _SIDECAR_SUFFIXES else OTHER


def predict_skip_reason(name: str, head: bytes) -> str | None:
    """Like `not_picture_reason`, for prediction: of a GIF the model gets the first frame."""
    reason = not_picture_reason(name, head)
    return None if reason == GIF else reason
