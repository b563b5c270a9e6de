"""What is wrong with masks: looked at one by one, for the audit. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skipstone.data.fingerprint import in_threads
from skipstone.data.manifest import Manifest
from skipstone.data.masks import IGNORE, MaskTable, read_pixels, to_codes
from skipstone.data.readers.mask_folders import WITHOUT_MASK, WITHOUT_PICTURE
from skipstone.words import counted, listed

_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class MaskFinding:
    """Args:
    kind: "mask_unreadable", "mask_values", "mask_size", "mask_empty", "mask_class_missing",
        "picture_without_mask" or "mask_without_picture".
    rows: of the manifest that it concerns; empty where it concerns a class, or files of no row.
    paths: relative to the root: of these rows' pictures, or files that belong to no row.
    message: one sentence.
    notes: of each path, its mask and what is wrong with it.
    """

    kind: str
    rows: tuple[int, ...]
    paths: tuple[str, ...]
    message: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MaskSeen:
    """One mask as found: what is wrong (kind, sentence), and pixels by code, (256,)."""

    problem: tuple[str, str] | None
    pixels: np.ndarray


@dataclass(frozen=True)
class MasksSeen:
    """All masks of a manifest, row by row."""

    manifest: Manifest
    table: MaskTable
    masks: Sequence[MaskSeen]

    @property
    def paths(self) -> list[str]:
        return [target["mask"] for target in self.manifest.column("target")]

    def shares(self) -> dict[str, float]:
        """Share of all labelled pixels that each class has."""
        total = np.sum([mask.pixels for mask in self.masks], axis=0)[: len(self.table.names)]
        return {
            name: float(count / max(total.sum(), 1))
            for name, count in zip(self.table.names, total, strict=True)
        }


def look_at_masks(manifest: Manifest) -> MasksSeen:
    """Read every mask, and the size of every picture, once."""
    table = MaskTable.of_schema(manifest.schema)
    pairs = list(zip(manifest.column("path"), manifest.column("target"), strict=True))

    def look(pair: tuple[str, dict[str, str]]) -> MaskSeen:
        return _look(manifest.root / pair[0], manifest.root / pair[1]["mask"], table)

    seen = in_threads(look, pairs, "looking at every mask", unit="masks", threads=4)
    return MasksSeen(manifest, table, seen)


def audit_masks(manifest: Manifest) -> tuple[list[MaskFinding], dict[str, Any]]:
    """Everything that is wrong with the masks of a manifest; and what share of all labelled pixels
    each class has."""
    seen = look_at_masks(manifest)
    findings = [finding for check in CHECKS for finding in check(seen)]
    return findings, {"pixels": seen.shares()}


def _look(picture: Path, mask: Path, table: MaskTable) -> MaskSeen:
    nothing = np.zeros(256, np.int64)
    try:
        pixels = read_pixels(mask.read_bytes())
    except OSError as error:
        return MaskSeen(("mask_unreadable", str(error.strerror)), nothing)
    except ValueError as error:
        return MaskSeen(("mask_unreadable", str(error)), nothing)
    try:
        codes = to_codes(pixels, table)
    except ValueError as error:
        return MaskSeen(("mask_values", str(error)), nothing)
    found = np.bincount(codes.ravel(), minlength=256)
    size = _upright_size(picture)
    if size is not None and size != codes.shape:
        turned = ", turned" if size == codes.shape[::-1] else ""
        what = (
            f"{codes.shape[1]} x {codes.shape[0]} pixels, the picture {size[1]} x {size[0]}{turned}"
        )
        return MaskSeen(("mask_size", what), found)
    if found[:IGNORE].sum() == 0:
        return MaskSeen(("mask_empty", "no pixel counts"), found)
    return MaskSeen(None, found)


def _upright_size(picture: Path) -> tuple[int, int] | None:
    """(height, width) as a person sees it; None where the file cannot be opened (another check
    tells of it)."""
    from PIL import Image

    try:
        with Image.open(picture) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:  # decoders raise what they like
        return None
    return (width, height) if turned else (height, width)


_WORDS = {
    "mask_unreadable": "cannot be read",
    "mask_values": "hold values that no class has",
    "mask_size": "have another size than their picture",
    "mask_empty": "show no class at all",
}


def broken_masks(seen: MasksSeen) -> Iterable[MaskFinding]:
    """One finding a kind of problem, each mask having the gravest of its own."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, mask in enumerate(seen.masks):
        if mask.problem is not None:
            found[mask.problem[0]].append((row, mask.problem[1]))
    for kind, words in _WORDS.items():
        if not found[kind]:
            continue
        rows = [row for row, _ in found[kind]]
        pictures, masks = seen.manifest.column("path"), seen.paths
        yield MaskFinding(
            kind,
            tuple(rows),
            tuple(pictures[row] for row in rows),
            f"{counted(len(rows), 'mask')} {words}, such as {masks[rows[0]]} "
            f"({found[kind][0][1]}).",
            tuple(f"{masks[row]}: {what}" for row, what in found[kind]),
        )


def classes_nowhere(seen: MasksSeen) -> Iterable[MaskFinding]:
    """Classes that no mask shows, or none of the training part."""
    splits = seen.manifest.column("split")
    training = [row for row, split in enumerate(splits) if split in ("", "train")]
    parts = [("no mask", list(range(len(seen.masks))))]
    if 0 < len(training) < len(seen.masks):
        parts.append(("no mask of the training part", training))
    told: set[str] = set()
    for what, rows in parts:
        total = np.sum([seen.masks[row].pixels for row in rows], axis=0)
        lacking = [name for code, name in enumerate(seen.table.names) if not total[code]]
        lacking = [name for name in lacking if name not in told]
        told.update(lacking)
        if lacking:
            yield MaskFinding(
                "mask_class_missing", (), (), f"{what.capitalize()} shows {listed(lacking)}."
            )


def without_partner(seen: MasksSeen) -> Iterable[MaskFinding]:
    """Pictures without a mask, and masks without a picture, in the folders that were read."""
    for kind, reason, what, partner in (
        ("picture_without_mask", WITHOUT_MASK, "picture", "mask"),
        ("mask_without_picture", WITHOUT_PICTURE, "mask", "picture"),
    ):
        paths = seen.manifest.unpaired.get(reason, ())
        if paths:
            have = "has" if len(paths) == 1 else "have"
            yield MaskFinding(
                kind,
                (),
                paths,
                f"{counted(len(paths), what)} {have} no {partner}, such as {paths[0]}.",
            )


CHECKS: tuple[Callable[[MasksSeen], Iterable[MaskFinding]], ...] = (
    broken_masks,
    classes_nowhere,
    without_partner,
)
