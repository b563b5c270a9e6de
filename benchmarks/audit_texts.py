"""The audit of texts: defects planted into a real table, and what it finds of them.

Each seed takes a third of the texts of 6 words or more (at most --planted) and adds one defective
copy of each: the same text, other capitals and signs, a typing mistake, a word put in, an end cut
off; half of them in the other split, some under another label. Templated questions that differ in
one word are put in as well, and must not be called near duplicates.

Bars, each seed: recall >= 0.99 of exact and >= 0.95 of near duplicates, at most 0.5 % of the
templated questions in a near duplicate. Precision counts pairs of neighbours in groups that were
planted together; what the data itself repeats is shown for a person to judge.

    python -m benchmarks audit-texts --data DATA
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.runs import NO_DATA, Results, arguments_for, data_of, skipped, skipstone
from skipstone.evaluation.intervals import wilson_interval

EXACT, NEAR, FALSE = 0.99, 0.95, 0.005
TABLES = ("questions", "movie-reviews")
FEWEST_WORDS = 6
_ADDED = ("really", "now", "also", "still", "very", "quite", "often", "indeed")
_NEIGHBOURS = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t"}
_PLACES = "France Spain Norway Kenya Peru Japan Ghana Chile Nepal Egypt Malta Qatar Cuba Iran Iraq"
_THINGS = "capital currency population president anthem area language flag"


def parser() -> argparse.ArgumentParser:
    made = arguments_for("audit-texts", __doc__)
    made.add_argument("--planted", type=int, default=2000, help="copies at most (default 2000)")
    made.add_argument("--tables", default=",".join(TABLES), help="names below DATA/text")
    return made


def main(arguments: list[str]) -> int:
    given = parser().parse_args(arguments)
    if (data := data_of(given)) is None:
        return skipped(NO_DATA)
    results, met = Results(Path(given.out)), True
    for table in given.tables.split(","):
        rows = []
        for seed in ["0"] if given.smoke else given.seeds.split(","):
            planted = 100 if given.smoke else given.planted
            key = f"{table}-{seed}-{planted}" + "-smoke" * given.smoke
            row = results.get(key)
            if row is None:
                source = data / "text" / f"{table}.csv"
                measured = _measure(source, Path(given.out, key), int(seed), planted, given.smoke)
                row = results.add(key, measured)
            rows.append(row)
            met &= _met(row, smoke=given.smoke)
        _show(table, rows)
    print("bar met" if met else "bar NOT met: see the header of benchmarks/audit_texts.py")
    return 0 if met else 1


# --- planting -----------------------------------------------------------------------------------


def _same(text: str, dice: random.Random) -> str:
    at = dice.randrange(1, len(text.split()))
    words = text.split()
    return " ".join(words[:at]) + "  " + " ".join(words[at:]) + " "


def _capitals_and_signs(text: str, dice: random.Random) -> str:
    bare = " ".join(word for word in text.split() if any(letter.isalnum() for letter in word))
    return dice.choice((f'"{bare}"', bare.upper(), bare.title() + " !!", bare + "..."))


def _typing_mistake(text: str, dice: random.Random) -> str:
    words = text.split()
    places = [at for at, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not places:
        return _capitals_and_signs(text, dice)
    at = dice.choice(places)
    word, place = words[at], dice.randrange(1, len(words[at]) - 1)
    letter = word[place]
    words[at] = dice.choice(
        (
            word[:place] + word[place + 1 :],
            word[:place] + letter + word[place:],
            word[:place] + _NEIGHBOURS.get(letter, "x") + word[place + 1 :],
            word[:place] + word[place + 1] + letter + word[place + 2 :],
        )
    )
    return " ".join(words)


def _word_put_in(text: str, dice: random.Random) -> str:
    words = text.split()
    words.insert(dice.randrange(1, len(words)), dice.choice(_ADDED))
    return " ".join(words)


def _end_cut_off(text: str, dice: random.Random) -> str:
    return text[: int(len(text) * dice.uniform(0.8, 0.95))]


DEFECTS: dict[str, Callable[[str, random.Random], str]] = {
    "the same": _same,
    "capitals and signs": _capitals_and_signs,
    "typing mistake": _typing_mistake,
    "word put in": _word_put_in,
    "end cut off": _end_cut_off,
}


def _plant(source: Path, folder: Path, seed: int, most: int, few: bool) -> dict[str, Any]:
    """A table with the columns text, label and split; and what was planted, by row."""
    dice = random.Random(seed)
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    dice.shuffle(rows)
    rows = rows[: 4 * most] if few else rows
    labels = sorted({label for _, label in rows})
    table = [[text, label, dice.choice(("train", "train", "test"))] for text, label in rows]
    long = [at for at, (text, _) in enumerate(rows) if len(text.split()) >= FEWEST_WORDS]
    truth: dict[str, Any] = {"planted": {}, "templated": [], "rows": len(rows)}
    for number, at in enumerate(dice.sample(long, min(most, len(long) // 3))):
        kind = list(DEFECTS)[number % len(DEFECTS)]
        text, label, split = table[at]
        if number % 7 == 0:
            label = dice.choice([name for name in labels if name != label])
        if number % 2:
            split = "test" if split == "train" else "train"
        truth["planted"][len(table)] = (kind, at)
        table.append([DEFECTS[kind](text, dice), label, split])
    for thing in _THINGS.split():
        for place in _PLACES.split():
            truth["templated"].append(len(table))
            table.append(
                [f"In the year 1990 what was the {thing} of {place} ?", labels[0], "train"]
            )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        writer.writerows(table)
    return truth


# --- measuring ----------------------------------------------------------------------------------


def _measure(source: Path, folder: Path, seed: int, most: int, few: bool) -> dict[str, Any]:
    truth = _plant(source, folder, seed, most, few)
    found = skipstone("audit", str(folder / "texts.csv"))
    groups: dict[str, list[set[int]]] = defaultdict(list)
    for finding in found["findings"]:
        kind = finding["kind"].partition("_with_")[0].partition("_across_")[0]
        groups[kind].append({int(path.rpartition("#")[2]) for path in finding["paths"]})
    together = [*groups["duplicate"], *groups["near_duplicate"]]
    counts: dict[str, list[int]] = {}
    for kind in DEFECTS:
        pairs = [(row, at) for row, (other, at) in truth["planted"].items() if other == kind]
        where = groups["duplicate"] if kind == "the same" else together
        hits = sum(any({row, at} <= group for group in where) for row, at in pairs)
        counts[f"recall: {kind}"] = [hits, len(pairs)]
    templated = set(truth["templated"])
    alarmed = {row for group in groups["near_duplicate"] for row in group & templated}
    counts["false alarms: templated questions"] = [len(alarmed), len(templated)]
    family = {row: at for row, (_, at) in truth["planted"].items()}
    right = told = 0
    own = []
    for group in groups["near_duplicate"]:
        families = {family.get(row, row) for row in group}
        told += len(group) - 1
        right += len(group) - len(families)
        if len(families) > 1:
            own.append(sorted(row for row in group if row < truth["rows"]))
    counts["pairs of near duplicates that were planted"] = [right, told]
    rows = found["counts"]["rows"]
    return {"counts": counts, "rows": rows, "seconds": found["wall_seconds"], "own": own}


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    seconds, texts = sum(row["seconds"] for row in rows), sum(row["rows"] for row in rows)
    print(f"{title}: {texts:,} texts in {seconds:.1f} s, {len(rows)} seeds")
    for name in rows[0]["counts"]:
        hits, count = (sum(row["counts"][name][at] for row in rows) for at in (0, 1))
        low, high = wilson_interval(hits, count) if count else (0.0, 1.0)
        share = 100 * hits / count if count else float("nan")
        span = f"[{100 * low:.2f}, {100 * high:.2f}]"
        print(f"    {name:<44} {share:6.2f} %  {span}  {hits} of {count}")
    print(f"    groups of the data itself: {rows[0]['own'][:10]}", flush=True)


def _met(row: dict[str, Any], *, smoke: bool) -> bool:
    """At smoke size, equal texts alone: generated ones repeat themselves."""

    def share(names: list[str]) -> float:
        pairs = [row["counts"][name] for name in names]
        hits, every = (sum(pair[at] for pair in pairs) for at in (0, 1))
        return float(hits / max(1, every))

    near = [f"recall: {kind}" for kind in DEFECTS if kind != "the same"]
    exact = share(["recall: the same"]) >= EXACT
    alarms = share(["false alarms: templated questions"])
    return exact and (smoke or (share(near) >= NEAR and alarms <= FALSE))
