"""What a reader is: it knows one layout, says whether a path has it, and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions
from skipstone.errors import UsageError
from skipstone.registry import TASKS

#: What users call their splits, and what we call them.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

#: What users call a folder of pictures, and the one beside it with their masks.
PICTURE_WORDS = frozenset({"image", "images", "img", "imgs", "jpegimages", "pictures", "photos"})
MASK_WORDS = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentationclass"),
        *("segmentation", "segmentations", "groundtruth", "ground_truth", "gt", "gts"),
    }
)


class Reader(Protocol):
    """Registered in READERS and constructed without arguments."""

    def sniff(self, path: Path) -> str | None:
        """What of this layout lies at `path` ("class folders"), in a few words; None if it is
        another one. A quick look: names and a few files, not the whole data set."""

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        """Every row. UsageError or DataError, with the path, where it cannot be."""


def has_many_labels(task: str) -> bool:
    """Whether a target of this task is a list of labels, rather than one.

    Raises:
        UsageError: no such task, or its targets are no labels, so this reader cannot give them.
    """
    labels = TASKS[task].facts.get("labels")
    if labels is None:
        raise UsageError(
            f"the task {task!r} is not about labels, which is all that this layout holds.",
            hint="Leave --task out, or name a reader that knows its targets: --reader NAME.",
        )
    return bool(labels == "many")
