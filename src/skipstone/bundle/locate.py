"""From what a user calls a model to the folder of its bundle."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from skipstone.bundle.files import RECORD
from skipstone.errors import UsageError, did_you_mean
from skipstone.events import note

_A_MODEL = "A model is a bundle, or the run folder that `skipstone train` made."


def bundle_of(path: Path | str) -> Path:
    """The bundle folder of a bundle, of a run folder such as `runs/001`, or of the newest run in
    a folder of runs, which is then stated.

    Raises:
        UsageError: there is nothing, or something else; says what it seems to be.
    """
    path = Path(path)
    if not path.exists():
        if glob.has_magic(str(path)):
            raise UsageError(
                f"there is no model {path}: it is a pattern that matched nothing here.",
                hint="Name one model, such as runs/001.",
            )
        siblings = _names(path.parent)
        hint = did_you_mean(path.name, siblings)
        raise UsageError(f"there is no model {path}.", hint=hint if "mean" in hint else _A_MODEL)
    if not path.is_dir():
        folder = path.parent
        model = next((place for place in (folder, folder.parent.parent) if is_model(place)), None)
        hint = _A_MODEL if model is None else f"Did you mean the model {model}?"
        raise UsageError(f"{path} is a file, not a model.", hint=hint)
    if is_model(path):
        return _bundle_in(path)
    if not (path / "run.json").is_file():
        runs = [name for name in _names(path) if name.isdecimal() and is_model(path / name)]
        if runs:
            newest = path / max(runs, key=int)
            note(f"The model is {newest}, the newest of {len(runs)} in {path}.")
            return _bundle_in(newest)
    raise UsageError(*_what_it_is(path))


def _what_it_is(path: Path) -> tuple[str]:
    if (path / "run.json").is_file():
        return (
            f"{path} is a run that has no model yet: its training did not finish. "
            "The same train command goes on with it.",
        )
    runs = [name for name in _names(path) if is_model(path / name)]
    if runs:
        return (
            f"{path}/ is a folder of models, not a model. Choose one, such as {path / runs[-1]}.",
        )
    if any(path.iterdir()):
        return (
            f"{path}/ is a data folder, not a model: it holds no {RECORD}. {_A_MODEL} "
            f"To train one: skipstone train {shlex.quote(str(path))}",
        )
    return (f"{path}/ is an empty folder, not a model. {_A_MODEL}",)


def is_model(folder: Path) -> bool:
    """Whether it is a bundle, or a run that has one."""
    return (folder / RECORD).is_file() or (folder / "bundle" / RECORD).is_file()


def names_model(path: Path) -> bool:
    """Whether `bundle_of` would find one: a bundle, a run, or a folder of runs."""
    return is_model(path) or any(
        name.isdecimal() and is_model(path / name) for name in _names(path)
    )


def _bundle_in(folder: Path) -> Path:
    return folder if (folder / RECORD).is_file() else folder / "bundle"


def _names(folder: Path) -> list[str]:
    """The folders in `folder`; of a huge one the first thousand."""
    if not folder.is_dir():
        return []
    folders: Iterable[str] = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(islice(folders, 1000))
