"""Choose output paths: never inside the user's data, never over existing files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from skipstone.bundle.files import BUNDLE_JSON
from skipstone.bundle.locate import RUN_JSON, resolves_to_bundle
from skipstone.core.errors import UsageError
from skipstone.core.events import emit_note
from skipstone.data.input_files import list_main_inputs, make_skip_check, read_head
from skipstone.data.manifest import MANIFEST_FILE, load_data_path
from skipstone.data.readers.scan import is_regular_file, walk_folders


def choose_output_folder(out: str | Path | None, *, default: str, data: Path | None = None) -> Path:
    """The folder to write to.

    Args:
        out: the user's choice; None for `default` in the current folder.
        default: a relative name.
        data: the user's data, in which nothing is written. If the default lies inside it (the
            current folder *is* the data), a sibling folder is used, with a note.

    Raises:
        UsageError: `out` lies inside `data`, or is a file.
    """
    folder = Path(default if out is None else out)
    if data is not None and is_inside_data(folder, data):
        if out is not None:
            reject_path_inside_data(folder, data, "--out", _sibling(data, default))
        folder = _sibling(data, default)
        emit_note(f"The current folder is the data folder, so outputs go to {folder}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file.", hint="Name a folder.")
    return folder


def reject_path_inside_data(path: Path, data: Path, flag: str, instead: Path | None = None) -> None:
    """UsageError if `path` lies inside the data."""
    if is_inside_data(path, data):
        raise UsageError(
            f"{flag} {path} lies inside the data {data}; nothing is written there.",
            hint=f"Use a path outside of it: {flag} {instead or _sibling(data, path.name)}",
        )


def reject_nonempty_folder(folder: Path) -> None:
    """UsageError if `folder` exists and is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} exists and is not empty; nothing is overwritten.",
            hint="Name another folder: --out DIR",
        )


def is_inside_data(path: Path, data: Path) -> bool:
    """Whether `path` is in the data: below its folder or, for a table, in a folder next to it that
    holds files of an input outside of runs and models. (Any other folder next to a table may be
    used.)"""
    root, path = _root(data), path.resolve()
    if not path.is_relative_to(root):
        return False
    if data.is_dir() or path == root:
        return True
    folder = root / path.relative_to(root).parts[0]
    return folder.is_dir() and not resolves_to_bundle(folder) and _holds_data(folder)


def _holds_data(folder: Path) -> bool:
    """Whether files of an input lie below `folder`, outside of runs and models."""
    checks = [make_skip_check(spec) for spec in list_main_inputs()]
    outputs: set[str] = set()  # folders of runs and models; parents come before their subfolders
    for _, files in walk_folders(folder, Counter()):
        parent = files[0][0].rpartition("/")[0] if files else ""
        parts = parent.split("/")
        if any("/".join(parts[:depth]) in outputs for depth in range(len(parts) + 1)):
            continue
        if {RUN_JSON, BUNDLE_JSON} & {entry.name for _, entry in files}:
            outputs.add(parent)
        elif any(
            check(entry.name, read_head(entry.path)) is None
            for _, entry in files
            if is_regular_file(entry)
            for check in checks
        ):
            return True
    return False


def find_training_data(bundle: Path) -> Path | None:
    """The data that the bundle's run was trained on; None if the bundle is not in a run folder, or
    if the data no longer exists."""
    file = bundle.parent / MANIFEST_FILE
    data = load_data_path(file) if file.is_file() else None
    return data if data is not None and data.exists() else None


def _root(data: Path) -> Path:
    return data.resolve() if data.is_dir() else data.resolve().parent


def _sibling(data: Path, default: str) -> Path:
    root = _root(data)
    return root.parent / f"{root.name}-{default}"
