"""Roles: which rows train (fit), which decide (select), which are scored once (claim).

What the user gave is kept: a test folder, or else a validation folder, is the claim; with both,
validation is select. What is missing is carved out of the training rows, stratified by label;
rows of one group, copies and near duplicates stay on one side of every split that is made here.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from skipstone.data.fingerprint import duplicate_groups
from skipstone.data.manifest import ROLES, Manifest
from skipstone.errors import UsageError
from skipstone.prepare.enough import check_tags_to_decide
from skipstone.prepare.findings import Nouns
from skipstone.prepare.look import Read, alike, can_look_alike, look_at, same_bytes
from skipstone.prepare.options import SplitOptions
from skipstone.prepare.stratify import Label, Unit, stratify
from skipstone.prepare.together import LARGEST, SMALL_GROUP, Union
from skipstone.words import counted, listed, natural_sorted

#: Below this many rows a claim is called weak: its 95 % interval is at least ±10 points wide.
FEW_ROWS = 100
_NO_LABEL = ("no label",)
#: Rows -> what each one's bytes gave.
Look = Callable[[Manifest], list[Read]]


def assign_roles(
    manifest: Manifest,
    options: SplitOptions | None = None,
    *,
    duplicates: Sequence[Sequence[int]] | None = None,
    pinned: Mapping[int, str] | None = None,
    look: Look = look_at,
) -> Manifest:
    """The same rows with `role` set, and notes that say how.

    Depends on paths, labels, groups and the seed, never on the order of rows.

    Args:
        duplicates: groups of row positions with equal bytes, where known already. Where they are
            not, and a split is made, the training rows are looked at for what shows the same,
            unless `options` keep that off.
        pinned: roles of rows that another model knows; where roles are carved, what it has been
            trained on is never claimed.
        look: how rows are looked at.

    Raises:
        UsageError: there is nothing to train on, too little to keep anything apart, or no row to
            decide by that has a tag.
    """
    options = options or SplitOptions()
    given = Counter(manifest.column("split"))
    splits = manifest.column("split")
    role_of_split, carve = _plan(given, options)
    pool = [row for row, split in enumerate(splits) if role_of_split[split] == "fit"]
    if not pool:
        raise UsageError(
            f"{manifest.root} holds no training rows, only {listed(sorted(filter(None, given)))}.",
            hint="Give the folder or table that holds the training part too.",
        )
    groups = duplicate_groups(manifest) if duplicates is None else duplicates
    roles = [role_of_split[split] for split in splits]
    notes = [_given_note(given, role_of_split)] if len(set(role_of_split.values())) > 1 else []
    if carve:
        same: list[list[int]] = []
        looked = can_look_alike(manifest.input) and options.together == "near"
        if duplicates is None and looked:
            same, said = _looking_alike(manifest, pool, look)
            notes += said
        units = _units(manifest, pool, [*groups, *same], options.drawn_by)
        pins = [_pin(unit, pinned or {}) for unit in units]
        parts = _carve(manifest, units, carve, pins)
        for unit, role in zip(units, parts, strict=True):
            for row in unit.rows:
                roles[row] = role
        notes += _carved_notes(manifest, units, parts, carve, len(pool))
    notes += _straddling_notes(manifest, roles, groups)
    notes += _claim_notes(roles)
    assigned = replace(manifest.with_column("role", roles), notes=(*manifest.notes, *notes))
    check_tags_to_decide(assigned)
    return assigned


def _looking_alike(
    manifest: Manifest, pool: list[int], look: Look
) -> tuple[list[list[int]], list[str]]:
    """Groups of training rows that show the same, and what is to be said of them."""
    inside = manifest.take(pool)
    reads = look(inside)
    found = alike(manifest.input, reads, same_bytes(inside, reads))
    groups = [[pool[row] for row in group] for group in found.groups]
    if not found.links:
        return groups, []
    near = {row for link in found.links for row in (link.first, link.second)}
    notes = [
        f"{counted(len(near), 'training row')} {Nouns.of(manifest.input).another}: "
        "they stay on one side of the splits that are made (see them: skipstone audit)."
    ]
    if found.cut:
        notes.append(
            f"Near duplicates chained into groups of over {LARGEST:.0%} of the rows, so the "
            f"weakest {counted(found.cut, 'link')} of these groups count for nothing."
        )
    largest = max(map(len, found.groups))
    if largest > max(LARGEST * len(pool), SMALL_GROUP):
        notes.append(
            f"{largest:,} training rows are near duplicates of each other and stay together; "
            "--together exact lets them be split."
        )
    return groups, notes


def _plan(given: Counter[str], options: SplitOptions) -> tuple[dict[str, str], dict[str, float]]:
    """({split: role}, {role to carve: its share of the training rows})."""
    roles = {"": "fit", "train": "fit"}
    if given["test"]:
        roles |= {"test": "claim", "validation": "select"}
        carve = {} if given["validation"] else {"select": options.select}
    elif given["validation"]:
        roles |= {"validation": "claim"}
        carve = {"select": options.select}
    else:
        carve = {"select": options.select, "claim": options.claim}
    for split in given:
        if split not in roles and given[split]:
            raise UsageError(
                f"{split!r} is no split.", hint="Splits are train, validation and test."
            )
    return {split: role for split, role in roles.items() if given[split]}, carve


def _units(
    manifest: Manifest, pool: list[int], duplicates: Sequence[Sequence[int]], seed: int
) -> list[Unit]:
    """The training rows, joined where they share a group, their bytes or what they show."""
    groups: dict[str, list[int]] = defaultdict(list)
    names = manifest.column("group")
    for row in pool:
        if names[row] is not None:
            groups[names[row]].append(row)
    inside, union = set(pool), Union()
    for together in [*([row] for row in pool), *groups.values(), *duplicates]:
        union.join(row for row in together if row in inside)
    paths, members = manifest.column("path"), manifest.column("member")
    targets = manifest.column("target")
    units = []
    for rows in union.sets():
        labels: Counter[Label] = Counter()
        for row in rows:
            labels.update(labels_of(targets[row]))
        keys = (_key(seed, paths[row], members[row]) for row in rows)
        units.append(Unit(min(keys), rows, labels))
    return units


def labels_of(target: Any) -> tuple[Label, ...]:
    """What a target is stratified by: a name, or a list of names; other targets have no label."""
    if isinstance(target, str):
        return (target,)
    if isinstance(target, list) and target and all(isinstance(item, str) for item in target):
        return tuple(dict.fromkeys(target))
    return (_NO_LABEL,)


def _key(seed: int, path: str, member: int | None) -> bytes:
    return hashlib.blake2b(f"{seed}\0{path}\0{member}".encode(), digest_size=16).digest()


def _pin(unit: Unit, pinned: Mapping[int, str]) -> str | None:
    """The role that a unit has to keep: one trained row makes all of it trained."""
    roles = {pinned[row] for row in unit.rows if row in pinned}
    return next((role for role in ROLES if role in roles), None)


def _carve(
    manifest: Manifest, units: list[Unit], carve: dict[str, float], pins: list[str | None]
) -> list[str]:
    """A role for each unit; no role that is asked for stays empty while it can be filled."""
    names = ["fit", *carve]
    part = stratify(units, [1 - sum(carve.values()), *carve.values()])
    for unit, pin in enumerate(pins):
        if pin is not None:
            part[unit] = names.index(pin) if pin in names else 0
    _keep_every_label_in_fit(units, part)
    for number in range(1, len(names)):
        fixed = {unit for unit, pin in enumerate(pins) if pin and names[number] == "claim"}
        if number not in part and not _fill(units, part, number, fixed):
            if names[number] == "select":
                raise UsageError(
                    f"{manifest.root}: {_too_few(units)}, so nothing can be kept apart to decide "
                    "when to stop.",
                    hint="Add pictures: 20 of each class is a start, 100 is better.",
                )
            break  # the claim stays empty; _claim_notes says so
    return [names[number] for number in part]


def _too_few(units: list[Unit]) -> str:
    rows = sum(len(unit.rows) for unit in units)
    if len(units) == rows:
        return f"{counted(rows, 'row')} to train on are too few"
    return (
        f"its {counted(rows, 'row')} to train on form {counted(len(units), 'unit')} that stay "
        "together (groups, copies and near duplicates)"
    )


def _keep_every_label_in_fit(units: list[Unit], part: list[int]) -> None:
    """A label that only select or claim have cannot be learnt: give fit its smallest unit."""
    outside = dict[Label, list[int]]((label, []) for label in _labels_outside_fit(units, part))
    for n, unit in enumerate(units):
        for label in unit.labels:
            if label in outside:
                outside[label].append(n)
    for holders in outside.values():
        if any(part[n] == 0 for n in holders):
            continue
        part[min(holders, key=lambda n: (len(units[n].rows), units[n].key))] = 0


def _labels_outside_fit(units: list[Unit], part: list[int]) -> list[Label]:
    inside: set[Label] = set()
    every: set[Label] = set()
    for unit, number in zip(units, part, strict=True):
        every.update(unit.labels)
        if number == 0:
            inside.update(unit.labels)
    return sorted(every - inside, key=str)


def _fill(units: list[Unit], part: list[int], wanted: int, fixed: Set[int]) -> bool:
    """Move the smallest unit of fit whose labels stay in fit without it, none of `fixed`; False if
    there is none."""
    held: Counter[Label] = Counter()
    for unit, number in zip(units, part, strict=True):
        if number == 0:
            held.update(unit.labels.keys())
    inside = [n for n, number in enumerate(part) if number == 0 and n not in fixed]
    spare = [n for n in inside if all(held[label] > 1 for label in units[n].labels)]
    if not spare:
        return False
    part[min(spare, key=lambda n: (len(units[n].rows), units[n].key))] = wanted
    return True


def _given_note(given: Counter[str], roles: dict[str, str]) -> str:
    words = {"fit": "is trained on", "select": "decides", "claim": "is scored once, afterwards"}
    parts = [
        f"{'your ' + split if split else 'what has no split'} ({given[split]:,}) {words[role]}"
        for split, role in roles.items()
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _carved_notes(
    manifest: Manifest,
    units: list[Unit],
    parts: list[str],
    carve: dict[str, float],
    pool: int,
) -> list[str]:
    sizes: Counter[str] = Counter()
    labels: dict[str, set[Label]] = defaultdict(set)
    every: Counter[Label] = Counter()
    for unit, role in zip(units, parts, strict=True):
        sizes[role] += len(unit.rows)
        labels[role].update(unit.labels)
        every.update(unit.labels)
    grouped = " by group" if any(name is not None for name in manifest.column("group")) else ""
    made = " and ".join(f"{sizes[role]:,} for {role}" for role in carve)
    notes = [
        f"Of {counted(pool, 'training row')}, {made} are kept apart{grouped}; "
        f"{sizes['fit']:,} train."
    ]
    names = {label for label in every if isinstance(label, str)}
    tiny = natural_sorted(str(label) for label in names if every[label] <= 2)
    if tiny:
        notes.append(
            f"Too rare to share out (1 or 2 rows), so all of it trains: {listed(tiny)}. No figure "
            "will say how well that is known: with 20 rows each, the same command does."
        )
    for role in carve:
        lacking = natural_sorted(str(label) for label in names - labels[role] if every[label] > 2)
        if lacking and sizes[role]:
            notes.append(f"{role} has no row of {listed(lacking)}.")
    for role, share in carve.items():
        if sizes[role] and not 0.5 <= sizes[role] / (share * pool) <= 2 and pool >= 20:
            notes.append(
                f"{role} holds {sizes[role] / pool:.0%} of the training rows instead of "
                f"{share:.0%}: rows that stay together leave no closer split."
            )
    return notes


def _straddling_notes(
    manifest: Manifest, roles: list[str], duplicates: Sequence[Sequence[int]]
) -> list[str]:
    """What the user's own splits share; it is reported and left where it is."""
    notes = []
    names = manifest.names()
    for role in ("select", "claim"):
        pairs = []
        for group in duplicates:
            trained = [row for row in group if roles[row] == "fit"]
            pairs += [(trained[0], row) for row in group if trained and roles[row] == role]
        if pairs:
            first, second = (names[row] for row in pairs[0])
            notes.append(
                f"{counted(len(pairs), 'row')} of {role} {'is' if len(pairs) == 1 else 'are'} byte "
                f"for byte in the training rows too (such as {second} = {first}): left there, but "
                "the figures are better than they should be."
            )
    split_groups: dict[str, set[str]] = defaultdict(set)
    for name, role in zip(manifest.column("group"), roles, strict=True):
        if name is not None:
            split_groups[name].add(role)
    shared = natural_sorted(name for name, held in split_groups.items() if len(held) > 1)
    if shared:
        notes.append(
            f"{counted(len(shared), 'group')} ({listed(shared)}) "
            f"{'lies' if len(shared) == 1 else 'lie'} in more than one of your own splits: left "
            "there, but the figures are better than they should be."
        )
    return notes


def _claim_notes(roles: list[str]) -> list[str]:
    count = roles.count("claim")
    assert set(roles) <= set(ROLES)
    if not count:
        return ["Too little data to keep a claim apart: no figure of this run is proven."]
    if count < FEW_ROWS:
        half = 100 * 0.98 / math.sqrt(count)
        return [
            f"The claim rests on {counted(count, 'row')}: too few for more than a rough figure "
            f"(its interval may be ±{min(half, 50):.0f} points)."
        ]
    return []
