"""shrink: make a model smaller and faster within an accuracy budget, or refuse."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skipstone.bundle.files import BUNDLE_JSON, read_bundle_json
from skipstone.bundle.locate import resolve_bundle
from skipstone.bundle.output_paths import (
    choose_output_folder,
    find_training_data,
    reject_nonempty_folder,
    reject_path_inside_data,
)
from skipstone.compression.apply_plan import ShrinkResult, load_result
from skipstone.compression.apply_plan import shrink as shrink_bundle
from skipstone.compression.shrink_plan import ShrinkPlan
from skipstone.core import disk, storage
from skipstone.core.errors import DataError, UsageError
from skipstone.core.events import emit_note
from skipstone.core.formatting import join_limited, pluralize, quote_path
from skipstone.data.fingerprint import CONTENT_DIGEST, compute_cell_digests
from skipstone.data.manifest import MANIFEST_FILE, ROLES, Manifest, load_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import find_data_folder, read_manifest
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.splitting import assign_roles
from skipstone.report.report_data import add_receipt_to_report, load_report_data
from skipstone.training.run_directory import RUN, lock_run
from skipstone.workflows.finished_run import have_changed, list_data_files


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
    """Write a smaller bundle that loses at most `max_drop` points of accuracy, or keep this one.

    Args:
        plan: steps as text, such as "int8" or "int8(samples=100)".
        data: where the training data is now; None for where it was.
        exclude: the list of rows that training left out, for a bundle outside of its run folder.
        out: the new bundle's folder; None for `shrunk-<plan>` in the run folder, with a number if
            that exists. Nothing is overwritten.
        latency_seconds: time to spend on latency measurements.

    Raises:
        UsageError: an argument is invalid. DataError: files of the data are missing.
        Refusal: a step does not support this model, the result fails verification, or another
            process is using the run.
    """
    steps = ShrinkPlan.from_text(plan)
    if not math.isfinite(max_drop) or max_drop < 0:
        raise UsageError(
            f"--max-drop {max_drop:g} is not valid: it is in points, from 0.",
            hint="For example --max-drop 1 for one point of accuracy.",
        )
    original = resolve_bundle(model)
    data_path = None if data is None else Path(data)
    with _lock_run(original) as run:
        manifest = load_training_manifest(original, data_path, exclude)
        known_path = data_path or find_training_data(original)
        origin = storage.compute_origin(
            command=["shrink", str(steps), max_drop, seed],
            model=storage.file_sha256(original / BUNDLE_JSON),
            data=manifest.compute_fingerprint(),
        )
        files = list_data_files(known_path or manifest.root, manifest)
        done = _find_finished(original, steps, out, origin, files)
        if done is not None:
            return _with_report(run, load_result(done))
        folder = _output_bundle(original, steps, out, known_path)
        result = shrink_bundle(
            original,
            manifest,
            steps,
            max_drop=max_drop,
            out=folder,
            seed=seed,
            latency_seconds=latency_seconds,
            origin=origin,
        )
        return _with_report(run, result)


def _with_report(run: Path | None, result: ShrinkResult) -> ShrinkResult:
    """The result, also of a refusal, whose receipt is now in the report of its run."""
    if run is not None:
        add_receipt_to_report(run, result.receipt)
    return result


def _find_finished(
    original: Path, plan: ShrinkPlan, out: str | Path | None, origin: str, files: Iterable[Path]
) -> Path | None:
    """The bundle that a shrink with this key has made, at `out` or at a default place, with a note;
    None if there is none, or if one of `files` has changed since."""
    stem = _output_stem(original, plan)
    places = sorted(original.parent.glob(f"{stem}*")) if out is None else [Path(out)]
    done = next((place for place in places if disk.has_origin(place, origin)), None)
    if done is None or have_changed(files, (done / BUNDLE_JSON).stat().st_mtime):
        return None
    emit_note(f"{done} is finished already: the same command made it from the same files.")
    return done


def _output_stem(original: Path, plan: ShrinkPlan) -> str:
    inside = (original.parent / MANIFEST_FILE).is_file()
    return f"shrunk-{plan.slug}" if inside else f"{original.name}-{plan.slug}"


@contextlib.contextmanager
def _lock_run(bundle: Path) -> Iterator[Path | None]:
    """The bundle's run folder, locked for this process, whose report can be written again; None for
    a bundle outside of its run folder.

    Raises:
        Refusal: another process is using it. DamagedError: its report is damaged.
    """
    folder = bundle.parent
    if not (folder / RUN).is_file():
        yield None
        return
    with lock_run(folder):
        load_report_data(folder)  # report damage before the work starts
        yield folder


def load_training_manifest(
    bundle: Path, data: Path | None, exclude: str | Path | None = None
) -> Manifest:
    """The rows a model was trained with, with their roles; all files exist.

    They are stored in the bundle's run folder. For a bundle outside of it, `data` is read and split
    with training's defaults, and accepted only if rows and roles match the fingerprint in the
    bundle's lineage. Otherwise a training row could be taken for a validation or test row.

    Raises:
        UsageError: the rows are unknown. DataError: files are missing.
    """
    file = bundle.parent / MANIFEST_FILE
    if file.is_file():
        if exclude is not None:
            raise UsageError(
                f"--exclude {exclude} has no effect: the rows of {bundle} are stored in its run.",
                hint="Leave it out; it is for a bundle outside of its run folder.",
            )
        manifest = load_manifest(file)
        if data is not None:
            manifest = replace(manifest, root=_root(data))
    else:
        manifest = _read_data(bundle, data, exclude)
    _require_files(manifest, data)
    _require_contents(manifest, bundle)
    return manifest


def _read_data(bundle: Path, data: Path | None, exclude: str | Path | None) -> Manifest:
    if data is None:
        raise UsageError(
            f"{bundle} is not in its run folder, so its training data is unknown.",
            hint="Name the data: --data FOLDER",
        )
    lineage: dict[str, Any] = read_bundle_json(bundle)["lineage"]
    seed = int(lineage.get("seed", 0))
    options = ReadOptions(exclude=None if exclude is None else str(exclude))
    if "imported" in lineage:
        return _read_data_of_imported(bundle, data, options, seed)
    manifest = assign_roles(read_manifest(data, options), SplitOptions(seed=seed))
    if manifest.compute_fingerprint() != lineage.get("data", {}).get("fingerprint"):
        raise UsageError(
            f"{data} is not the data that {bundle} was trained with, or it was split with other "
            "options. So it is unknown which rows the model was not trained on.",
            hint=f"Shrink it in its run folder, or copy the run's {MANIFEST_FILE} next to the bundle. "
            "If it was trained with --exclude FILE, use the same option here.",
        )
    return manifest


def _read_data_of_imported(bundle: Path, data: Path, options: ReadOptions, seed: int) -> Manifest:
    """Data for a model of published weights, which was trained on none of it."""
    record = read_bundle_json(bundle)["task"]
    options = replace(options, task=record["name"])
    manifest = assign_roles(read_manifest(data, options), SplitOptions(seed=seed))
    known = record["schema"]["classes"]
    unknown = [name for name in manifest.schema["classes"] if name not in known]
    if unknown:
        raise UsageError(
            f"{data} has classes that {bundle} does not: {join_limited(unknown)}. It has: "
            f"{join_limited(known)}.",
            hint="Name the folders or labels as in the file of classes that was imported.",
        )
    return manifest


def _root(data: Path) -> Path:
    """The manifest's root: paths in a table are relative to its folder."""
    if not data.exists():
        raise UsageError(f"--data {data} does not exist.")
    return find_data_folder(data) if data.is_dir() else data.parent


def _require_files(manifest: Manifest, data: Path | None) -> None:
    """DataError if a file of a training, validation or test row is missing."""
    used = [source for role in ROLES for source in manifest.rows_with_role(role).list_sources()]
    paths = dict.fromkeys(source.path for source in used)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        moved = "If the data has moved: --data FOLDER"
        other = f"--data must be the data passed to `skipstone train`; {data} has other files."
        raise DataError(
            f"{len(missing):,} of {len(paths):,} files of the training data are missing, such as "
            f"{missing[0]}.",
            hint=moved if data is None else other,
        )


def _require_contents(manifest: Manifest, bundle: Path) -> None:
    """DataError if rows of a table have changed: a row's number would no longer give its role."""
    if manifest.cells is None or CONTENT_DIGEST not in manifest.table.column_names:
        return
    rows = zip(
        manifest.column_values("role"),
        manifest.column_values(CONTENT_DIGEST),
        compute_cell_digests(manifest),
        strict=True,
    )
    changed = sum(role in ROLES and then != now for role, then, now in rows)
    if changed:
        table = manifest.root / manifest.column_values("path")[0]
        raise DataError(
            f"{table} was changed: {pluralize(changed, 'row')} differ{'s' * (changed == 1)} from the "
            f"data that {bundle} was trained with. So it is unknown which rows are new to it.",
            hint="Restore the table, or train on the changed one: skipstone train DATA "
            f"--from {quote_path(bundle)}",
        )


def _output_bundle(
    original: Path, plan: ShrinkPlan, out: str | Path | None, data: Path | None
) -> Path:
    """The new bundle's folder: never an existing one that is not empty, and never in the data."""
    stem = _output_stem(original, plan)
    if out is not None:
        folder = choose_output_folder(out, default=stem, data=data)
        reject_nonempty_folder(folder)
        return folder
    number, folder = 1, original.parent / stem
    while folder.exists():
        number += 1
        folder = original.parent / f"{stem}-{number}"
    if data is not None:
        reject_path_inside_data(folder, data, "--out")
    if number > 1:
        emit_note(f"{original.parent / stem} exists, so the new model is written to {folder}")
    return folder
