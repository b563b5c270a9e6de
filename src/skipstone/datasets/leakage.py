"""Which rows a model was made with, so that it is not tested on them.

A run's manifest has its own rows. A model that starts from another one (`--from`, or `--weights` of
a run) was made with the rows of that one as well, and so on to the first: they are copied into its
run folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_bundle_json
from skipstone.bundle.locate import resolve_bundle, resolves_to_bundle
from skipstone.core import storage
from skipstone.core.errors import DamagedError, SkipstoneError
from skipstone.core.events import emit_note, emit_warning
from skipstone.core.formatting import pluralize, relative_path
from skipstone.data.fingerprint import CONTENT_DIGEST, add_content_digests
from skipstone.data.manifest import (
    MANIFEST_FILE,
    ROLES,
    Manifest,
    load_manifest,
    save_manifest,
)

#: The folder in a run folder with the rows of the models that it goes on from.
ANCESTORS, _GAP = "ancestors", "gap.json"
#: Roles of rows that decide what a model is, and how.
DECIDING_ROLES = {"train": "trained on", "val": "validated on"}


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a model was made with.

    Args:
        manifests: of the model's run, and of the runs of its ancestors.
        gap: why there may be other rows, in words; "" where all are known.
    """

    manifests: tuple[Manifest, ...]
    gap: str = ""


def load_training_rows(bundle: Path) -> TrainingRows:
    """The rows that the model in this folder was made with, by its run folder alone: what a bundle
    names elsewhere is not opened.

    Raises:
        DamagedError: a manifest is not as it was written.
    """
    folder = bundle.parent
    if not (folder / MANIFEST_FILE).is_file():
        return TrainingRows((), f"{relative_path(bundle.absolute())} is not in its run folder")
    storage.refuse_links(folder)
    manifests = [load_manifest(folder / MANIFEST_FILE)]
    stored = folder / ANCESTORS
    if not (stored / _GAP).is_file():
        return TrainingRows(tuple(manifests), _missing_ancestors(bundle))
    manifests += [load_manifest(path) for path in sorted(stored.glob("*.parquet"))]
    gap = storage.read_json(stored / _GAP)
    if not isinstance(gap, str):
        raise DamagedError(f"{stored / _GAP} is not what skipstone writes.")
    return TrainingRows(tuple(manifests), gap)


def save_ancestor_rows(models: Sequence[Path], run_folder: Path) -> None:
    """Copy the rows that `models` were made with into the folder of the run that goes on from them.

    Raises:
        DamagedError: a manifest is not as it was written.
    """
    rows = [load_training_rows(resolve_bundle(model)) for model in models]
    manifests = [manifest for part in rows for manifest in part.manifests]
    with storage.write_folder(run_folder / ANCESTORS) as new:
        for number, manifest in enumerate(manifests):
            save_manifest(manifest, new / f"{number:03d}.parquet")
        storage.write_json(new / _GAP, next((part.gap for part in rows if part.gap), ""))


def _missing_ancestors(bundle: Path) -> str:
    lineage = read_bundle_json(bundle).get("lineage")
    goes_on = isinstance(lineage, Mapping) and (lineage.get("from") or lineage.get("members"))
    return (
        f"the rows of the models before {relative_path(bundle.absolute())} are not stored"
        * bool(goes_on)
    )


def is_model_path(weights: str) -> bool:
    """Whether `--weights` names a model of ours, which was made with rows."""
    return weights not in ("auto", "none", "pretrained") and resolves_to_bundle(Path(weights))


def match_roles(
    training: TrainingRows, manifest: Manifest, *, moved: bool = False
) -> dict[int, str]:
    """{position: role} of the rows of `manifest` that are among the training rows.

    Of several roles of a row the first of `ROLES` counts. Rows match by content, where that was
    stored; files also by absolute path. The numbers of a table's rows change when it is edited.

    Args:
        moved: files also match by path and target below another root.
    """
    roles: dict[Any, str] = {}
    root = os.path.realpath(manifest.root)
    for earlier in training.manifests:
        other_root = moved and os.path.realpath(earlier.root) != root
        for role, (file, relative, content) in zip(
            earlier.column_values("role"), _row_keys(earlier), strict=True
        ):
            keys = [] if content is None else [content]
            if content is None or earlier.cells is None:
                keys += [file, relative] if other_root else [file]
            for key in keys:
                if role in ROLES and ROLES.index(role) <= ROLES.index(roles.get(key, role)):
                    roles[key] = role
    matches = {}
    if any(CONTENT_DIGEST in earlier.table.column_names for earlier in training.manifests):
        manifest = add_content_digests(manifest)
    for row, row_keys in enumerate(_row_keys(manifest)):
        known = [roles[key] for key in row_keys if key in roles]
        if known:
            matches[row] = min(known, key=ROLES.index)
    return matches


def _row_keys(manifest: Manifest) -> Iterator[tuple[Any, Any, Any]]:
    """Of each row: the file as an absolute path; the path below the root with the target; the
    content, where that is known."""
    root = os.path.realpath(manifest.root) + os.sep
    has_content = CONTENT_DIGEST in manifest.table.column_names
    contents = manifest.column_values(CONTENT_DIGEST) if has_content else [None] * len(manifest)
    for path, member, target, content in zip(
        *(manifest.column_values(name) for name in ("path", "member", "target")),
        contents,
        strict=True,
    ):
        file = path if path.startswith(os.sep) else f"{root}{path}"
        yield (os.path.normpath(file), member), (path, member, str(target)), content


def inherited_roles(model: object, training: TrainingRows, manifest: Manifest) -> dict[int, str]:
    """{position: role} of the rows that keep their role where training starts from `model`.

    Warns where its training rows are not all known.
    """
    if training.gap:
        emit_warning(
            f"{training.gap}, so the rows that {model} was made with are not all known: the test "
            "rows may hold some of them, and the test metrics may be too high."
        )
    return match_roles(training, manifest, moved=True)


def report_inherited_roles(model: object, manifest: Manifest, roles: Mapping[int, str]) -> None:
    """Note how many rows keep a role, and warn of leakage, once roles are assigned.

    Args:
        roles: of `inherited_roles`.
    """
    assigned = manifest.column_values("role")
    if roles:
        emit_note(
            f"{len(roles):,} of {pluralize(len(assigned), 'row')} come from the data of {model} and "
            "keep their role."
        )
    leaked = sum(assigned[row] == "test" and role != "test" for row, role in roles.items())
    if leaked:
        emit_warning(
            f"Leakage: {pluralize(leaked, 'test row')} {'was' if leaked == 1 else 'were'} used to "
            f"train {model}. Your own split put {'it' if leaked == 1 else 'them'} there, so that "
            "stays, but the test metrics are too high."
        )


def warn_of_leakage(name: object, bundle: Path, manifest: Manifest, scored: Sequence[int]) -> None:
    """Warn of scored rows (positions in `manifest`) that the model was made with, as far as its
    run folders are there to tell."""
    try:
        roles = match_roles(load_training_rows(bundle), manifest)
    except (SkipstoneError, OSError, ValueError):
        return  # a model predicts without its run, and whatever its lineage says
    counts = Counter(roles.get(row, "") for row in scored)
    total = sum(counts[role] for role in DECIDING_ROLES)
    if not total:
        return
    parts = " and ".join(
        f"{counts[role]:,} {use}" for role, use in DECIDING_ROLES.items() if counts[role]
    )
    share = f"{total:,} of " if total < len(scored) else "all of " if total > 1 else ""
    emit_warning(
        f"Leakage: {name} was made with {share}the {pluralize(len(scored), 'row')} that it is scored "
        f"on ({parts}), so these metrics are too high. Its report has those of held-out rows."
    )
