"""One look at every row: read once, hashed, decoded once. What the checks of the audit go by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skipstone.data.fingerprint import digest_of, duplicate_groups, in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.sources import FileRef, read_source
from skipstone.errors import DataError
from skipstone.inputs.base import Input, Raw
from skipstone.inputs.examine import Examined
from skipstone.inputs.thumbnail import SMALL_SIDE, Thumbnail
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.near import near_links
from skipstone.prepare.registration import shrunk
from skipstone.prepare.together import Groups, Link, tightened
from skipstone.registry import INPUTS, Entry

#: From so many rows on, only small thumbnails are kept: 1 KB a row instead of 9. By them only good
#: copies are told.
MANY = 250_000


@dataclass(frozen=True, slots=True)
class Read:
    """What one row's bytes gave. `digest` is None where they could not be had."""

    digest: str | None
    size: int
    examined: Examined | None


#: Bytes of a file, or an array -> what is seen in it, and its record where that came with it.
Examine = Callable[[bytes | np.ndarray], tuple[Examined, Raw | None]]


def look_at(
    manifest: Manifest,
    *,
    threads: int = 4,
    input: Input | None = None,
    cache: RecordCache | None = None,
) -> list[Read]:
    """Every row of the manifest, in order.

    Each source is read once: hashed, and examined by what the manifest's input brings (the fact
    `examine` of its registry entry); without that, only bytes are looked at.

    Args:
        input: whose records are put into `cache`, where it can give them by the same decode (its
            method `examined`).
    """
    both: Examine | None = getattr(input, "examined", None)
    examine = both or _examiner(manifest.input)
    spare = len(manifest) >= MANY
    return in_threads(
        lambda source: _read(source, examine, cache, spare=spare),
        manifest.sources(),
        "looking at every file",
        unit="files",
        threads=threads,
    )


def same_bytes(manifest: Manifest, reads: Sequence[Read]) -> list[list[int]]:
    """Groups of rows with equal bytes; files that cannot be read are copies of nothing."""
    digests = [
        None if read.examined is not None and read.examined.problem else read.digest
        for read in reads
    ]
    return duplicate_groups(manifest, digests)


def same_picture(reads: Sequence[Read], copies: Sequence[Sequence[int]]) -> Groups:
    """Groups of rows that show the same, copies included, and the links that hold them."""
    links = picture_links(reads, copies)
    return tightened(links, copies, len(reads))


def picture_links(reads: Sequence[Read], copies: Sequence[Sequence[int]]) -> list[Link]:
    """Links between rows of different bytes; of rows of equal bytes only the first has any."""
    again = {row for group in copies for row in group[1:]}
    thumbnails: list[Thumbnail | None] = [
        None if row in again or read.examined is None else read.examined.thumbnail
        for row, read in enumerate(reads)
    ]
    return near_links(thumbnails)


def _examiner(name: str) -> Examine | None:
    target = INPUTS[name].facts.get("examine")
    if target is None:
        return None
    function: Callable[[bytes | np.ndarray], Examined] = Entry(name, target).load()
    return lambda data: (function(data), None)


def _read(
    source: FileRef, examine: Examine | None, cache: RecordCache | None, *, spare: bool
) -> Read:
    try:
        data = read_source(source)
    except DataError as error:
        return Read(None, 0, Examined(f"unreadable: {error.message}"))
    size = data.nbytes if isinstance(data, np.ndarray) else len(data)
    examined, raw = (None, None) if examine is None else examine(data)
    if cache is not None and raw is not None:
        cache.keep(source.name, raw)
    if spare and examined is not None and examined.thumbnail is not None:
        grey = examined.thumbnail.grey
        small = shrunk(grey[None], len(grey) // SMALL_SIDE)[0].round().astype(np.uint8)
        examined = replace(examined, thumbnail=replace(examined.thumbnail, grey=small))
    return Read(digest_of(data), size, examined)
