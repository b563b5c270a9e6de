"""One scan of all rows for the checks of an audit: each is read, hashed and decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skipstone.core.errors import DataError
from skipstone.core.registry import INPUTS
from skipstone.core.specs import resolve_target
from skipstone.data.fingerprint import compute_digest, find_duplicate_groups, map_in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.sources import FileRef, read_source
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.grouping import Groups, Link, group_links
from skipstone.inputs.base import DecodedSample, Input, Inspectable
from skipstone.inputs.inspection import Compactable, InspectionResult

#: From so many rows on, what a row shows is kept in the smaller form of its method `smaller`.
MANY = 250_000


@dataclass(frozen=True, slots=True)
class RowScan:
    """Of one row's bytes: exact copies have the same `digest`; None where it cannot be read."""

    digest: str | None
    size: int
    examined: InspectionResult | None


#: Bytes of a file, or an array -> what it shows, and its record where that came with it.
Examine = Callable[[bytes | np.ndarray], tuple[InspectionResult, DecodedSample | None]]


def scan_rows(
    manifest: Manifest,
    *,
    threads: int = 4,
    input: Input | None = None,
    cache: RecordCache | None = None,
) -> list[RowScan]:
    """Every row of the manifest, in order.

    Each source is read once: hashed, and inspected by `inspect` of the spec of the manifest's
    input; without it, only hashed.

    Args:
        input: its records are put into `cache`, where it gives them by the same decode (its
            method `inspect_and_decode`).
    """
    examine = (
        input.inspect_and_decode if isinstance(input, Inspectable) else _examiner(manifest.input)
    )
    compact = len(manifest) >= MANY
    return map_in_threads(
        lambda source: _scan_row(source, examine, cache, compact=compact),
        manifest.list_sources(),
        "looking at every file",
        unit="files",
        threads=threads,
    )


def group_identical(manifest: Manifest, scans: Sequence[RowScan]) -> list[list[int]]:
    """Groups of rows with equal bytes; unreadable files are in none."""
    digests = [
        None if scan.examined is not None and scan.examined.problem else scan.digest
        for scan in scans
    ]
    return find_duplicate_groups(manifest, digests)


def group_near_duplicates(
    input: str, scans: Sequence[RowScan], identical: Sequence[Sequence[int]]
) -> Groups:
    """Groups of near duplicates, identical rows included, and the links that make them.

    Args:
        input: `find_near_duplicates` of its spec finds the links; without it there are none.
    """
    target = INPUTS[input].find_near_duplicates
    links = [] if target is None else _find_links(resolve_target(target), scans, identical)
    return group_links(links, identical, len(scans))


def finds_near_duplicates(input: str) -> bool:
    """Whether near duplicates among rows of this input can be found."""
    spec = INPUTS[input]
    return spec.inspect is not None and spec.find_near_duplicates is not None


def _find_links(
    near: Callable[[Sequence[Any]], list[Link]],
    scans: Sequence[RowScan],
    identical: Sequence[Sequence[int]],
) -> list[Link]:
    """Links between rows; of identical rows only the first has any."""
    repeated = {row for group in identical for row in group[1:]}
    return near(
        [
            None if row in repeated or scan.examined is None else scan.examined.content
            for row, scan in enumerate(scans)
        ]
    )


def _examiner(name: str) -> Examine | None:
    target = INPUTS[name].inspect
    if target is None:
        return None
    function: Callable[[bytes | np.ndarray], InspectionResult] = resolve_target(target)
    return lambda data: (function(data), None)


def _scan_row(
    source: FileRef, examine: Examine | None, cache: RecordCache | None, *, compact: bool
) -> RowScan:
    try:
        data = read_source(source)
    except DataError as error:
        return RowScan(None, 0, InspectionResult(f"unreadable: {error.message}"))
    size = data.nbytes if isinstance(data, np.ndarray) else len(data)
    examined, raw = (None, None) if examine is None else examine(data)
    if cache is not None and raw is not None:
        cache.store(source.name, raw)
    if examined is None:
        return RowScan(compute_digest(data), size, None)
    if compact and isinstance(examined.content, Compactable):
        examined = replace(examined, content=examined.content.make_smaller())
    digest = examined.copy_digest or compute_digest(data)
    if source.span is not None:  # parts of one file differ, and near duplicates are of whole files
        return RowScan(f"{digest} {source.span}", size, replace(examined, content=None))
    return RowScan(digest, size, examined)
