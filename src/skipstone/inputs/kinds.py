"""What kind of pixels a set has: photos, or one depth and number of channels for all of it.

A set that holds several is refused with the flag that decides, because nothing says how 0..255 of
one file compares with 0..65535 of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skipstone.data.sources import Source, read_source
from skipstone.errors import DataError, UsageError
from skipstone.inputs.deep import PixelKind, kind_of
from skipstone.inputs.options import ImageOptions

Found = list[tuple[str, PixelKind]]


def survey(sources: Sequence[Source], pages: str) -> Found:
    """(name, kind) of each source whose header can be read."""
    found: Found = []
    for source in sources:
        try:
            data = read_source(source)
            if not isinstance(data, str):
                found.append((source.name, kind_of(data, pages)))
        except (DataError, ValueError):
            continue
    return found


def decide_kind(found: Found, options: ImageOptions) -> PixelKind | None:
    """The one kind of a set, or None where it is of photos (8 bits, grey or colour).

    Raises:
        UsageError: it holds several, or pages that may be channels; names the flag that decides.
    """
    if options.bits == 8:
        _require_reducible(found)
        return None
    for name, kind in found:
        if kind.pages > 1:
            raise UsageError(
                f"{name} has {kind.pages} pages, and nothing in it says whether they are "
                "channels of one picture.",
                hint="If they are: --pages channels. If the first is the picture: --pages first.",
            )
    wanted = options.channels
    if wanted != "auto" and options.bits != 32 and all(kind.photo for _, kind in found):
        if wanted not in (1, 3):
            raise UsageError(
                f"--channels {wanted}: these are photos, of 1 (grey) or 3 channels.",
                hint="Leave it out.",
            )
        return None
    deep = [(name, kind) for name, kind in found if not kind.photo]
    if not deep and options.bits != 32:
        return None
    if wanted != "auto":
        chosen = [(name, kind) for name, kind in found if kind.channels == wanted]
        if not chosen:
            raise UsageError(
                f"--channels {wanted}: no picture of these has so many: {_counts(found)}.",
                hint=_look(found),
            )
        found = chosen
    return _only(found, options)


def _only(found: Found, options: ImageOptions) -> PixelKind:
    channels = Counter(kind.channels for _, kind in found)
    if len(channels) > 1:
        most = channels.most_common(1)[0][0]
        raise UsageError(
            f"the pictures differ in depth or channels: {_counts(found)}.",
            hint=f"Keep one kind: --channels {most} takes those with {most} channels and leaves "
            f"the others out. {_look(found)}",
        )
    (count,) = channels
    depths = {(kind.dtype, kind.photo) for _, kind in found}
    if options.bits == 32:
        return PixelKind("float32", count)
    if len(depths) > 1:
        ways = ["--bits 32 takes all numbers as they are"]
        if count in (1, 3) and {dtype for dtype, _ in depths} <= {"uint8", "uint16"}:
            ways.insert(0, "--bits 8 reduces 16 bits to 8")
        raise UsageError(
            f"the pictures differ in depth: {_counts(found)}.",
            hint=f"{'; '.join(ways)}. Or convert them to one kind.",
        )
    return PixelKind(found[0][1].dtype, count)


def _require_reducible(found: Found) -> None:
    """8 bits asked for: what a photo cannot hold is refused."""
    for name, kind in found:
        if not kind.photo and (kind.channels not in (1, 3) or kind.dtype == "float32"):
            raise UsageError(
                f"--bits 8: {name} has {kind}, which are no photo in 8 bits.",
                hint="Leave --bits out: all of their depth is used then.",
            )


def _counts(found: Found) -> str:
    """3 with 5 channels of 16 bits (a.tif), 1 with ..."""
    kinds: dict[str, list[str]] = {}
    for name, kind in found:
        kinds.setdefault(str(kind), []).append(name)
    rows = sorted(kinds.items(), key=lambda row: -len(row[1]))
    return ", ".join(f"{len(names):,} of {kind} (such as {names[0]})" for kind, names in rows)


def _look(found: Found) -> str:
    return "All of them are listed by: skipstone audit DATA --json"
