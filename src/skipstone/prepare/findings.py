"""What an audit finds, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """Args:
    name: as it stands in `audit.json` ("near_duplicate").
    title: what it is, for people.
    advice: what to do about it.
    leave_out: what the exclude list does with the files: "all", "copies" (all but one),
        "training" (those of the training rows), "ask" (they stand in it as comments), "none".
    """

    name: str
    title: str
    advice: str
    leave_out: str


#: Gravest first.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("empty_file", "empty files", "They cannot be read: left out.", "all"),
        Kind("truncated", "files that are cut off", "They cannot be read: left out.", "all"),
        Kind("unreadable", "unreadable files", "They cannot be read: left out.", "all"),
        Kind(
            "damaged",
            "files with damage inside",
            "They decode, but part of the picture is not what was stored: left out.",
            "all",
        ),
        Kind("mask_unreadable", "unreadable masks", "Their pictures are left out.", "all"),
        Kind(
            "mask_values",
            "masks with values of no class",
            "Name these values in classes.csv, or let them count for nothing (--ignore). Until "
            "then their pictures are left out.",
            "all",
        ),
        Kind(
            "mask_size",
            "masks of another size than their picture",
            "Nothing says which pixel is which: their pictures are left out.",
            "all",
        ),
        Kind("mask_empty", "masks that show no class", "They teach nothing: left out.", "all"),
        Kind("picture_without_mask", "pictures without a mask", "Passed over.", "none"),
        Kind("mask_without_picture", "masks without a picture", "Passed over.", "none"),
        Kind("mask_class_missing", "classes that no mask shows", "", "none"),
        Kind("not_a_picture", "no pictures by their bytes", "Left out.", "all"),
        Kind("not_read", "pictures of a kind that is not read", "Left out.", "all"),
        Kind(
            "too_large",
            "too large to decode safely",
            "Left out: decoded, they would take more memory than is safe.",
            "all",
        ),
        Kind(
            "mixed_pixels",
            "pictures of several depths or numbers of channels",
            "They do not train together: keep one kind, or say how to read them "
            "(--channels, --bits).",
            "ask",
        ),
        Kind(
            "pages",
            "pages that may be channels",
            "Say what they are: --pages channels, or --pages first.",
            "none",
        ),
        Kind(
            "duplicate_with_other_label",
            "the same bytes under two labels",
            "One of the labels is wrong, and nothing says which: all are left out, until you "
            "keep the right one.",
            "all",
        ),
        Kind(
            "duplicate_across_splits",
            "the same bytes in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
        ),
        Kind("duplicate", "the same bytes more than once", "One of each stays.", "copies"),
        Kind(
            "near_duplicate_with_other_label",
            "the same picture under two labels",
            "Look at each: one of the labels is probably wrong.",
            "ask",
        ),
        Kind(
            "near_duplicate_across_splits",
            "the same picture in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
        ),
        Kind(
            "near_duplicate",
            "the same picture more than once",
            "Harmless in training: train keeps them on one side of the splits that it makes.",
            "ask",
        ),
        Kind(
            "suspicious_label",
            "labels that a model doubts",
            "Look at each, and correct those that are wrong.",
            "ask",
        ),
        Kind("class_without_training_rows", "classes that cannot be learnt", "", "none"),
        Kind("tiny_class", "tiny classes", "Add pictures of them.", "none"),
        Kind("imbalance", "classes of very different size", "", "none"),
        Kind("extension", "names that say another type", "Harmless: read by the bytes.", "none"),
    )
}


@dataclass(frozen=True)
class Finding:
    """Args:
    kind: one of KINDS.
    paths: the files concerned, relative to the root; empty where it concerns a class.
    message: one sentence.
    rows: positions in the manifest of `paths`, in their order.
    notes: something on each of `paths` ("mirrored", "labelled hat, looks like shoes"), or nothing.
    """

    kind: str
    paths: tuple[str, ...]
    message: str
    rows: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        stated = {"kind": self.kind, "paths": list(self.paths), "message": self.message}
        return stated if not self.notes else {**stated, "notes": list(self.notes)}
