"""Roles of rows: train, val (early stopping and thresholds), test (scored once).

The user's splits are kept: a test folder, or else a validation folder, is test; with both,
validation is val. Missing roles are split off the training rows, stratified by label. For
cross-validation nothing is split off: all rows that are not test train, and get a fold each. Rows
of one group, copies and near duplicates are never divided between roles or folds.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from skipstone.core.errors import UsageError
from skipstone.core.formatting import join_limited, natural_sorted, pluralize
from skipstone.core.registry import INPUTS
from skipstone.data.fingerprint import find_duplicate_groups
from skipstone.data.manifest import ROLES, Manifest
from skipstone.datasets.folds import assign_folds
from skipstone.datasets.grouping import MAX_GROUP_SHARE, SMALL_GROUP, DisjointSets
from skipstone.datasets.label_checks import check_val_tags
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.row_scan import (
    RowScan,
    finds_near_duplicates,
    group_identical,
    group_near_duplicates,
    scan_rows,
)
from skipstone.datasets.stratify import Label, RowUnit, stratify_units

#: With fewer test rows, a 95 % interval is at least ±10 points wide: a note says so.
MIN_TEST_ROWS = 100
_NO_LABEL = ("no label",)
#: Scans each row.
ScanRows = Callable[[Manifest], list[RowScan]]


def assign_roles(
    manifest: Manifest,
    options: SplitOptions | None = None,
    *,
    duplicates: Sequence[Sequence[int]] | None = None,
    pinned: Mapping[int, str] | None = None,
    scan: ScanRows = scan_rows,
    cross_validated: bool = False,
) -> Manifest:
    """The same rows with `role` set, and notes that describe the split.

    Depends on paths, labels, groups and the seed, not on the order of rows.

    Args:
        duplicates: groups of row positions with equal bytes, if known. If not, and roles are split
            off, the training rows are scanned for near duplicates (with `options.dedup` "near").
        pinned: roles of rows that another model knows: rows that it was trained on do not become
            test rows.
        scan: scans rows.
        cross_validated: the training rows get folds (`folds.FOLDS`), and none are split off.

    Raises:
        UsageError: no training rows, too few to split, or val has no row with a tag.
    """
    options = options or SplitOptions()
    splits = manifest.column_values("split")
    counts = Counter(splits)
    role_of_split, shares = _plan(counts, options, cross_validated=cross_validated)
    pool = [row for row, split in enumerate(splits) if role_of_split[split] == "train"]
    _require_training_rows(manifest, pool, counts)
    groups = find_duplicate_groups(manifest) if duplicates is None else duplicates
    roles = [role_of_split[split] for split in splits]
    notes = (
        [_describe_splits(counts, role_of_split)] if len(set(role_of_split.values())) > 1 else []
    )
    if shares or cross_validated:
        near: list[list[int]] = []
        is_scanned = finds_near_duplicates(manifest.input) and options.dedup == "near"
        if duplicates is None and is_scanned:
            near, near_notes = _near_duplicates(manifest, pool, scan)
            notes += near_notes
        units = _units(manifest, pool, [*groups, *near], options.row_seed)
    if cross_validated:
        manifest, note = assign_folds(manifest, units, options.folds)
        notes.append(note)
    elif shares:
        pins = [_pin(unit, pinned or {}) for unit in units]
        unit_roles = _split_units(manifest, units, shares, pins)
        for unit, role in zip(units, unit_roles, strict=True):
            for row in unit.rows:
                roles[row] = role
        notes += _describe_new_roles(manifest, units, unit_roles, shares, len(pool))
    notes += _leakage_notes(manifest, roles, groups)
    if not cross_validated or "test" in roles:
        notes += _test_size_notes(roles)
    assigned = replace(manifest.with_column("role", roles), notes=(*manifest.notes, *notes))
    check_val_tags(assigned)
    return assigned


def _require_training_rows(manifest: Manifest, pool: list[int], counts: Counter[str]) -> None:
    if not pool:
        raise UsageError(
            f"{manifest.root} has no training rows, only {join_limited(sorted(filter(None, counts)))}.",
            hint="Give the folder or table that has the training part too.",
        )


def _near_duplicates(
    manifest: Manifest, pool: list[int], look: ScanRows
) -> tuple[list[list[int]], list[str]]:
    """Groups of training rows that are near duplicates, and notes about them."""
    training = manifest.take_rows(pool)
    reads = look(training)
    near = group_near_duplicates(manifest.input, reads, group_identical(training, reads))
    groups = [[pool[row] for row in group] for group in near.groups]
    if not near.links:
        return groups, []
    rows = {row for link in near.links for row in (link.first, link.second)}
    notes = [
        f"{pluralize(len(rows), 'training row')} {INPUTS[manifest.input].nouns.near_duplicate_of_another}: near "
        "duplicates are not divided between train, val and test (see them: skipstone audit)."
    ]
    if near.removed_links:
        notes.append(
            f"Near duplicates form chains of over {MAX_GROUP_SHARE:.0%} of the rows, so the weakest "
            f"{pluralize(near.removed_links, 'link')} of these chains {'is' if near.removed_links == 1 else 'are'} "
            "ignored."
        )
    largest = max(map(len, near.groups))
    if largest > max(MAX_GROUP_SHARE * len(pool), SMALL_GROUP):
        notes.append(
            f"{largest:,} training rows are near duplicates of each other and are not divided; "
            "--dedup exact divides them."
        )
    return groups, notes


def _plan(
    counts: Counter[str], options: SplitOptions, *, cross_validated: bool
) -> tuple[dict[str, str], dict[str, float]]:
    """({split: role}, {missing role: its share of the training rows})."""
    roles = {"": "train", "train": "train"}
    shares = {"val": options.val_share}
    if counts["test"]:
        roles |= {"test": "test", "validation": "train" if cross_validated else "val"}
        shares = {} if counts["validation"] else shares
    elif counts["validation"]:
        roles |= {"validation": "test"}
    else:
        shares["test"] = options.test_share
    for split in counts:
        if split not in roles and counts[split]:
            raise UsageError(
                f"unknown split {split!r}.", hint="Splits are train, validation and test."
            )
    used = {split: role for split, role in roles.items() if counts[split]}
    return used, {} if cross_validated else shares


def _units(
    manifest: Manifest, pool: list[int], duplicates: Sequence[Sequence[int]], seed: int
) -> list[RowUnit]:
    """The training rows as units: rows of a group, copies and near duplicates are one unit."""
    groups: dict[str, list[int]] = defaultdict(list)
    names = manifest.column_values("group")
    for row in pool:
        if names[row] is not None:
            groups[names[row]].append(row)
    training, union = set(pool), DisjointSets()
    for rows_of_unit in [*([row] for row in pool), *groups.values(), *duplicates]:
        union.join_items(row for row in rows_of_unit if row in training)
    paths, members = manifest.column_values("path"), manifest.column_values("member")
    targets = manifest.column_values("target")
    units = []
    for rows in union.list_sets():
        labels: Counter[Label] = Counter()
        for row in rows:
            labels.update(get_labels(targets[row]))
        keys = (_key(seed, paths[row], members[row]) for row in rows)
        units.append(RowUnit(min(keys), rows, labels))
    return units


def get_labels(target: Any) -> tuple[Label, ...]:
    """The labels by which a target is stratified: a name, or those of a list of names or of
    objects, else none."""
    if isinstance(target, str):
        return (target,)
    if isinstance(target, list) and all(isinstance(item, Mapping) for item in target):
        target = [item["label"] for item in target if "label" in item]
    if isinstance(target, list) and target and all(isinstance(item, str) for item in target):
        return tuple(dict.fromkeys(target))
    return (_NO_LABEL,)


def _key(seed: int, path: str, member: int | None) -> bytes:
    return hashlib.blake2b(f"{seed}\0{path}\0{member}".encode(), digest_size=16).digest()


def _pin(unit: RowUnit, pinned: Mapping[int, str]) -> str | None:
    """The role that a unit has to keep: with one trained row, train."""
    roles = {pinned[row] for row in unit.rows if row in pinned}
    return next((role for role in ROLES if role in roles), None)


def _split_units(
    manifest: Manifest, units: list[RowUnit], shares: dict[str, float], pins: list[str | None]
) -> list[str]:
    """A role for each unit; a role stays empty only if no unit can be spared."""
    names = ["train", *shares]
    part = stratify_units(units, [1 - sum(shares.values()), *shares.values()])
    for unit, pin in enumerate(pins):
        if pin is not None:
            part[unit] = names.index(pin) if pin in names else 0
    _keep_every_label_in_train(units, part)
    for number in range(1, len(names)):
        fixed = {unit for unit, pin in enumerate(pins) if pin and names[number] == "test"}
        if number not in part and not _fill(units, part, number, fixed):
            if names[number] == "val":
                raise UsageError(
                    f"{manifest.root}: {_too_few(units)}, so none can be split off for validation.",
                    hint="Add samples: 20 of each class is a start, 100 is better.",
                )
            break  # test stays empty; _test_size_notes says so
    return [names[number] for number in part]


def _too_few(units: list[RowUnit]) -> str:
    rows = sum(len(unit.rows) for unit in units)
    if len(units) == rows:
        return f"{pluralize(rows, 'training row')} {'is' if rows == 1 else 'are'} too few"
    return (
        f"the {pluralize(rows, 'training row')} form {pluralize(len(units), 'unit')} that cannot be "
        "divided (groups, copies and near duplicates)"
    )


def _keep_every_label_in_train(units: list[RowUnit], part: list[int]) -> None:
    """Move the smallest unit of each label that only val or test have to train."""
    outside = dict[Label, list[int]]((label, []) for label in _labels_outside_train(units, part))
    for n, unit in enumerate(units):
        for label in unit.labels:
            if label in outside:
                outside[label].append(n)
    for holders in outside.values():
        if any(part[n] == 0 for n in holders):
            continue
        part[min(holders, key=lambda n: (len(units[n].rows), units[n].key))] = 0


def _labels_outside_train(units: list[RowUnit], part: list[int]) -> list[Label]:
    train: set[Label] = set()
    other: set[Label] = set()
    for unit, number in zip(units, part, strict=True):
        (other if number else train).update(unit.labels)
    return sorted(other - train, key=str)


def _fill(units: list[RowUnit], part: list[int], wanted: int, fixed: Set[int]) -> bool:
    """Move the smallest unit of train, whose labels other units of train have too and which is not
    `fixed`, to the part `wanted`. False if no unit can be moved."""
    counts: Counter[Label] = Counter()
    for unit, number in zip(units, part, strict=True):
        if number == 0:
            counts.update(unit.labels.keys())
    train = [n for n, number in enumerate(part) if number == 0 and n not in fixed]
    spare = [n for n in train if all(counts[label] > 1 for label in units[n].labels)]
    if not spare:
        return False
    part[min(spare, key=lambda n: (len(units[n].rows), units[n].key))] = wanted
    return True


def _describe_splits(counts: Counter[str], roles: dict[str, str]) -> str:
    uses = {
        "train": "trained on",
        "val": "used for early stopping and thresholds",
        "test": "scored once, at the end",
    }
    parts = [
        f"{f'your {split} rows' if split else 'rows without a split'} ({counts[split]:,}) are "
        f"{uses[role]}"
        for split, role in roles.items()
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _describe_new_roles(
    manifest: Manifest,
    units: list[RowUnit],
    unit_roles: list[str],
    shares: dict[str, float],
    pool: int,
) -> list[str]:
    sizes: Counter[str] = Counter()
    labels: dict[str, set[Label]] = defaultdict(set)
    counts: Counter[Label] = Counter()
    for unit, role in zip(units, unit_roles, strict=True):
        sizes[role] += len(unit.rows)
        labels[role].update(unit.labels)
        counts.update(unit.labels)
    grouped = (
        " by group" if any(name is not None for name in manifest.column_values("group")) else ""
    )
    parts = " and ".join(f"{sizes[role]:,} for {role}" for role in shares)
    notes = [
        f"Of {pluralize(pool, 'training row')}, {parts} are split off{grouped}; "
        f"{sizes['train']:,} train."
    ]
    names = {label for label in counts if isinstance(label, str)}
    rare = natural_sorted(str(label) for label in names if counts[label] <= 2)
    if rare:
        notes.append(
            f"Too rare to split (1 or 2 rows), so used for training only: {join_limited(rare)}. Their "
            "accuracy cannot be measured; it can with 20 rows of each."
        )
    for role in shares:
        lacking = natural_sorted(str(label) for label in names - labels[role] if counts[label] > 2)
        if lacking and sizes[role]:
            notes.append(f"{role} has no row of {join_limited(lacking)}.")
    for role, share in shares.items():
        if sizes[role] and not 0.5 <= sizes[role] / (share * pool) <= 2 and pool >= 20:
            notes.append(
                f"{role} has {sizes[role] / pool:.0%} of the training rows instead of "
                f"{share:.0%}: rows that cannot be divided leave no closer split."
            )
    return notes


def _leakage_notes(
    manifest: Manifest, roles: list[str], duplicates: Sequence[Sequence[int]]
) -> list[str]:
    """Rows that the user's own splits share; they are reported and stay where they are."""
    notes = []
    names = manifest.row_names()
    for role in ("val", "test"):
        pairs = []
        for group in duplicates:
            train = [row for row in group if roles[row] == "train"]
            pairs += [(train[0], row) for row in group if train and roles[row] == role]
        if pairs:
            first, second = (names[row] for row in pairs[0])
            notes.append(
                f"{pluralize(len(pairs), 'row')} of {role} {'has' if len(pairs) == 1 else 'have'} "
                f"the same bytes as a training row (such as {second} = {first}). Nothing is moved, "
                "but this leakage makes the scores too good."
            )
    split_groups: dict[str, set[str]] = defaultdict(set)
    for name, role in zip(manifest.column_values("group"), roles, strict=True):
        if name is not None:
            split_groups[name].add(role)
    shared = natural_sorted(name for name, parts in split_groups.items() if len(parts) > 1)
    if shared:
        notes.append(
            f"{pluralize(len(shared), 'group')} ({join_limited(shared)}) "
            f"{'is' if len(shared) == 1 else 'are'} in more than one of your own splits. Nothing "
            "is moved, but this leakage makes the scores too good."
        )
    return notes


def _test_size_notes(roles: list[str]) -> list[str]:
    count = roles.count("test")
    assert set(roles) <= set(ROLES)
    if not count:
        return ["Too little data for a test part: this run has no independent score."]
    if count < MIN_TEST_ROWS:
        half = 100 * 0.98 / math.sqrt(count)
        return [
            f"The test part has only {pluralize(count, 'row')}: its score is rough (the 95 % "
            f"interval may be ±{min(half, 50):.0f} points)."
        ]
    return []
