"""The Reader protocol: a reader knows one layout, recognises paths that have it, and reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from skipstone.core.errors import UsageError
from skipstone.core.registry import TASKS
from skipstone.data.manifest import Manifest
from skipstone.data.options import ReadOptions

#: The names that users give their splits -> our names.
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

#: Usual names of a folder of pictures, and of the folder with their masks.
PICTURE_FOLDER_NAMES = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "pictures", "photos", "leftimg8bit"}
)
MASK_FOLDER_NAMES = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentationclass"),
        *("segmentation", "segmentations", "groundtruth", "ground_truth", "gt", "gts"),
        *("trimap", "trimaps", "gtfine", "gtcoarse"),
    }
)


class Reader(Protocol):
    """Registered in READERS and constructed without arguments."""

    def detect_layout(self, path: Path) -> str | None:
        """A short description of the data at `path` ("class folders (cat, dog)"); None if it has
        another layout. Must be quick: names and a few files, not the full data set."""

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        """Every row. UsageError or DataError, with the path, if the data cannot be read."""


def is_multi_label(task: str) -> bool:
    """Whether a target of this task is a list of labels rather than one label.

    Raises:
        UsageError: unknown task, or its targets are not labels, so this layout cannot give them.
    """
    labels = TASKS[task].labels
    if labels is None:
        raise UsageError(
            f"this layout holds labels, which the task {task!r} does not use.",
            hint="Omit --task, or name a reader that has its targets: --reader NAME.",
        )
    return bool(labels == "many")
