"""Why a path is no data set, in one sentence with the next thing to type."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path

from skipstone.data.file_types import AVIF, SIDECAR, picture_format
from skipstone.data.readers.base import SPLIT_NAMES, counted, listed
from skipstone.data.readers.class_folders import has_pictures, subfolders
from skipstone.data.readers.columns import TABLE_SUFFIXES
from skipstone.data.readers.scan import first_bytes, scan
from skipstone.errors import UsageError

_MODEL_SUFFIXES = frozenset({".onnx", ".safetensors", ".pt", ".pth", ".bin"})
_ARCHIVES = {".zip": "unzip", ".tar": "tar xf", ".gz": "tar xf", ".tgz": "tar xf", ".7z": "7z x"}


def check_path(path: str | Path) -> Path:
    """`path`, existing and not a model. UsageError otherwise."""
    root = Path(path).expanduser()
    if not root.exists():
        raise _missing(root)
    if root.is_dir():
        _refuse_model(root)
    return root


def _missing(root: Path) -> UsageError:
    if glob.has_magic(str(root)):
        return UsageError(
            f"{root} is a pattern that matched nothing here.",
            hint=f"Give the folder that holds the class folders: {_before_pattern(root)}",
        )
    parent = root.parent
    while not parent.exists():
        root, parent = parent, parent.parent
    names = {child.name.casefold(): child.name for child in parent.iterdir()}
    near = difflib.get_close_matches(root.name.casefold(), names, n=3, cutoff=0.6)
    if near:
        places = " or ".join(str(parent / names[name]) for name in near)
        hint: str | None = f"Did you mean {places}?"
    else:
        inside = sorted(child.name for child in parent.iterdir() if child.is_dir())
        hint = f"{parent.resolve()} holds: {listed(inside, 8)}." if inside else None
    return UsageError(f"{root} does not exist.", hint=hint)


def _before_pattern(root: Path) -> Path:
    while glob.has_magic(str(root)):
        root = root.parent
    return root


def _refuse_model(root: Path) -> None:
    if (root / "run.json").is_file():
        kind = "a run of skipstone"
    elif (root / "bundle.json").is_file():
        kind = "a model of skipstone"
    elif any((child / "run.json").is_file() for child in subfolders(root)):
        kind = "a folder of runs of skipstone"
    else:
        return
    raise UsageError(
        f"{root} is {kind}, not data.",
        hint="Where a command takes both, the model comes first: skipstone evaluate MODEL DATA.",
    )


def nothing_read(root: Path) -> UsageError:
    """The error for a path that no reader recognised."""
    if root.is_file():
        return _no_data_file(root)
    inside = [folder for folder in subfolders(root) if has_pictures(folder)]
    tables = [child for child in sorted(root.iterdir()) if child.suffix.lower() in TABLE_SUFFIXES]
    if len(tables) == 1 and (inside or has_pictures(root, below=False)):
        return UsageError(
            f"{root} holds pictures without class folders, and a table beside them.",
            hint=f"If the table has the labels, give it: {tables[0]}",
        )
    splits = [folder for folder in inside if folder.name.casefold() in SPLIT_NAMES]
    if inside and len(splits) == len(inside):
        return UsageError(
            f"{root}: {listed(folder.name for folder in inside)} "
            f"{'holds' if len(inside) == 1 else 'hold'} pictures without class folders, so there "
            "are no labels.",
            hint=f"Sort them into folders by class, such as {inside[0] / 'cat'}, or give a table "
            "(CSV) with the columns path and label.",
        )
    if len(inside) == 1:
        return _wrapper(root, inside[0])
    if has_pictures(root, below=False):
        return UsageError(
            f"{root} holds pictures but no class folders, so there are no labels.",
            hint=f"Sort them into folders by class, such as {root / 'cat'} and {root / 'dog'}, or "
            "give a table (CSV) with the columns path and label.",
        )
    return _no_pictures(root)


def _no_data_file(path: Path) -> UsageError:
    suffix = path.suffix.lower()
    if picture_format(first_bytes(path)) is not None:
        return UsageError(
            f"{path} is one picture, not a data set.",
            hint=f"For an answer on it: skipstone predict MODEL {path}",
        )
    if suffix in _MODEL_SUFFIXES:
        return UsageError(f"{path} is a model's file, not data.", hint="Give the folder of photos.")
    if suffix in _ARCHIVES:
        return UsageError(
            f"{path} is an archive.",
            hint=f"Unpack it ({_ARCHIVES[suffix]} {path.name}) and give the folder.",
        )
    return UsageError(
        f"{path} is no data set.",
        hint="Give a folder with one sub-folder per class, a table (.csv, .tsv, .jsonl, .parquet) "
        "with a path or text column and a label column, or a folder with IDX files.",
    )


def _wrapper(root: Path, inner: Path) -> UsageError:
    """One folder only: follow it down to where the data set begins."""
    folder = inner
    while not has_pictures(folder, below=False):
        deeper = [child for child in subfolders(folder) if has_pictures(child)]
        if len(deeper) != 1:
            break
        if not subfolders(deeper[0]):
            break
        folder = deeper[0]
    if subfolders(folder):
        return UsageError(
            f"{root} holds one folder only, {inner.name}, and the data set lies inside it.",
            hint=f"Give that: {folder}",
        )
    return UsageError(
        f"{root} holds one class only ({inner.name}); telling things apart takes two.",
        hint="Add a folder with pictures of another class beside it.",
    )


def _no_pictures(root: Path) -> UsageError:
    found = scan(root)
    total = sum(found.ignored.values())
    if found.ignored[AVIF]:
        return UsageError(
            f"{root} holds {counted(found.ignored[AVIF], 'AVIF picture')}, which are not read.",
            hint="Save them as JPEG first (with ImageMagick: magick mogrify -format jpg *.avif).",
        )
    what = ", ".join(f"{count:,} {reason}" for reason, count in found.ignored.most_common(3))
    seen = f" ({counted(total, 'file')} passed over: {what})" if total else ""
    hint = "JPEG, PNG, WebP, BMP, TIFF and HEIC are read."
    if found.ignored[SIDECAR] and any(c.suffix.lower() in TABLE_SUFFIXES for c in root.iterdir()):
        hint = "A table is given by its own path, such as photos/labels.csv."
    return UsageError(f"{root} holds no pictures{seen}.", hint=hint)
