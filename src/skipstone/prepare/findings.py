"""What an audit finds, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skipstone.registry import INPUTS


@dataclass(frozen=True)
class Nouns:
    """How an audit speaks of rows; an input's fact `nouns` names what differs.

    Args:
        unit: what a row is.
        same: what exact copies have in common, and `alike` near duplicates.
        holds: what exact copies do, and `shows` near duplicates, whose `share` agrees.
        another: what a near duplicate does.
    """

    unit: str = "file"
    same: str = "the same bytes"
    alike: str = "the same picture"
    holds: str = "hold the same bytes"
    shows: str = "show the same picture, their details agree to {share:.0f} %"
    another: str = "show the same picture as another, in other bytes"

    @staticmethod
    def of(input: str) -> Nouns:
        """Those of an input."""
        return Nouns(**INPUTS[input].facts.get("nouns", {}))

    def title(self, kind: Kind) -> str:
        return kind.title.format(same=self.same, alike=self.alike, units=f"{self.unit}s")

    def advice(self, kind: Kind) -> str:
        return kind.advice.format(same=self.same, alike=self.alike, units=f"{self.unit}s")


@dataclass(frozen=True)
class Kind:
    """Args:
    name: as it stands in `audit.json` ("near_duplicate").
    title: what it is, for people; in {braces} what `Nouns` fills in.
    advice: what to do about it, likewise.
    leave_out: what the exclude list does with the files: "all", "copies" (all but one),
        "training" (those of the training rows), "ask" (they stand in it as comments), "none".
        together: whether the rows of a finding belong together, so that each is compared with the
            first.
    """

    name: str
    title: str
    advice: str
    leave_out: str
    together: bool = False


#: Gravest first.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("empty_file", "empty files", "They cannot be read: left out.", "all"),
        Kind("empty_text", "texts without a letter", "There is nothing to learn from.", "all"),
        Kind("row_without_label", "rows without a label", "Passed over.", "none"),
        Kind(
            "bad_bytes",
            "texts with bytes that are no letters",
            "Save the file as UTF-8, or say how a table is stored, such as --encoding cp1252: "
            "until then a table is refused, and files are left out.",
            "all",
        ),
        Kind("truncated", "files that are cut off", "They cannot be read: left out.", "all"),
        Kind("unreadable", "unreadable files", "They cannot be read: left out.", "all"),
        Kind(
            "damaged",
            "{units} with damage inside",
            "They can be read, but part of each is not what was stored: left out.",
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
            "{same} under two labels",
            "One of the labels is wrong, and nothing says which: all are left out, until you "
            "keep the right one.",
            "all",
            together=True,
        ),
        Kind(
            "duplicate_across_splits",
            "{same} in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
            together=True,
        ),
        Kind("duplicate", "{same} more than once", "One of each stays.", "copies", together=True),
        Kind(
            "near_duplicate_with_other_label",
            "{alike} under two labels",
            "Look at each: one of the labels is probably wrong.",
            "ask",
            together=True,
        ),
        Kind(
            "near_duplicate_across_splits",
            "{alike} in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
            together=True,
        ),
        Kind(
            "near_duplicate",
            "{alike} more than once",
            "Harmless in training: train keeps them on one side of the splits that it makes.",
            "ask",
            together=True,
        ),
        Kind(
            "suspicious_label",
            "labels that a model doubts",
            "Look at each, and correct those that are wrong.",
            "ask",
        ),
        Kind(
            "long_text",
            "texts that are longer than a sequence model reads",
            "Models of n-grams read all of them; for the others: --max-length.",
            "none",
        ),
        Kind("class_without_training_rows", "classes that cannot be learnt", "", "none"),
        Kind("tiny_class", "tiny classes", "Add {units} of them.", "none"),
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
