"""The audit of masks: decodes every mask and reports problems. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.core.disk import read_regular
from skipstone.core.formatting import join_limited, pluralize
from skipstone.data.findings import Finding
from skipstone.data.fingerprint import map_in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.mask_files import IGNORE_INDEX, MaskTable, decode_mask, to_class_codes
from skipstone.data.readers.mask_folders import WITHOUT_MASK, WITHOUT_PICTURE

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class MaskInspection:
    """One mask: its problem (kind, sentence), and its number of pixels per code, (256,)."""

    problem: tuple[str, str] | None
    pixels: np.ndarray


@dataclass(frozen=True)
class MaskSetInspection:
    """All masks of a manifest, row by row."""

    manifest: Manifest
    table: MaskTable
    masks: Sequence[MaskInspection]

    @property
    def mask_paths(self) -> list[str]:
        return [target["mask"] for target in self.manifest.column_values("target")]

    def class_shares(self) -> dict[str, float]:
        """Each class's share of all labelled pixels."""
        total = np.sum([mask.pixels for mask in self.masks], axis=0)[: len(self.table.names)]
        return {
            name: float(count / max(total.sum(), 1))
            for name, count in zip(self.table.names, total, strict=True)
        }


def inspect_masks(manifest: Manifest) -> MaskSetInspection:
    """Decode every mask, and read every picture's size, once."""
    table = MaskTable.from_schema(manifest.schema)
    pairs = list(zip(manifest.column_values("path"), manifest.column_values("target"), strict=True))

    def inspect_pair(pair: tuple[str, dict[str, str]]) -> MaskInspection:
        return _inspect_mask(manifest.root / pair[0], manifest.root / pair[1]["mask"], table)

    masks = map_in_threads(inspect_pair, pairs, "looking at every mask", unit="masks", threads=4)
    return MaskSetInspection(manifest, table, masks)


def audit_masks(manifest: Manifest) -> tuple[list[Finding], dict[str, Any]]:
    """All problems of a manifest's masks, and each class's share of all labelled pixels."""
    inspection = inspect_masks(manifest)
    findings = [finding for check in CHECKS for finding in check(inspection)]
    return findings, {"pixels": inspection.class_shares()}


def _inspect_mask(picture: Path, mask: Path, table: MaskTable) -> MaskInspection:
    nothing = np.zeros(256, np.int64)
    try:
        pixels = decode_mask(read_regular(mask))
    except OSError as error:
        return MaskInspection(("mask_unreadable", str(error.strerror)), nothing)
    except ValueError as error:
        return MaskInspection(("mask_unreadable", str(error)), nothing)
    try:
        codes = to_class_codes(pixels, table)
    except ValueError as error:
        return MaskInspection(("mask_values", str(error)), nothing)
    counts = np.bincount(codes.ravel(), minlength=256)
    size = _upright_size(picture)
    if size is not None and size != codes.shape:
        height, width = codes.shape
        rotated = ", rotated" if size == (width, height) else ""
        sizes = f"{width} x {height} pixels, the picture {size[1]} x {size[0]}{rotated}"
        return MaskInspection(("mask_size", sizes), counts)
    if counts[:IGNORE_INDEX].sum() == 0:
        return MaskInspection(("mask_empty", "all pixels are ignored"), counts)
    return MaskInspection(None, counts)


def _upright_size(picture: Path) -> tuple[int, int] | None:
    """(height, width) after applying the EXIF orientation; None if the file cannot be opened
    (another check reports it)."""
    from PIL import Image

    try:
        with Image.open(picture) as image:
            width, height = image.size
            is_rotated = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:  # decoders raise anything
        return None
    return (width, height) if is_rotated else (height, width)


_DESCRIPTIONS = {
    "mask_unreadable": "that cannot be read",
    "mask_values": "with values of no class",
    "mask_size": "with a size other than the picture's",
    "mask_empty": "without any class",
}


def find_broken_masks(inspection: MaskSetInspection) -> Iterable[Finding]:
    """One finding per kind of problem; of each mask only its most severe problem counts."""
    problems: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, mask in enumerate(inspection.masks):
        if mask.problem is not None:
            problems[mask.problem[0]].append((row, mask.problem[1]))
    for kind, words in _DESCRIPTIONS.items():
        if not problems[kind]:
            continue
        rows = [row for row, _ in problems[kind]]
        pictures, masks = inspection.manifest.column_values("path"), inspection.mask_paths
        yield Finding(
            kind,
            tuple(pictures[row] for row in rows),
            f"{pluralize(len(rows), 'mask')} {words}, such as {masks[rows[0]]} "
            f"({problems[kind][0][1]}).",
            tuple(rows),
            tuple(f"{masks[row]}: {what}" for row, what in problems[kind]),
        )


def find_missing_classes(inspection: MaskSetInspection) -> Iterable[Finding]:
    """Classes that occur in no mask, or in no mask of the training rows."""
    splits = inspection.manifest.column_values("split")
    training = [row for row, split in enumerate(splits) if split in ("", "train")]
    scopes = [("no mask", list(range(len(inspection.masks))))]
    if 0 < len(training) < len(inspection.masks):
        scopes.append(("no mask of the training rows", training))
    reported: set[str] = set()
    for scope, rows in scopes:
        total = np.sum([inspection.masks[row].pixels for row in rows], axis=0)
        lacking = [name for code, name in enumerate(inspection.table.names) if not total[code]]
        lacking = [name for name in lacking if name not in reported]
        reported.update(lacking)
        if lacking:
            yield Finding(
                "mask_class_missing",
                (),
                f"{scope.capitalize()} contains {join_limited(lacking)}.",
            )


def find_unpaired_files(inspection: MaskSetInspection) -> Iterable[Finding]:
    """Pictures without a mask, and masks without a picture."""
    for kind, reason, what, partner in (
        ("picture_without_mask", WITHOUT_MASK, "picture", "mask"),
        ("mask_without_picture", WITHOUT_PICTURE, "mask", "picture"),
    ):
        paths = inspection.manifest.unpaired_files.get(reason, ())
        if paths:
            have = "has" if len(paths) == 1 else "have"
            yield Finding(
                kind,
                paths,
                f"{pluralize(len(paths), what)} {have} no {partner}, such as {paths[0]}.",
            )


CHECKS: tuple[Callable[[MaskSetInspection], Iterable[Finding]], ...] = (
    find_broken_masks,
    find_missing_classes,
    find_unpaired_files,
)
