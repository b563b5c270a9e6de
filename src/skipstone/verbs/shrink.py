"""shrink: the smallest and fastest model within an accuracy budget, or an honest refusal."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_record
from skipstone.bundle.locate import bundle_of
from skipstone.data.manifest import ROLES, Manifest
from skipstone.data.manifest_file import MANIFEST, load_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import data_folder, read_manifest
from skipstone.data.table_cells import CONTENT, contents_of
from skipstone.errors import DataError, UsageError
from skipstone.events import note
from skipstone.prepare.options import SplitOptions
from skipstone.prepare.split import assign_roles
from skipstone.shrink.plan import Plan
from skipstone.shrink.shrink import ShrinkResult
from skipstone.shrink.shrink import shrink as shrink_bundle
from skipstone.train.runfolder import RUN, owned
from skipstone.verbs.places import known_data, output_folder, refuse_filled, refuse_inside
from skipstone.verbs.story import add_receipt, read_story
from skipstone.words import counted, quoted


def shrink(
    model: Path,
    *,
    max_drop: float = 1.0,
    plan: str = "int8",
    data: str | Path | None = None,
    exclude: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    latency_seconds: float = 8.0,
) -> ShrinkResult:
    """A smaller bundle beside `model`, within `max_drop` points of it, or the original kept.

    Args:
        plan: steps as text, such as "int8" or "int8(samples=100)".
        data: where the training data lies now; None for where it was.
        exclude: the list of rows that training left out, for a bundle away from its run.
        out: the new bundle's folder; None for `shrunk-<plan>` in the run's folder, with a number
            where that is taken. Nothing is overwritten.
        latency_seconds: to spend on measuring how fast it is.

    Raises:
        UsageError: what was given cannot be used; DataError where files of the data are missing.
        Refusal: a step cannot work on this model, the result does not verify, or another process
            works on the run.
    """
    steps = Plan.parse(plan)
    if not math.isfinite(max_drop) or max_drop < 0:
        raise UsageError(
            f"--max-drop {max_drop:g} is no budget: it is in points, from 0.",
            hint="Such as --max-drop 1 for one point of accuracy.",
        )
    original = bundle_of(model)
    given = None if data is None else Path(data)
    with _run_of(original) as run:
        manifest = training_data(original, given, exclude)
        folder = _place(original, steps, out, given or known_data(original))
        result = shrink_bundle(
            original,
            manifest,
            steps,
            max_drop=max_drop,
            out=folder,
            seed=seed,
            latency_seconds=latency_seconds,
        )
        if run is not None:
            add_receipt(run, result.receipt)  # refused ones are told as well
        return result


@contextlib.contextmanager
def _run_of(bundle: Path) -> Iterator[Path | None]:
    """The run folder that a bundle lies in, which nobody else works on meanwhile, and whose report
    can be told again; None for a bundle away from its run.

    Raises:
        Refusal: another process works on it; DamagedError: its report is damaged.
    """
    folder = bundle.parent
    if not (folder / RUN).is_file():
        yield None
        return
    with owned(folder):
        read_story(folder)  # said now, not after the work
        yield folder


def training_data(bundle: Path, data: Path | None, exclude: str | Path | None = None) -> Manifest:
    """The rows a model was trained with, in their roles, with files that are there.

    The run folder around the bundle knows them. For a bundle away from its run, `data` is read
    and split as training does by default; it is taken only if that gives the very rows and roles
    that the bundle's lineage names, so that no training row is taken for an unseen one.

    Raises:
        UsageError: the rows cannot be known; DataError: files are missing.
    """
    file = bundle.parent / MANIFEST
    if file.is_file():
        if exclude is not None:
            raise UsageError(
                f"--exclude {exclude} says nothing here: the run of {bundle} knows its rows.",
                hint="Leave it out; it is for a bundle away from its run.",
            )
        manifest = load_manifest(file)
        if data is not None:
            manifest = replace(manifest, root=_root(data))
    else:
        manifest = _read_again(bundle, data, exclude)
    _require_files(manifest, data)
    _require_contents(manifest, bundle)
    return manifest


def _read_again(bundle: Path, data: Path | None, exclude: str | Path | None) -> Manifest:
    if data is None:
        raise UsageError(
            f"{bundle} is not in its run folder, so nothing says which data it was trained with.",
            hint="Name the data: --data FOLDER",
        )
    lineage: dict[str, Any] = read_record(bundle)["lineage"]
    seed = int(lineage.get("seed", 0))
    options = ReadOptions(exclude=None if exclude is None else str(exclude))
    manifest = assign_roles(read_manifest(data, options), SplitOptions(seed=seed))
    if manifest.fingerprint() != lineage.get("data", {}).get("fingerprint"):
        raise UsageError(
            f"{data} is not the data that {bundle} was trained with, or was split with other "
            "options, so nothing says which rows the model has not seen.",
            hint=f"Shrink it in its run folder, or copy the run's {MANIFEST} beside the bundle; "
            "where it was trained with --exclude FILE, give that here as well.",
        )
    return manifest


def _root(data: Path) -> Path:
    """Paths of a table are relative to its folder."""
    if not data.exists():
        raise UsageError(f"--data {data} does not exist.")
    return data_folder(data) if data.is_dir() else data.parent


def _require_files(manifest: Manifest, data: Path | None) -> None:
    """Every file of the three roles is there."""
    used = [source for role in ROLES for source in manifest.role(role).sources()]
    paths = dict.fromkeys(source.path for source in used)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        moved = "Where the data has moved: --data FOLDER"
        other = f"--data takes what `skipstone train` was given; {data} has other files."
        raise DataError(
            f"{len(missing):,} of {len(paths):,} files of the training data are missing, such as "
            f"{missing[0]}.",
            hint=moved if data is None else other,
        )


def _require_contents(manifest: Manifest, bundle: Path) -> None:
    """Rows of a table hold what they held: a row's number says which part it is of."""
    if CONTENT not in manifest.table.column_names:
        return
    rows = zip(
        manifest.column("role"), manifest.column(CONTENT), contents_of(manifest), strict=True
    )
    others = sum(role in ROLES and then != now for role, then, now in rows)
    if others:
        table = manifest.root / manifest.column("path")[0]
        raise DataError(
            f"{table} was changed: {counted(others, 'row')} {'is' if others == 1 else 'are'} not "
            f"what {bundle} was made with, so nothing says which ones it has not seen.",
            hint="Put the table back as it was, or train on it as it is now: skipstone train DATA "
            f"--from {quoted(bundle)}",
        )


def _place(original: Path, plan: Plan, out: str | Path | None, data: Path | None) -> Path:
    """The new bundle's folder; never one that holds anything, and never in the data."""
    inside = (original.parent / MANIFEST).is_file()
    stem = f"shrunk-{plan.slug}" if inside else f"{original.name}-{plan.slug}"
    if out is not None:
        folder = output_folder(out, default=stem, data=data)
        refuse_filled(folder)
        return folder
    number, folder = 1, original.parent / stem
    while folder.exists():
        number += 1
        folder = original.parent / f"{stem}-{number}"
    if data is not None:
        refuse_inside(folder, data, "--out")
    if number > 1:
        note(f"{original.parent / stem} is there already, so the new model becomes {folder}")
    return folder
