"""IDX files as in MNIST and Fashion-MNIST: per split, one file of images and one of labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from skipstone.core.errors import DataError, UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.data.idx_files import is_idx_file, read_idx, read_idx_shape
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.options import ReadOptions
from skipstone.data.readers.base import is_multi_label

# "emnist-letters-train-images-idx3-ubyte.gz": a stem, a split, images or labels.
_NAME = re.compile(
    r"^(?P<stem>.*?)[-_.]?(?P<split>train|t10k|test|valid|validation|val)"
    r"[-_.](?P<kind>images|labels)[-_.]idx(?P<rank>\d)-ubyte(?P<gz>\.gz)?$",
    re.IGNORECASE,
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}


@dataclass(frozen=True)
class _IdxFile:
    stem: str
    split: str
    kind: str
    path: Path


class IdxReader:
    """A folder with train-images-idx3-ubyte(.gz), train-labels-idx1-ubyte(.gz) and t10k-...; or
    the path of one images file."""

    def detect_layout(self, path: Path) -> str | None:
        if path.is_file():
            file = _parse_name(path)
            return "an IDX file" if file is not None and is_idx_file(path) else None
        files = [file for file in _list_files(path) if is_idx_file(file.path)]
        return f"IDX files ({join_limited(file.path.name for file in files)})" if files else None

    def read_manifest(self, path: Path, options: ReadOptions) -> Manifest:
        if options.task is not None and is_multi_label(options.task):
            raise UsageError(
                f"{path}: IDX files hold one label per picture, which is --task classify.",
                hint=f"Omit --task {options.task}. For several labels per picture use a table.",
            )
        root, pairs = _find_pairs(path)
        rows: dict[str, list[object]] = {"path": [], "member": [], "split": [], "target": []}
        sizes = []
        for split, (images, labels) in pairs.items():
            values = _labels(images, labels)
            rows["path"] += [images.name] * len(values)
            rows["member"] += range(len(values))
            rows["split"] += [split] * len(values)
            rows["target"] += values
            shape = "x".join(str(size) for size in read_idx_shape(images)[1:])
            sizes.append(f"{pluralize(len(values), 'picture')} {shape} in {split} ({images.name})")
        classes = natural_sorted({str(value) for value in rows["target"]})
        if len(classes) < 2:
            raise UsageError(
                f"{path} holds {pluralize(len(classes), 'class', 'classes')}; classification needs "
                "at least two.",
                hint="Check the labels file, or give the folder that holds all classes.",
            )
        return Manifest(
            build_table(rows, pa.string()),
            root=root,
            reader="idx",
            input="image",
            task=options.task or "classify",
            schema={"classes": classes},
            notes=(
                f"Read as IDX files: {', '.join(sizes)}; "
                f"{len(classes)} classes ({join_limited(classes, 10)}).",
            ),
        )


def _parse_name(path: Path) -> _IdxFile | None:
    match = _NAME.match(path.name)
    if match is None:
        return None
    split = match["split"].lower()
    return _IdxFile(match["stem"], _SPLITS.get(split, "validation"), match["kind"].lower(), path)


def _list_files(folder: Path) -> list[_IdxFile]:
    """The IDX files of a folder by name; without the packed file if there is an unpacked one."""
    if not folder.is_dir():
        return []
    files: dict[tuple[str, str, str], _IdxFile] = {}
    for child in sorted(folder.iterdir()):
        file = _parse_name(child) if child.is_file() else None
        if file is not None:
            files.setdefault((file.stem, file.split, file.kind), file)
    return list(files.values())


def _find_pairs(path: Path) -> tuple[Path, dict[str, tuple[Path, Path]]]:
    """The folder, and {split: (images, labels)} in the order train, validation, test."""
    root = path if path.is_dir() else path.parent
    files = _list_files(root)
    if path.is_file():
        named = _parse_name(path)
        if named is None:
            raise UsageError(
                f"{path} does not have a name of an IDX file (train-images-idx3-ubyte).",
                hint="Rename it and its labels (train-labels-idx1-ubyte), or give their folder.",
            )
        files = [part for part in files if (part.stem, part.split) == (named.stem, named.split)]
    stems = sorted({part.stem for part in files})
    if len(stems) > 1:
        first = [str(part.path) for part in files if part.kind == "images"]
        raise UsageError(
            f"{root} holds {len(stems)} data sets ({join_limited(stems)}).",
            hint=f"Move each to a separate folder, or give one images file: {join_limited(first, 3)}",
        )
    by_kind = {(part.split, part.kind): part.path for part in files}
    pairs: dict[str, tuple[Path, Path]] = {}
    for split in ("train", "validation", "test"):
        images, labels = by_kind.get((split, "images")), by_kind.get((split, "labels"))
        if images is not None and labels is not None:
            pairs[split] = (images, labels)
        elif images is not None:
            raise _missing_partner_error(images, "images", "labels-idx1")
        elif labels is not None:
            raise _missing_partner_error(labels, "labels", "images-idx3")
    if not pairs:
        raise UsageError(
            f"{root} holds no IDX files.",
            hint="Their names are train-images-idx3-ubyte and train-labels-idx1-ubyte, or .gz.",
        )
    return root, pairs


def _missing_partner_error(present: Path, kind: str, other: str) -> DataError:
    """The error for an images file without labels, or the reverse."""
    name = re.sub(rf"{kind}[-_.]idx\d", other, present.name, flags=re.IGNORECASE)
    return DataError(
        f"{present} has no {other.partition('-')[0]} file in {present.parent}.",
        hint=f"Add it as {name}, or move {present.name} away.",
    )


def _labels(images: Path, labels: Path) -> list[str]:
    shape, label_shape = read_idx_shape(images), read_idx_shape(labels)
    if len(shape) not in (3, 4):
        raise DataError(
            f"{images} holds {len(shape)} dimensions; pictures have 3, or 4 (colour).",
            hint="Check that the names of images and labels were not swapped.",
        )
    if len(label_shape) != 1 or label_shape[0] != shape[0]:
        raise DataError(
            f"{images.name} holds {shape[0]:,} pictures but {labels.name} holds labels of shape "
            f"{label_shape}, in {images.parent}.",
            hint="They belong to different data sets, or one is truncated: download both again.",
        )
    return [str(value) for value in read_idx(labels).tolist()]
