"""Whether the training rows and the validation rows have the labels that they need."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.core.registry import TASKS
from skipstone.data.manifest import Manifest


def check_train_labels(manifest: Manifest) -> None:
    """Where each row has one label, training needs two labels, and some that the other rows have.

    Raises:
        UsageError: all training rows have one label; the message says where the others are. Or the
            user's validation or test rows have only other labels, so that each prediction would
            be wrong.
    """
    if TASKS[manifest.task].labels != "one":
        return
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # label: rows by role or split
    for label, role, split in zip(
        *(manifest.column_values(name) for name in ("target", "role", "split")), strict=True
    ):
        is_of_role = role in ("train", "unreadable") or split in ("", "train")
        counts[str(label)][role if is_of_role else split] += 1
    train_labels = [label for label in counts if counts[label]["train"]]
    if len(train_labels) != 1:
        _check_common_labels(manifest, counts, train_labels)
        return
    (only,) = train_labels
    others = [
        f"{label} is in the {join_limited(natural_sorted(counts[label]))} rows only"
        for label in natural_sorted(counts)
        if label != only
    ]
    raise UsageError(
        f"{manifest.root}: {pluralize(counts[only]['train'], 'row')} to train on, all of them {only}"
        f"{f' ({join_limited(others, 3)})' if others else ''}; a classifier needs two labels.",
        hint="Put rows of each label into the training part; or give all rows without splits, and "
        "they are split so that every label is trained on.",
    )


def _check_common_labels(
    manifest: Manifest, counts: Mapping[str, Counter[str]], train_labels: Sequence[str]
) -> None:
    splits = set(manifest.column_values("split"))  # "test" may also be a role of other rows
    for split in sorted(splits & {"test", "validation"}, reverse=True):
        labels = [label for label in counts if counts[label][split]]
        if labels and train_labels and not set(labels) & set(train_labels):
            raise UsageError(
                f"{manifest.root}: your {split} rows have other labels ({join_limited(labels, 4)}) than "
                f"the training rows ({join_limited(train_labels, 4)}), so each prediction would be "
                "wrong.",
                hint="Labels match letter by letter: rename them; or train without that part.",
            )


def check_val_tags(manifest: Manifest) -> None:
    """Where a row has any number of labels, the validation rows need one at least: without any,
    average precision is undefined.

    Raises:
        UsageError: no validation row has one.
    """
    val_rows, train_rows = manifest.rows_with_role("val"), manifest.rows_with_role("train")
    if TASKS[manifest.task].labels != "many" or not len(val_rows):
        return
    if any(val_rows.column_values("target")):
        return
    if set(val_rows.column_values("split")) == {"validation"}:
        raise UsageError(
            f"{manifest.root}: none of your {pluralize(len(val_rows), 'validation row')}, which "
            "decide when to stop, has a tag.",
            hint="Tag them, or leave them out: validation rows are then split from the training "
            "rows.",
        )
    tagged = sum(map(bool, train_rows.column_values("target")))
    raise UsageError(
        f"{manifest.root}: too few rows have a tag ({tagged:,} of {len(train_rows):,} to train "
        f"on): none is left for the {pluralize(len(val_rows), 'row')} that decide when to stop.",
        hint="Add rows with tags: 20 of each is a start, 100 is better.",
    )
