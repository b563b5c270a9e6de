"""Roles: partition, groups, duplicates, stratification, the user's own splits, small data."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skipstone.core.errors import UsageError
from skipstone.data.manifest import Manifest, build_table
from skipstone.data.read import read_manifest
from skipstone.datasets.label_checks import check_train_labels
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.splitting import assign_roles
from tests.photos import make_photo, save_photo, write_class_folder


def rows(
    labels: list[Any],
    *,
    groups: list[str | None] | None = None,
    splits: list[str] | None = None,
) -> Manifest:
    """A manifest of files that need not exist."""
    tags = bool(labels) and isinstance(labels[0], list)
    names = {name for label in labels for name in (label if tags else [label])}
    return Manifest(
        build_table(
            {
                "path": [f"{number:04d}.jpg" for number in range(len(labels))],
                "target": labels,
                "group": groups or [None] * len(labels),
                "split": splits or [""] * len(labels),
            },
            pa.list_(pa.string()) if tags else pa.string(),
        ),
        root=Path("/nowhere"),
        reader="table",
        input="image",
        task="tag" if tags else "classify",
        schema={"classes": sorted(names)},
    )


def roles_of(manifest: Manifest, **options: Any) -> list[str]:
    assigned = assign_roles(manifest, SplitOptions(**options), duplicates=[])
    return assigned.column_values("role")


@given(
    st.lists(st.sampled_from("abc"), min_size=30, max_size=200),
    st.integers(0, 3),
    st.sampled_from([(0.15, 0.15), (0.2, 0.1), (0.3, 0.3)]),
)
def test_every_class_is_within_one_of_its_share(
    labels: list[str], seed: int, shares: tuple[float, float]
) -> None:
    val_share, test_share = shares
    roles = roles_of(rows(labels), seed=seed, val_share=val_share, test_share=test_share)
    assert set(roles) == {"train", "val", "test"}
    counts = Counter(zip(labels, roles, strict=True))
    wanted = {"train": 1 - val_share - test_share, "val": val_share, "test": test_share}
    for label, total in Counter(labels).items():
        assert counts[label, "train"] >= 1
        for role, share in wanted.items():
            assert abs(counts[label, role] - share * total) < 1 + 1e-9


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), min_size=24, max_size=120),
    st.lists(st.lists(st.integers(0, 23), min_size=2, max_size=4), max_size=4),
    st.integers(0, 3),
)
def test_groups_and_duplicates_never_straddle(
    pairs: list[tuple[str, int]], duplicates: list[list[int]], seed: int
) -> None:
    labels, groups = [pair[0] for pair in pairs], [str(pair[1]) for pair in pairs]
    manifest = rows(labels, groups=list(groups))
    try:
        assigned = assign_roles(manifest, SplitOptions(seed=seed), duplicates=duplicates)
    except UsageError as error:
        assume("cannot be divided" not in str(error))
        raise
    roles = assigned.column_values("role")
    assert set(roles) <= {"train", "val", "test"}
    assert {"train", "val"} <= set(roles)
    held: dict[str, set[str]] = defaultdict(set)
    for group, role in zip(groups, roles, strict=True):
        held[group].add(role)
    assert all(len(inside) == 1 for inside in held.values())
    assert all(len({roles[row] for row in same}) == 1 for same in duplicates)
    assert {label for label, role in zip(labels, roles, strict=True) if role == "train"} == set(
        labels
    )


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=24, max_size=100),
    st.dictionaries(st.integers(0, 23), st.sampled_from(["train", "val", "test"]), max_size=24),
    st.integers(0, 3),
)
def test_what_another_model_was_trained_on_is_never_tested(
    pairs: list[tuple[str, int]], pinned: dict[int, str], seed: int
) -> None:
    labels, groups = [pair[0] for pair in pairs], [str(pair[1]) for pair in pairs]
    manifest = rows(labels, groups=list(groups))
    try:
        assigned = assign_roles(manifest, SplitOptions(seed=seed), duplicates=[], pinned=pinned)
    except UsageError as error:
        assume("cannot be divided" not in str(error))
        raise
    roles = assigned.column_values("role")
    seen = {groups[row] for row, role in pinned.items() if role != "test"}
    for group, role in zip(groups, roles, strict=True):
        assert role != "test" or group not in seen
    held: dict[str, set[str]] = defaultdict(set)
    for group, role in zip(groups, roles, strict=True):
        held[group].add(role)
    assert all(len(inside) == 1 for inside in held.values())
    assert {"train", "val"} <= set(roles)


@given(st.permutations(range(40)), st.integers(0, 2))
def test_roles_follow_paths_and_not_the_order_of_rows(order: list[int], seed: int) -> None:
    labels = ["abcd"[number % 4] for number in range(40)]
    manifest = rows(labels, groups=[str(number // 3) for number in range(40)])
    expected = dict(zip(manifest.column_values("path"), roles_of(manifest, seed=seed), strict=True))
    shuffled = manifest.take_rows(order)
    found = dict(zip(shuffled.column_values("path"), roles_of(shuffled, seed=seed), strict=True))
    assert found == expected


def test_the_seed_chooses() -> None:
    manifest = rows(["ab"[number % 2] for number in range(100)])
    assert roles_of(manifest, seed=1) == roles_of(manifest, seed=1)
    assert roles_of(manifest, seed=1) != roles_of(manifest, seed=2)


def test_tags_are_stratified() -> None:
    rng = np.random.default_rng(0)
    chosen = rng.random((600, 4)) < [0.5, 0.3, 0.1, 0.05]
    labels = [[f"t{n}" for n in np.flatnonzero(row)] for row in chosen]
    roles = np.array(roles_of(rows(labels)))
    for role, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        held = chosen[roles == role].sum(0)
        assert np.all(np.abs(held - share * chosen.sum(0)) <= 1 + 1e-9), (role, held)
    bare = ~chosen.any(1)
    assert abs((bare & (roles == "test")).sum() - 0.15 * bare.sum()) <= 2


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "test"], {"train": {"train", "val"}, "test": {"test"}}),
        (["train", "validation"], {"train": {"train", "val"}, "validation": {"test"}}),
        (
            ["train", "validation", "test"],
            {"train": {"train"}, "validation": {"val"}, "test": {"test"}},
        ),
        (["", "test"], {"": {"train", "val"}, "test": {"test"}}),
        (["train"], {"train": {"train", "val", "test"}}),
        (
            ["", "train", "validation"],
            {"": {"train", "val"}, "train": {"train", "val"}, "validation": {"test"}},
        ),
    ],
)
def test_what_the_user_gave_is_kept(splits: list[str], expected: dict[str, set[str]]) -> None:
    given_splits = [splits[number % len(splits)] for number in range(120)]
    labels = ["ab"[number // 7 % 2] for number in range(120)]
    roles = roles_of(rows(labels, splits=given_splits))
    held: dict[str, set[str]] = defaultdict(set)
    for split, role in zip(given_splits, roles, strict=True):
        held[split].add(role)
    assert held == expected


def test_no_training_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="no training rows, only test"):
        roles_of(rows(["a", "b"], splits=["test", "test"]))


def test_classes_of_one_or_two_rows_train_and_are_named() -> None:
    labels = ["a"] * 40 + ["b"] * 40 + ["one"] + ["two"] * 2
    assigned = assign_roles(rows(labels), duplicates=[])
    roles = assigned.column_values("role")
    assert roles[-3:] == ["train"] * 3
    assert any("used for training only: one, two." in note for note in assigned.notes)


def test_too_little_to_keep_anything_apart_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2 training rows are too few.*Add samples"):
        roles_of(rows(["a", "b"]))
    with pytest.raises(UsageError, match=r"40 training rows form 1 unit that cannot be divided"):
        roles_of(rows(["a", "b"] * 20, groups=["x"] * 40))


def test_one_label_to_train_on_is_refused_and_says_where_the_others_are() -> None:
    splits = ["train"] * 20 + ["test"] * 10
    assigned = assign_roles(rows(["a"] * 20 + ["b", "a"] * 5, splits=splits), duplicates=[])
    with pytest.raises(UsageError, match=r"17 rows to train on, all of them a \(b is in the test"):
        check_train_labels(assigned)
    check_train_labels(assign_roles(rows(["a", "b"] * 15, splits=splits), duplicates=[]))
    tags = rows([["a"]] * 20 + [["b"]] * 10, splits=splits)
    check_train_labels(assign_roles(tags, duplicates=[]))  # one tag may well be all there is


def test_tags_that_leave_none_to_decide_by_are_refused() -> None:
    with pytest.raises(UsageError, match=r"too few rows have a tag \(2 of 14 to train on\).*20 of"):
        roles_of(rows([["a"]] * 2 + [[]] * 18))
    roles = roles_of(rows([["a"]] * 3 + [[]] * 17))
    assert "val" in roles[:3]
    splits = ["train"] * 20 + ["validation"] * 4 + ["test"] * 6
    with pytest.raises(UsageError, match=r"none of your 4 validation rows.*has a tag.*leave them"):
        roles_of(rows([["a"]] * 20 + [[]] * 4 + [["a"]] * 6, splits=splits))


def test_too_little_for_test_rows_is_said() -> None:
    assigned = assign_roles(rows(["a", "b", "b"]), duplicates=[])
    assert sorted(assigned.column_values("role")) == ["train", "train", "val"]
    assert any("Too little data for a test part" in note for note in assigned.notes)
    assigned = assign_roles(rows(["a", "b"] * 10), duplicates=[])
    assert any("its score is rough" in note for note in assigned.notes)
    assigned = assign_roles(rows(["a", "b"] * 500), duplicates=[])
    assert not any("score is rough" in note for note in assigned.notes)


def test_a_split_that_groups_pull_out_of_shape_is_said() -> None:
    groups = ["big"] * 60 + ["middle"] * 39 + ["small"]
    assigned = assign_roles(rows(["a", "b"] * 50, groups=groups), duplicates=[])
    assert set(assigned.column_values("role")) == {"train", "val", "test"}
    assert any("instead of 15%" in note for note in assigned.notes)


def test_groups_across_the_users_own_splits_are_reported_and_left() -> None:
    splits = ["train"] * 30 + ["test"] * 30
    groups = [str(number % 30) for number in range(60)]
    assigned = assign_roles(rows(["a", "b"] * 30, splits=splits, groups=groups), duplicates=[])
    assert assigned.column_values("role")[30:] == ["test"] * 30
    assert any("30 groups (0, 1, 2, 3, 4 and 25 more) are in more" in n for n in assigned.notes)


def test_duplicates_across_the_users_own_splits_are_reported_and_left(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "train", 6)
    write_class_folder(tmp_path / "test", 4, first_seed=50)
    (tmp_path / "test/disc/copy.jpg").write_bytes((tmp_path / "train/disc/000.jpg").read_bytes())
    assigned = assign_roles(read_manifest(tmp_path))
    role = dict(zip(assigned.column_values("path"), assigned.column_values("role"), strict=True))
    assert role["test/disc/copy.jpg"] == "test"
    assert role["train/disc/000.jpg"] in ("train", "val")
    assert any("test/disc/copy.jpg = train/disc/000.jpg" in note for note in assigned.notes) == (
        role["train/disc/000.jpg"] == "train"
    )


def test_copies_in_a_folder_stay_on_one_side(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    for number in range(6):
        save_photo(make_photo(number, "disc"), tmp_path / "disc" / f"copy{number}", variant=1)
        save_photo(make_photo(number, "disc"), tmp_path / "disc" / f"twin{number}", variant=1)
    assigned = assign_roles(read_manifest(tmp_path))
    role = dict(zip(assigned.column_values("path"), assigned.column_values("role"), strict=True))
    for number in range(6):
        assert role[f"disc/copy{number}.png"] == role[f"disc/twin{number}.png"]


def test_a_target_without_a_name_is_still_divided() -> None:
    """Another task's targets (boxes, say) carry no label to stratify by."""
    manifest = dataclasses.replace(rows(["a"] * 50))
    boxes = pa.array([[{"x": 1.0}]] * 50)
    index = manifest.table.schema.get_field_index("target")
    manifest = dataclasses.replace(
        manifest, table=manifest.table.set_column(index, "target", boxes)
    )
    counts = Counter(assign_roles(manifest, duplicates=[]).column_values("role"))
    assert counts == {"train": 35, "val": 8, "test": 7}


@pytest.mark.parametrize(
    "wrong",
    [
        {"val_share": 0},
        {"test_share": 0.6},
        {"val_share": 0.45, "test_share": 0.4},
        {"val_share": -1},
    ],
)
def test_shares_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SplitOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.real_data
def test_real_photos_are_divided_in_their_shares(real_data: Path) -> None:
    assigned = assign_roles(read_manifest(real_data / "clothing"))
    trained = assigned.filter_rows("split", "train")
    counts = Counter(
        zip(trained.column_values("target"), trained.column_values("role"), strict=True)
    )
    for label, total in Counter(trained.column_values("target")).items():
        assert abs(counts[label, "val"] - 0.15 * total) < 1
    assert len(assigned.rows_with_role("test")) == 341


@pytest.mark.parametrize("seed", range(8))
def test_a_label_that_one_group_holds_trains_whoever_shares_the_group(seed: int) -> None:
    """The rarer label x is dealt first and may carry the only group with y anywhere."""
    groups = {"u": "xyyyyy", "v": "xaa", "w": "xaa", "z": "xaa"} | {
        f"a{number}": "aa" for number in range(20)
    }
    names = [name for name, labels in groups.items() for _ in labels]
    labels = [label for inside in groups.values() for label in inside]
    roles = roles_of(rows(labels, groups=list(names)), seed=seed)
    assert {role for role, label in zip(roles, labels, strict=True) if label == "y"} == {"train"}
