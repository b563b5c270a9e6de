"""The audit of pictures: file types, kinds of pixels, sizes."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from skipstone.auditing.checks import AuditContext
from skipstone.core.formatting import pluralize
from skipstone.data.findings import Finding

#: Sizes that are listed; the others are counted together.
MAX_SIZES = 8
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif", ".hif"},
}


def audit_images(seen: AuditContext) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and counts; `audit` of the spec of the input `image`."""
    pictures = [r.examined for r in seen.scans if r.examined and not r.examined.problem]
    counts = {
        "height": _spread([picture.size[0] for picture in pictures if len(picture.size) == 2]),
        "width": _spread([picture.size[1] for picture in pictures if len(picture.size) == 2]),
        "histograms": {"size in pixels": _count_sizes([picture.size for picture in pictures])},
        "formats": dict(Counter(picture.format for picture in pictures).most_common()),
        "modes": dict(Counter(picture.mode for picture in pictures).most_common()),
        "turned_by_exif": sum(picture.is_rotated for picture in pictures),
    }
    return [*find_mixed_pixels(seen), *find_wrong_extensions(seen)], counts


def find_wrong_extensions(seen: AuditContext) -> Iterable[Finding]:
    """Files whose extension does not match their format."""
    wrong = []
    for row, read in enumerate(seen.scans):
        if read.examined is None or read.examined.problem:
            continue
        allowed = _SUFFIXES.get(read.examined.format)
        if allowed is not None and PurePath(seen.names[row]).suffix.lower() not in allowed:
            wrong.append((row, read.examined.format))
    if wrong:
        row, form = wrong[0]
        message = (
            f"{pluralize(len(wrong), 'file')} {'has' if len(wrong) == 1 else 'have'} the extension "
            f"of another format, such as {seen.names[row]} ({form}). Harmless: the format is read "
            "from the bytes."
        )
        yield seen.make_finding("extension", [row for row, _ in wrong], message)


def find_mixed_pixels(seen: AuditContext) -> Iterable[Finding]:
    """Several depths or numbers of channels in one data set; pages of unknown meaning."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for row, read in enumerate(seen.scans):
        if read.examined is not None and not read.examined.problem:
            kinds[read.examined.pixel_format or "8 bits, grey or colour"].append(row)
    if len(kinds) > 1:
        by_size = sorted(kinds, key=lambda kind: -len(kinds[kind]))
        each = "; ".join(
            f"{pluralize(len(kinds[kind]), 'file')} with {kind} (such as "
            f"{seen.names[kinds[kind][0]]})"
            for kind in by_size
        )
        others = [(row, kind) for kind in by_size[1:] for row in kinds[kind]]
        yield seen.make_finding(
            "mixed_pixels",
            [row for row, _ in others],
            f"Pictures of several kinds cannot be trained on together: {each}.",
            [kind for _, kind in others],
        )
    paged = [row for kind, rows in kinds.items() if kind.endswith(" pages") for row in rows]
    if paged:
        yield seen.make_finding(
            "pages",
            paged,
            f"{pluralize(len(paged), 'file')} {'has' if len(paged) == 1 else 'have'} pages that may "
            f"be channels, such as {seen.names[paged[0]]}.",
        )


def _spread(values: list[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _count_sizes(sizes: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """{"640 × 480": pictures}: the most frequent sizes (width × height), and all others."""
    counts = Counter(f"{size[1]:,} × {size[0]:,}" for size in sizes if len(size) == 2)
    frequent = dict(counts.most_common(MAX_SIZES))
    others = counts.total() - sum(frequent.values())
    return {**frequent, f"{len(counts) - MAX_SIZES:,} other sizes": others} if others else frequent
