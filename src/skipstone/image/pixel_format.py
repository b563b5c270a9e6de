"""Decide the pixel format of a data set: photos, or one depth and number of channels for all.

A data set of several formats is an error that names the flag to decide, because nothing says how
0..255 of one file compares with 0..65535 of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skipstone.core.errors import DataError, UsageError
from skipstone.data.sources import Source, read_source
from skipstone.image.high_depth import PixelFormat, detect_pixel_format
from skipstone.image.options import ImageOptions

FileFormats = list[tuple[str, PixelFormat]]


def detect_formats(sources: Sequence[Source], pages: str) -> FileFormats:
    """(name, kind) of each source whose header can be read."""
    files: FileFormats = []
    for source in sources:
        try:
            data = read_source(source)
            if not isinstance(data, str):
                files.append((source.name, detect_pixel_format(data, pages)))
        except (DataError, ValueError):
            continue
    return files


def choose_pixel_format(files: FileFormats, options: ImageOptions) -> PixelFormat | None:
    """The kind of all `files`, or None for photos (8 bits, grey or colour).

    Raises:
        UsageError: several kinds, or pages that may be channels; names the flag to decide.
    """
    if options.bits == 8:
        _require_reducible(files)
        return None
    for name, kind in files:
        if kind.pages > 1:
            raise UsageError(
                f"{name} has {kind.pages} pages, and nothing in it says whether they are "
                "channels of one picture.",
                hint="If they are: --pages channels. If the first is the picture: --pages first.",
            )
    wanted = options.channels
    photos_only = all(kind.is_photo for _, kind in files)
    if wanted != "auto" and options.bits != 32 and photos_only:
        if wanted not in (1, 3):
            raise UsageError(
                f"--channels {wanted}: these are photos, of 1 (grey) or 3 channels.",
                hint="Leave it out.",
            )
        return None
    if photos_only and options.bits != 32:
        return None
    if wanted != "auto":
        selected = [(name, kind) for name, kind in files if kind.channels == wanted]
        if not selected:
            raise UsageError(
                f"--channels {wanted}: no picture has so many: {_counts(files)}.",
                hint=_LIST_HINT,
            )
        files = selected
    return _common_kind(files, options)


def _common_kind(files: FileFormats, options: ImageOptions) -> PixelFormat:
    channels = Counter(kind.channels for _, kind in files)
    if len(channels) > 1:
        most = channels.most_common(1)[0][0]
        raise UsageError(
            f"the pictures differ in depth or channels: {_counts(files)}.",
            hint=f"Choose one kind: --channels {most} takes those with {most} channels and leaves "
            f"the others out. {_LIST_HINT}",
        )
    (count,) = channels
    depths = {(kind.dtype, kind.is_photo) for _, kind in files}
    if options.bits == 32:
        return PixelFormat("float32", count)
    if len(depths) > 1:
        ways = ["--bits 32 takes all values as they are"]
        if count in (1, 3) and {dtype for dtype, _ in depths} <= {"uint8", "uint16"}:
            ways.insert(0, "--bits 8 reduces 16 bits to 8")
        raise UsageError(
            f"the pictures differ in depth: {_counts(files)}.",
            hint=f"{'; '.join(ways)}. Or convert them to one kind.",
        )
    return PixelFormat(files[0][1].dtype, count)


def _require_reducible(files: FileFormats) -> None:
    """Raises UsageError for files that cannot be reduced to 8-bit photos."""
    for name, kind in files:
        if not kind.is_photo and (kind.channels not in (1, 3) or kind.dtype == "float32"):
            raise UsageError(
                f"--bits 8: {name} has {kind}, which cannot become an 8-bit photo.",
                hint="Leave --bits out to use the full depth.",
            )


def _counts(files: FileFormats) -> str:
    """ "3 of 5 channels of 16 bits (such as a.tif), 1 of ..." """
    kinds: dict[str, list[str]] = {}
    for name, kind in files:
        kinds.setdefault(str(kind), []).append(name)
    rows = sorted(kinds.items(), key=lambda row: -len(row[1]))
    return ", ".join(f"{len(names):,} of {kind} (such as {names[0]})" for kind, names in rows)


_LIST_HINT = "To list all of them: skipstone audit DATA --json"
