"""IDX files as MNIST and Fashion-MNIST have them: images and labels in two files a split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from skipstone.data.idx_file import is_idx, read_idx, read_shape
from skipstone.data.manifest import Manifest, table_of
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import has_many_labels
from skipstone.errors import DataError, UsageError
from skipstone.words import counted, listed, natural_sorted

# "emnist-letters-train-images-idx3-ubyte.gz": a stem, a split, images or labels.
_NAME = re.compile(
    r"^(?P<stem>.*?)[-_.]?(?P<split>train|t10k|test|valid|validation|val)"
    r"[-_.](?P<kind>images|labels)[-_.]idx(?P<rank>\d)-ubyte(?P<gz>\.gz)?$",
    re.IGNORECASE,
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}


@dataclass(frozen=True)
class _Part:
    stem: str
    split: str
    kind: str
    path: Path


class Idx:
    """A folder with train-images-idx3-ubyte(.gz), train-labels-idx1-ubyte(.gz) and t10k-...; or
    the path of one images file."""

    def sniff(self, path: Path) -> str | None:
        if path.is_file():
            part = _part(path)
            return "an IDX file" if part is not None and is_idx(path) else None
        parts = [part for part in _parts(path) if is_idx(part.path)]
        return f"IDX files ({listed(part.path.name for part in parts)})" if parts else None

    def read(self, path: Path, options: ReadOptions) -> Manifest:
        if options.task is not None and has_many_labels(options.task):
            raise UsageError(
                f"{path}: IDX files hold one label a picture, which is --task classify.",
                hint=f"Leave --task {options.task} out. Several labels a picture go into a table.",
            )
        root, pairs = _pairs(path)
        rows: dict[str, list[object]] = {"path": [], "member": [], "split": [], "target": []}
        sizes = []
        for split, (images, labels) in pairs.items():
            values = _labels(images, labels)
            rows["path"] += [images.name] * len(values)
            rows["member"] += range(len(values))
            rows["split"] += [split] * len(values)
            rows["target"] += values
            shape = "x".join(str(size) for size in read_shape(images)[1:])
            sizes.append(f"{counted(len(values), 'picture')} {shape} in {split} ({images.name})")
        classes = natural_sorted({str(value) for value in rows["target"]})
        if len(classes) < 2:
            raise UsageError(
                f"{path} holds {counted(len(classes), 'class', 'classes')}; telling "
                "things apart takes two.",
                hint="Look at the labels file; or give the folder that holds all classes.",
            )
        return Manifest(
            table_of(rows, pa.string()),
            root=root,
            reader="idx",
            input="image",
            task=options.task or "classify",
            schema={"classes": classes},
            notes=(
                f"Read as IDX files: {', '.join(sizes)}; "
                f"{len(classes)} classes ({listed(classes, 10)}).",
            ),
        )


def _part(path: Path) -> _Part | None:
    match = _NAME.match(path.name)
    if match is None:
        return None
    split = match["split"].lower()
    return _Part(match["stem"], _SPLITS.get(split, "validation"), match["kind"].lower(), path)


def _parts(folder: Path) -> list[_Part]:
    """By name; where a file lies both packed and unpacked, the unpacked one."""
    if not folder.is_dir():
        return []
    found: dict[tuple[str, str, str], _Part] = {}
    for child in sorted(folder.iterdir()):
        part = _part(child) if child.is_file() else None
        if part is not None:
            found.setdefault((part.stem, part.split, part.kind), part)
    return list(found.values())


def _pairs(path: Path) -> tuple[Path, dict[str, tuple[Path, Path]]]:
    """The folder, and {split: (images, labels)} in the order train, validation, test."""
    root = path if path.is_dir() else path.parent
    parts = _parts(root)
    if path.is_file():
        given = _part(path)
        if given is None:
            raise UsageError(
                f"{path} has no name as IDX files have (train-images-idx3-ubyte).",
                hint="Rename it and its labels (train-labels-idx1-ubyte), or give their folder.",
            )
        parts = [part for part in parts if (part.stem, part.split) == (given.stem, given.split)]
    stems = sorted({part.stem for part in parts})
    if len(stems) > 1:
        first = [str(part.path) for part in parts if part.kind == "images"]
        raise UsageError(
            f"{root} holds {len(stems)} data sets ({listed(stems)}).",
            hint=f"Move them to a folder each, or give one images file: {listed(first, 3)}",
        )
    by_kind = {(part.split, part.kind): part.path for part in parts}
    pairs: dict[str, tuple[Path, Path]] = {}
    for split in ("train", "validation", "test"):
        images, labels = by_kind.get((split, "images")), by_kind.get((split, "labels"))
        if images is not None and labels is not None:
            pairs[split] = (images, labels)
        elif images is not None:
            raise _alone(images, "images", "labels-idx1")
        elif labels is not None:
            raise _alone(labels, "labels", "images-idx3")
    if not pairs:
        raise UsageError(
            f"{root} holds no IDX files.",
            hint="They are called train-images-idx3-ubyte and train-labels-idx1-ubyte, or .gz.",
        )
    return root, pairs


def _alone(there: Path, kind: str, other: str) -> DataError:
    """A file of one kind without the other's."""
    name = re.sub(rf"{kind}[-_.]idx\d", other, there.name, flags=re.IGNORECASE)
    return DataError(
        f"{there} has no {other.partition('-')[0]} file beside it in {there.parent}.",
        hint=f"Put it there as {name}, or move {there.name} away.",
    )


def _labels(images: Path, labels: Path) -> list[str]:
    shape, label_shape = read_shape(images), read_shape(labels)
    if len(shape) not in (3, 4):
        raise DataError(
            f"{images} holds {len(shape)} dimensions; pictures have 3, or 4 (colour).",
            hint="Check that images and labels have not changed names.",
        )
    if len(label_shape) != 1 or label_shape[0] != shape[0]:
        raise DataError(
            f"{images.name} holds {shape[0]:,} pictures but {labels.name} holds labels of shape "
            f"{label_shape}, in {images.parent}.",
            hint="The two belong to different data sets, or one is cut: fetch both once more.",
        )
    return [str(value) for value in read_idx(labels).tolist()]
