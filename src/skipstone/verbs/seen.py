"""Which rows a model was made with, so that none of them passes for one that it has not seen.

A run's manifest knows its own rows. A model that goes on from another one (`--from`), or starts
with its weights (`--weights`), has seen the rows of that one as well, and so on to the first.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.bundle.files import read_record
from skipstone.bundle.format import WEIGHTS
from skipstone.bundle.locate import bundle_of, names_model
from skipstone.data.manifest import ROLES, Manifest
from skipstone.data.manifest_file import MANIFEST, load_manifest
from skipstone.data.table_cells import CONTENT, with_contents
from skipstone.errors import SkipstoneError
from skipstone.events import note, warn
from skipstone.words import counted, shortest

#: Roles that decide what a model is.
DECIDED = ("fit", "select")


@dataclass(frozen=True)
class Seen:
    """Args:
    manifests: the rows of the model's run, and of the runs that it goes on from.
    lost: why there may be others, in words; "" where there are none.
    """

    manifests: tuple[Manifest, ...]
    lost: str = ""


def seen_by(bundle: Path) -> Seen:
    """The rows that the model in this folder was made with.

    Raises:
        DamagedError: a manifest or a bundle on the way is not as it was written.
    """
    found: list[Manifest] = []
    passed: set[Path] = set()
    lost = ""
    ahead = [bundle]
    while ahead:
        here = ahead.pop()
        rows = here.parent / MANIFEST
        if here.resolve() in passed:
            continue
        passed.add(here.resolve())
        if not rows.is_file():
            lost = lost or f"{shortest(here.absolute())} is not in its run folder"
            continue
        found.append(load_manifest(rows))
        for name, weights in _before(read_record(here).get("lineage")):
            path = Path(name)
            older = bundle_of(path) if names_model(path) else None
            if older is not None and weights in (None, _weights_of(older)):
                ahead.append(older)
            else:
                there = "is not there any more" if older is None else "is another model by now"
                lost = lost or f"{name}, which it goes back to, {there}"
    return Seen(tuple(found), lost)


def _weights_of(bundle: Path) -> str:
    return str(read_record(bundle)["files"].get(WEIGHTS, {}).get("sha256"))


def _before(lineage: Any) -> list[tuple[str, str | None]]:
    """The models that another one was made of, and the SHA-256 of their weights where that is
    known: the one that it began with, or the members of an ensemble."""
    if not isinstance(lineage, Mapping):
        return []
    origin, weights, members = (lineage.get(name) for name in ("from", "weights", "members"))
    older = [*(members if isinstance(members, list) else []), origin]
    named = [one for one in older if isinstance(one, Mapping)]
    if not named and isinstance(weights, str) and named_as_weights(weights):
        return [(weights, None)]
    return [(str(one.get("model")), one.get("weights")) for one in named]


def named_as_weights(weights: str) -> bool:
    """Whether `--weights` names a model of ours, which was made with rows."""
    return weights not in ("auto", "none", "pretrained") and names_model(Path(weights))


def roles_of(seen: Seen, manifest: Manifest, *, moved: bool = False) -> dict[int, str]:
    """{position: role} of the rows of `manifest` that `seen` holds; of several roles of a row the
    first of `ROLES`, for what a model has learnt from it knows.

    The same file is the same absolute path. A row of a table is known by what it held, where that
    was written down: its number is another one's once the table was edited.

    Args:
        moved: so is the same path and target below another root.
    """
    roles: dict[Any, str] = {}
    here = os.path.realpath(manifest.root)
    for before in seen.manifests:
        elsewhere = moved and os.path.realpath(before.root) != here
        for role, (file, below, held) in zip(before.column("role"), _keys(before), strict=True):
            names = [held] if held is not None else [file, below] if elsewhere else [file]
            for key in names:
                if role in ROLES and ROLES.index(role) <= ROLES.index(roles.get(key, role)):
                    roles[key] = role
    found = {}
    for row, keys in enumerate(_keys(with_contents(manifest))):
        known = [roles[key] for key in keys if key in roles]
        if known:
            found[row] = min(known, key=ROLES.index)
    return found


def _keys(manifest: Manifest) -> Iterator[tuple[Any, Any, Any]]:
    """Of each row: the file as an absolute path; the path below the root with the target; what a
    cell of a table held, where that is known."""
    root = os.path.realpath(manifest.root) + os.sep
    known = CONTENT in manifest.table.column_names
    held = manifest.column(CONTENT) if known else [None] * len(manifest)
    for path, member, target, content in zip(
        *(manifest.column(name) for name in ("path", "member", "target")), held, strict=True
    ):
        file = path if path.startswith(os.sep) else f"{root}{path}"
        yield (os.path.normpath(file), member), (path, member, str(target)), content


def rows_to_keep(model: object, seen: Seen, manifest: Manifest) -> dict[int, str]:
    """{position: role} of the rows that have to keep it where `model` is what training begins with.
    What nobody can tell is said."""
    if seen.lost:
        warn(
            f"{seen.lost}, so nothing says which rows {model} has seen: the claim may hold some of "
            "them, and be better than it should."
        )
    return roles_of(seen, manifest, moved=True)


def say_what_was_kept(model: object, manifest: Manifest, kept: Mapping[int, str]) -> None:
    """Of `rows_to_keep`, once roles are assigned."""
    roles = manifest.column("role")
    if kept:
        note(
            f"{len(kept):,} of {counted(len(roles), 'row')} come from the data of {model} and keep "
            "their role."
        )
    leaked = sum(roles[row] == "claim" and role != "claim" for row, role in kept.items())
    if leaked:
        warn(
            f"{counted(leaked, 'row')} of the claim {'was' if leaked == 1 else 'were'} trained on "
            f"by {model}: left there, as you split them so, but the figures are better than they "
            "should be."
        )


def warn_of_seen(name: object, bundle: Path, manifest: Manifest, scored: Sequence[int]) -> None:
    """Say how many of the scored rows (positions in `manifest`) the model was made with, so far as
    its run is there to tell."""
    try:
        roles = roles_of(seen_by(bundle), manifest)
    except (SkipstoneError, OSError, ValueError):
        return  # a model answers without its run, and whatever its lineage says
    counts = Counter(roles.get(row, "") for row in scored)
    total = sum(counts[role] for role in DECIDED)
    if not total:
        return
    how = {"fit": "trained on", "select": "decided by"}
    parts = " and ".join(f"{counts[role]:,} {how[role]}" for role in DECIDED if counts[role])
    of = f"{total:,} of " if total < len(scored) else "all of " if total > 1 else ""
    warn(
        f"{name} was made with {of}the {counted(len(scored), 'row')} that it is scored on "
        f"({parts}): the figures are better than they should be. Its report has those of rows that "
        "it had not seen."
    )
