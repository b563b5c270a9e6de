"""Whether labels are where they are needed: in the rows to learn from, and in those that decide."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from skipstone.data.manifest import Manifest
from skipstone.errors import UsageError
from skipstone.registry import TASKS
from skipstone.words import counted, listed, natural_sorted


def check_labels_to_learn(manifest: Manifest) -> None:
    """Where a row has one label, the rows to train on need two, and some that other rows have.

    Raises:
        UsageError: they have one only; it says where the others are. Or the user's own validation
            or test rows have other labels throughout, so that every answer would be wrong.
    """
    if TASKS[manifest.task].facts.get("labels") != "one":
        return
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for label, role, split in zip(
        *(manifest.column(name) for name in ("target", "role", "split")), strict=True
    ):
        held[str(label)][role if role in ("fit", "unreadable") else split or role] += 1
    trained = [label for label in held if held[label]["fit"]]
    if len(trained) != 1:
        _check_labels_in_common(manifest, held, trained)
        return
    (only,) = trained
    others = [
        f"{label} is in the {listed(natural_sorted(held[label]))} rows only"
        for label in natural_sorted(held)
        if label != only
    ]
    raise UsageError(
        f"{manifest.root}: {counted(held[only]['fit'], 'row')} to train on, all of them {only}"
        f"{f' ({listed(others, 3)})' if others else ''}; telling things apart takes two.",
        hint="Put rows of each label into the training part; or give all rows without splits, and "
        "they are shared out so that every label trains.",
    )


def _check_labels_in_common(
    manifest: Manifest, held: Mapping[str, Counter[str]], trained: Sequence[str]
) -> None:
    for split in ("validation", "test"):
        there = [label for label in held if held[label][split]]
        if there and trained and not set(there) & set(trained):
            raise UsageError(
                f"{manifest.root}: your {split} rows have other labels ({listed(there, 4)}) than "
                f"those to train on ({listed(trained, 4)}), so no answer could be right.",
                hint="Labels match letter by letter: name them alike; or train without that part.",
            )


def check_tags_to_decide(manifest: Manifest) -> None:
    """Where a row has any number of labels, some of the rows that decide need one: without any,
    average precision is a figure over nothing.

    Raises:
        UsageError: none of them has one.
    """
    select, fit = manifest.role("select"), manifest.role("fit")
    if TASKS[manifest.task].facts.get("labels") != "many" or not len(select):
        return
    if any(select.column("target")):
        return
    if set(select.column("split")) == {"validation"}:
        raise UsageError(
            f"{manifest.root}: none of your {counted(len(select), 'validation row')}, which decide "
            "when to stop, has a tag.",
            hint="Give them their tags, or leave them out: rows are then kept apart for it from "
            "those to train on.",
        )
    tagged = sum(map(bool, fit.column("target")))
    raise UsageError(
        f"{manifest.root}: too few rows have a tag ({tagged:,} of {len(fit):,} to train on): none "
        f"is left for the {counted(len(select), 'row')} that decide when to stop.",
        hint="Add some with tags: 20 of each is a start, 100 is better.",
    )
