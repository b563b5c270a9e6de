"""One look at every row: read once, hashed, decoded once. What the checks of the audit go by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skipstone.data.fingerprint import digest_of, duplicate_groups, in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.sources import FileRef, read_source
from skipstone.errors import DataError
from skipstone.inputs.base import Input, Inspectable, Raw
from skipstone.inputs.examined import Compactable, Examined
from skipstone.prepare.cache import RecordCache
from skipstone.prepare.together import Groups, Link, tightened
from skipstone.registry import INPUTS, Entry, resolve_target

#: From so many rows on, of what a row shows only so much is kept as its method `smaller` gives.
MANY = 250_000


@dataclass(frozen=True, slots=True)
class Read:
    """What one row's bytes gave. Copies share a `digest`; None where they could not be had."""

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
    examine = input.examined if isinstance(input, Inspectable) else _examiner(manifest.input)
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


def alike(input: str, reads: Sequence[Read], copies: Sequence[Sequence[int]]) -> Groups:
    """Groups of rows that show the same, copies included, and the links that hold them.

    Args:
        input: whose entry's fact `near` finds the links; without it there are none.
    """
    target = INPUTS[input].facts.get("near")
    links = [] if target is None else _links(resolve_target(target), reads, copies)
    return tightened(links, copies, len(reads))


def can_look_alike(input: str) -> bool:
    """Whether rows of this input can be told to show the same in other bytes."""
    return {"examine", "near"} <= set(INPUTS[input].facts)


def _links(
    near: Callable[[Sequence[Any]], list[Link]],
    reads: Sequence[Read],
    copies: Sequence[Sequence[int]],
) -> list[Link]:
    """Links between rows that are no copies; of copies only the first has any."""
    again = {row for group in copies for row in group[1:]}
    return near(
        [
            None if row in again or read.examined is None else read.examined.shows
            for row, read in enumerate(reads)
        ]
    )


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
    if examined is None:
        return Read(digest_of(data), size, None)
    if spare and isinstance(examined.shows, Compactable):
        examined = replace(examined, shows=examined.shows.smaller())
    return Read(examined.same or digest_of(data), size, examined)
