"""Where outputs go: never inside the user's data, and never over something that is there."""

from __future__ import annotations

from pathlib import Path

from skipstone.errors import UsageError
from skipstone.events import note


def output_folder(out: str | Path | None, *, default: str, data: Path | None = None) -> Path:
    """The folder to write to.

    Args:
        out: what the user asked for; None takes `default` under the current folder.
        default: a relative name.
        data: the user's data; nothing is ever written inside it. Where the default would land
            there (the current folder *is* the data), a sibling is used and stated.
    Raises:
        UsageError: `out` lies inside `data`, or is a file.
    """
    folder = Path(default if out is None else out)
    if data is not None and _inside(folder, data):
        if out is not None:
            raise UsageError(
                f"--out {folder} lies inside the data {data}; nothing is written there.",
                hint=f"Use a folder beside it: --out {_sibling(data, default)}",
            )
        folder = _sibling(data, default)
        note(f"The current folder is the data, so outputs go to {folder}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file.", hint="Name a folder that can be made.")
    return folder


def _inside(folder: Path, data: Path) -> bool:
    root = data.resolve() if data.is_dir() else data.resolve().parent
    if not data.is_dir():
        # A table beside its photos: only the folder of photos would be wrong, not the parent's
        # other children, so the table's own folder counts as data only when it is the target.
        return folder.resolve() == root
    return folder.resolve().is_relative_to(root)


def _sibling(data: Path, default: str) -> Path:
    root = data.resolve() if data.is_dir() else data.resolve().parent
    return root.parent / f"{root.name}-{default}"


def shortest(path: Path) -> Path:
    """How to name `path` to a person: relative to the current folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
