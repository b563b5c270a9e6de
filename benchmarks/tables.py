"""Tables: a multi-label CSV and a grouped CSV of real photos, through the whole chain.

train -> shrink -> verify -> export -> predict. Bars: on the claim rows, the lower end of the
interval lies above what a constant answer scores: for tags the share of each tag (the average
precision of a random ranking), for one label the share of the commonest class.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.runs import Results, arguments_for, shown, skipstone

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


def main(arguments: list[str]) -> int:
    given = arguments_for("tables", __doc__).parse_args(arguments)
    if given.data is None:
        print("skipped: needs --data or SKIPSTONE_DATA")
        return 0
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = _photos(Path(given.data) / "clothing" / "train")
    length = ["--steps", "4"] if given.smoke else ["--epochs", "8"]
    tags = _write(out / "tags.csv", rows, lambda kind: ";".join(WORN[kind]))
    labels = _write(out / "labels.csv", rows, lambda kind: kind)
    shares = Counter(tag for _, kind in rows for tag in WORN[kind])
    random_map = sum(shares.values()) / len(shares) / len(rows)
    commonest = max(Counter(kind for _, kind in rows).values()) / len(rows)
    met = True
    for name, table, flags, metric, baseline in (
        ("tags", tags, ["--separator", ";"], "map", random_map),
        ("groups", labels, ["--group-column", "group"], "accuracy", commonest),
    ):
        columns = ["--path-column", "path", "--label-column", "label"]
        row = _chain(out, name, [str(table), *columns, *flags, *length], rows, given.smoke)
        scored = row["metrics"][metric]
        print(f"{name}: {metric} {shown(scored)}, baseline {100 * baseline:.2f} %, {row['chain']}")
        met &= given.smoke or scored["low"] > baseline
    print("bar met" if met else "bar NOT met")
    return 0 if met else 1


def _chain(
    out: Path, name: str, train: list[str], rows: list[tuple[Path, str]], smoke: bool
) -> dict[str, Any]:
    """Every verb on one table, measured once."""
    results = Results(out)
    key = f"{name}-smoke" if smoke else name
    found = results.get(key)
    if found is not None:
        return found
    run = skipstone("train", *train, "--out", str(out / f"runs-{key}"))
    small = skipstone("shrink", run["run"], "--max-drop", "100" if smoke else "2")
    proof = skipstone("verify", small["bundle"])
    shipped = skipstone("export", run["run"], "--to", "onnx", "--out", f"{run['run']}/shipped")
    some = [str(path) for path, _ in rows[:: len(rows) // 10]]
    answers = skipstone("predict", small["bundle"], *some)["predictions"]
    chain = (
        f"INT8 accepted {small['accepted']}, proven {small['proven']}; verified {proof['ok']}; "
        f"{len(shipped['files'])} files shipped; {len(answers)} of {len(some)} predicted"
    )
    return results.add(key, {"metrics": run["metrics"], "run": run["run"], "chain": chain})


def _photos(folder: Path) -> list[tuple[Path, str]]:
    """The same number of photos of each class."""
    return [
        (path.resolve(), kind)
        for kind in WORN
        for path in sorted((folder / kind).glob("*.jpg"))[:PHOTOS_A_CLASS]
    ]


def _write(path: Path, rows: list[tuple[Path, str]], label: Any) -> Path:
    """path, label and group; photos of one group share two letters of their name's digest."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for photo, kind in rows:
            group = hashlib.sha256(photo.name.encode()).hexdigest()[:2]
            writer.writerow([photo, label(kind), group])
    return path
