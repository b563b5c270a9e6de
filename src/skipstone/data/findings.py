"""Findings of an audit and their kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skipstone.core.specs import AuditNouns


@dataclass(frozen=True)
class FindingKind:
    """Args:
    name: as in `audit.json` ("near_duplicate").
    title: for people; `AuditNouns` fills in what is in {braces}.
    advice: what to do, with the same {braces}.
    leave_out: what the exclude list does with the files: "all", "copies" (all but one),
        "training" (those of the training rows), "ask" (as comments), "none".
    is_group: whether the rows of a finding are a group, each to be compared with the first.
    """

    name: str
    title: str
    advice: str
    leave_out: str
    is_group: bool = False

    def format_title(self, nouns: AuditNouns) -> str:
        return self._fill_in(self.title, nouns)

    def format_advice(self, nouns: AuditNouns) -> str:
        return self._fill_in(self.advice, nouns)

    @staticmethod
    def _fill_in(text: str, nouns: AuditNouns) -> str:
        return text.format(
            same=nouns.duplicate_title, alike=nouns.near_duplicate_title, units=f"{nouns.unit}s"
        )


#: Most severe first.
KINDS = {
    kind.name: kind
    for kind in (
        FindingKind("empty_file", "empty files", "They cannot be read: left out.", "all"),
        FindingKind(
            "empty_text", "texts without a letter", "There is nothing to learn from.", "all"
        ),
        FindingKind("row_without_label", "rows without a label", "Skipped.", "none"),
        FindingKind(
            "bad_bytes",
            "texts with invalid bytes",
            "Save the file as UTF-8, or give a table's encoding, such as --encoding cp1252. Until "
            "then a table is refused, and files are left out.",
            "all",
        ),
        FindingKind("truncated", "files that are cut off", "They cannot be read: left out.", "all"),
        FindingKind("unreadable", "unreadable files", "They cannot be read: left out.", "all"),
        FindingKind(
            "damaged",
            "{units} with damage inside",
            "They can be read, but part of each is lost: left out.",
            "all",
        ),
        FindingKind("mask_unreadable", "unreadable masks", "Their pictures are left out.", "all"),
        FindingKind(
            "mask_values",
            "masks with unknown values",
            "Add these values to the table of classes, or ignore them (--ignore). Until then their "
            "pictures are left out.",
            "all",
        ),
        FindingKind(
            "mask_size",
            "masks of another size than their picture",
            "Their pixels cannot be matched: their pictures are left out.",
            "all",
        ),
        FindingKind(
            "mask_empty", "masks without a class", "Nothing to learn from: left out.", "all"
        ),
        FindingKind("picture_without_mask", "pictures without a mask", "Skipped.", "none"),
        FindingKind("mask_without_picture", "masks without a picture", "Skipped.", "none"),
        FindingKind("mask_class_missing", "classes that no mask has", "", "none"),
        FindingKind(
            "box_double",
            "photos with two boxes on the same object",
            "One of the two labels is wrong, or it is listed twice: correct it.",
            "ask",
        ),
        FindingKind(
            "boxes_of_other_size",
            "annotations of another size than their photo",
            "Their boxes cannot be placed: left out.",
            "none",
        ),
        FindingKind("box_corrected", "boxes that were corrected or dropped", "", "none"),
        FindingKind("box_tiny", "photos with tiny boxes", "Often slips of the mouse.", "none"),
        FindingKind("photo_without_boxes", "photos without an annotation", "Left out.", "none"),
        FindingKind("boxes_without_photo", "annotations without a photo", "Left out.", "none"),
        FindingKind("box_class_missing", "classes without a box to train on", "", "none"),
        FindingKind("not_a_picture", "files of another kind", "Left out.", "all"),
        FindingKind("not_a_recording", "files of another kind", "Left out.", "all"),
        FindingKind("silent", "silent {units}", "There is nothing to learn from.", "all"),
        FindingKind("not_read", "{units} of an unsupported format", "Left out.", "all"),
        FindingKind(
            "too_large",
            "{units} that are too large to decode safely",
            "Decoding them takes too much memory: left out.",
            "all",
        ),
        FindingKind(
            "mixed_pixels",
            "pictures of several depths or numbers of channels",
            "They cannot be trained on together: keep one kind, or say how to read them "
            "(--channels, --bits).",
            "ask",
        ),
        FindingKind(
            "pages",
            "pages that may be channels",
            "Say what they are: --pages channels, or --pages first.",
            "none",
        ),
        FindingKind(
            "duplicate_with_other_label",
            "{same} under two labels",
            "One of the labels is wrong, and the audit cannot know which: all are left out until "
            "you keep the right one.",
            "all",
            is_group=True,
        ),
        FindingKind(
            "duplicate_across_splits",
            "{same} in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
            is_group=True,
        ),
        FindingKind(
            "duplicate", "{same} more than once", "One of each stays.", "copies", is_group=True
        ),
        FindingKind(
            "near_duplicate_with_other_label",
            "{alike} under two labels",
            "Look at each: one of the labels is probably wrong.",
            "ask",
            is_group=True,
        ),
        FindingKind(
            "near_duplicate_across_splits",
            "{alike} in two splits",
            "Scores would be too good: the training copies are left out.",
            "training",
            is_group=True,
        ),
        FindingKind(
            "near_duplicate",
            "{alike} more than once",
            "Harmless: train never divides them between train, val and test.",
            "ask",
            is_group=True,
        ),
        FindingKind(
            "suspicious_label",
            "labels that are probably wrong",
            "Look at each, and correct those that are wrong.",
            "ask",
        ),
        FindingKind(
            "long_text",
            "texts that are longer than a sequence model reads",
            "Models of n-grams read them completely; for other models: --max-length.",
            "none",
        ),
        FindingKind(
            "voice_across_splits",
            "voices in several splits",
            "To measure how new voices are recognised, give the voices as a column: --group-column.",
            "none",
        ),
        FindingKind(
            "clipped", "clipped {units}", "Loud parts are cut off: record them again.", "ask"
        ),
        FindingKind(
            "offset",
            "{units} with an offset",
            "Harmless for spectrograms; check the cable.",
            "none",
        ),
        FindingKind("mixed_rates", "{units} of several rates", "Harmless.", "none"),
        FindingKind("class_without_training_rows", "classes that cannot be learnt", "", "none"),
        FindingKind("tiny_class", "tiny classes", "Add {units} of these classes.", "none"),
        FindingKind("imbalance", "imbalanced classes", "", "none"),
        FindingKind("extension", "names with the extension of another format", "Harmless.", "none"),
    )
}


@dataclass(frozen=True)
class Finding:
    """Args:
    kind: one of KINDS.
    paths: the files, relative to the root; empty if the finding is about a class.
    message: a sentence.
    rows: positions of `paths` in the manifest.
    notes: one for each of `paths` ("mirrored", "labelled hat, looks like shoes"), or empty.
    """

    kind: str
    paths: tuple[str, ...]
    message: str
    rows: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        fields = {"kind": self.kind, "paths": list(self.paths), "message": self.message}
        return fields if not self.notes else {**fields, "notes": list(self.notes)}
