"""Tables: a multi-label CSV and a grouped CSV of real photos, through the whole chain.

train -> shrink -> verify -> export -> predict. Bars, each table: on the test rows the lower end of
the interval, of the model and of its INT8 form, lies above what a constant answer scores (for tags
the mean share of a tag, which is the average precision of a random ranking; for one label the share
of the commonest class); the INT8 model is accepted, verified, exported and answers every photo; and
no group lies on two sides of a split.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runs import (
    NO_DATA,
    SHORT,
    SMALL,
    Results,
    arguments_for,
    data_of,
    shown,
    skipped,
    skipstone,
)
from skipstone.data.manifest import ROLES, Manifest, load_manifest

#: What a photo of each class also shows: several true labels a photo, some shared by classes.
WORN = {
    "dress": ("upper body", "lower body"),
    "hat": ("head",),
    "longsleeve": ("upper body", "long"),
    "outwear": ("upper body", "long"),
    "pants": ("lower body", "long"),
    "shirt": ("upper body",),
    "shoes": ("feet",),
    "shorts": ("lower body",),
    "skirt": ("lower body",),
    "t-shirt": ("upper body",),
}
PHOTOS_A_CLASS = 60
COLUMNS = ("--path-column", "path", "--label-column", "label")


class Table(NamedTuple):
    """One CSV and how it is read. `metric` is the figure of its task that is held to the bar."""

    name: str
    label: Callable[[str], str]
    flags: tuple[str, ...]
    metric: str


TABLES = (
    Table("tags", lambda kind: ";".join(WORN[kind]), ("--separator", ";"), "map"),
    Table("groups", str, ("--group-column", "group"), "accuracy"),
)


def parser() -> argparse.ArgumentParser:
    return arguments_for("tables", __doc__)


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    out = Path(given.out)
    results = Results(out)
    rows = _photos(data / "clothing" / "train")
    length = (*SHORT, *SMALL) if given.smoke else ("--epochs", "8")
    allowed = "100" if given.smoke else "2"
    wrong = []
    for table in TABLES:
        path = _write(out / f"{table.name}.csv", rows, table.label)
        flags = (*COLUMNS, *table.flags, *length)
        key = key_of(table.name, path, (*flags, "--max-drop", allowed))
        row = results.get(key) or results.add(key, _chain(out, table, path, flags, allowed))
        print(
            f"{table.name}: {table.metric} {shown(row['float'])}, INT8 {shown(row['int8'])}, a "
            f"constant {100 * row['baseline']:.2f} %; accepted {row['accepted']}, proven "
            f"{row['proven']}, verified {row['verified']}; {row['files']} files shipped; "
            f"{row['answers'] - row['errors']} of {row['requested']} photos answered; "
            f"{row['shared']} groups of several rows, {row['straddling']} of them split"
        )
        wrong += [f"{table.name}: {fault}" for fault in faults(row, smoke=given.smoke)]
    for fault in wrong:
        print(f"  {fault}")
    print("bar NOT met" if wrong else "bar met")
    return 1 if wrong else 0


def key_of(name: str, table: Path, flags: tuple[str, ...]) -> str:
    """Another table, or other flags, is another result."""
    return f"{name} {hashlib.sha256(table.read_bytes()).hexdigest()[:12]} {' '.join(flags)}"


def faults(row: dict[str, Any], *, smoke: bool) -> list[str]:
    """What a chain's result lacks of the bar; at smoke size, where nothing is learnt, not the
    quality."""
    held = {
        "the shrunk model does not verify": row["verified"],
        "no file was exported": row["files"] > 0,
        "a photo was not answered": row["errors"] == 0 and row["answers"] == row["requested"] > 0,
        "a group lies on two sides of a split": row["straddling"] == 0,
        "no group has several rows": row["shared"] > 0,
    }
    if not smoke:
        held |= {
            "the model does not beat a constant": row["float"]["low"] > row["baseline"],
            "INT8 was refused": row["accepted"],
            "the INT8 model does not beat a constant": row["int8"]["low"] > row["baseline"],
        }
    return [fault for fault, fine in held.items() if not fine]


def _chain(
    out: Path, table: Table, path: Path, flags: tuple[str, ...], allowed: str
) -> dict[str, Any]:
    """Every verb on one table, measured once."""
    run = skipstone("train", str(path), *flags, "--out", str(out / f"runs-{table.name}"))
    small = skipstone("shrink", run["run"], "--max-drop", allowed)
    proof = skipstone("verify", small["bundle"])
    shipped = skipstone(
        "export", small["bundle"], "--to", "openvino", "--out", f"{run['run']}/shipped"
    )
    manifest = load_manifest(Path(run["run"], "manifest.parquet"))
    every = [str(source.path) for source in manifest.list_sources()]
    some = every[:: max(1, len(every) // 10)]
    answers = skipstone("predict", small["bundle"], *some)["predictions"]
    receipt = small["receipt"]
    assert receipt["metric"] == table.metric, "the receipt is of another figure"
    shared, straddling = _groups(manifest)
    return {
        "float": run["metrics"][table.metric],
        "int8": (receipt["test"] or receipt["val"])["after"],
        "baseline": _constant(manifest.rows_with_role(run["role"]).column_values("target")),
        "accepted": small["accepted"],
        "proven": small["proven"],
        "verified": proof["ok"],
        "files": len(shipped["files"]),
        "requested": len(some),
        "answers": len(answers),
        "errors": sum("error" in answer for answer in answers),
        "shared": shared,
        "straddling": straddling,
        "run": run["run"],
    }


def _constant(targets: list[Any]) -> float:
    """What the best constant answer scores: for lists of tags the mean average precision of a
    ranking by chance, for labels the share of the commonest."""
    if isinstance(targets[0], list):
        shares = Counter(tag for tags in targets for tag in tags)
        return sum(shares.values()) / len(shares) / len(targets)
    return max(Counter(targets).values()) / len(targets)


def _groups(manifest: Manifest) -> tuple[int, int]:
    """(groups of several rows, those whose rows have several roles)."""
    roles: dict[str, list[str]] = defaultdict(list)
    for group, role in zip(
        manifest.column_values("group"), manifest.column_values("role"), strict=True
    ):
        if group is not None and role in ROLES:
            roles[group].append(role)
    several = [held for held in roles.values() if len(held) > 1]
    return len(several), sum(len(set(held)) > 1 for held in several)


def _photos(folder: Path) -> list[tuple[Path, str]]:
    """The same number of photos of each class."""
    return [
        (path.resolve(), kind)
        for kind in WORN
        for path in sorted((folder / kind).glob("*.jpg"))[:PHOTOS_A_CLASS]
    ]


def _write(path: Path, rows: list[tuple[Path, str]], label: Callable[[str], str]) -> Path:
    """path, label and group; photos of one group share two letters of their name's digest."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for photo, kind in rows:
            group = hashlib.sha256(photo.name.encode()).hexdigest()[:2]
            writer.writerow([photo, label(kind), group])
    return path
