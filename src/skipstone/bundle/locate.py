"""Resolve a user's model path to the folder of its bundle."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from skipstone.bundle.files import BUNDLE_JSON
from skipstone.core.errors import UsageError, did_you_mean
from skipstone.core.events import emit_note

RUN_JSON = "run.json"
_A_MODEL = "A model is a bundle, or the run folder that `skipstone train` made."


def resolve_bundle(path: Path | str) -> Path:
    """The bundle folder of a bundle, of a run folder such as `runs/001`, or of the newest run in
    a folder of runs (then with a note).

    Raises:
        UsageError: the path does not exist or is something else; says what it seems to be.
    """
    path = Path(path)
    if not path.exists():
        if glob.has_magic(str(path)):
            raise UsageError(
                f"no file matches the pattern {path}.", hint="Name one model, such as runs/001."
            )
        siblings = _list_folders(path.parent)
        hint = did_you_mean(path.name, siblings)
        raise UsageError(f"no model at {path}.", hint=hint if "mean" in hint else _A_MODEL)
    if not path.is_dir():
        folder = path.parent
        model = next(
            (
                candidate
                for candidate in (folder, folder.parent.parent)
                if is_model_folder(candidate)
            ),
            None,
        )
        hint = _A_MODEL if model is None else f"Did you mean the model {model}?"
        raise UsageError(f"{path} is a file, not a model.", hint=hint)
    if is_model_folder(path):
        return _bundle_in(path)
    if not (path / RUN_JSON).is_file():
        runs = [
            name
            for name in _list_folders(path)
            if name.isdecimal() and is_model_folder(path / name)
        ]
        if runs:
            newest = path / max(runs, key=int)
            emit_note(f"The model is {newest}, the newest of {len(runs)} in {path}.")
            return _bundle_in(newest)
    raise UsageError(*_explain_not_a_model(path))


def _explain_not_a_model(path: Path) -> tuple[str]:
    if (path / RUN_JSON).is_file():
        return (
            f"{path} is a run without a model: its training did not finish. "
            "Repeat the same train command to resume it.",
        )
    runs = [name for name in _list_folders(path) if is_model_folder(path / name)]
    if runs:
        return (
            f"{path}/ is a folder of models, not a model. Choose one, such as {path / runs[-1]}.",
        )
    if any(path.iterdir()):
        return (
            f"{path}/ is a data folder, not a model: it holds no {BUNDLE_JSON}. {_A_MODEL} "
            f"To train one: skipstone train {shlex.quote(str(path))}",
        )
    return (f"{path}/ is an empty folder, not a model. {_A_MODEL}",)


def is_model_folder(folder: Path) -> bool:
    """Whether it is a bundle, or a run that has a bundle."""
    return (folder / BUNDLE_JSON).is_file() or (folder / "bundle" / BUNDLE_JSON).is_file()


def resolves_to_bundle(path: Path) -> bool:
    """Whether `resolve_bundle` would find a bundle: in a bundle, a run, or a folder of runs."""
    return is_model_folder(path) or any(
        name.isdecimal() and is_model_folder(path / name) for name in _list_folders(path)
    )


def _bundle_in(folder: Path) -> Path:
    return folder if (folder / BUNDLE_JSON).is_file() else folder / "bundle"


def _list_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted; at most a thousand."""
    if not folder.is_dir():
        return []
    folders: Iterable[str] = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(islice(folders, 1000))
