"""Unreadable rows: found once, counted against --max-bad, left out of their roles."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.datasets import unreadable
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.options import LoadOptions, SplitOptions
from skipstone.datasets.splitting import assign_roles
from skipstone.datasets.unreadable import (
    UNREADABLE,
    ReadReport,
    exclude_unreadable,
    read_all_rows,
    to_csv,
)
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions
from tests.photos import write_class_folder


@pytest.fixture
def rows(tmp_path: Path) -> Manifest:
    write_class_folder(tmp_path / "photos", 10)
    return assign_roles(read_manifest(tmp_path / "photos"), SplitOptions())


def read(rows: Manifest, allowed: int = 0) -> tuple[ReadReport, RecordCache]:
    cache = RecordCache()
    task = ClassificationTask(ClassifyOptions(), rows.schema)
    input = ImageInput(ImageOptions(size=8, channels=3))
    return read_all_rows(rows, input, task, cache=cache, allowed=allowed), cache


def hurt(rows: Manifest, role: str, count: int) -> list[str]:
    part = rows.rows_with_role(role)
    for source in part.list_sources()[:count]:
        source.path.write_bytes(source.path.read_bytes()[:40])
    return part.column_values("path")[:count]


def test_every_role_is_read_once_and_kept_in_the_cache(rows: Manifest) -> None:
    found, cache = read(rows)
    assert found == ReadReport((), len(rows), len(rows))
    assert (len(cache), cache.misses, cache.hits) == (30, 30, 0)


def test_bad_rows_are_named_with_role_and_reason(rows: Manifest) -> None:
    expected = hurt(rows, "train", 2) + hurt(rows, "test", 1)
    found, _ = read(rows, allowed=3)
    assert [bad.path for bad in found.unreadable] == expected
    assert [bad.role for bad in found.unreadable] == ["train", "train", "test"]
    table = list(csv.DictReader(io.StringIO(to_csv(found.unreadable))))
    assert [row["path"] for row in table] == expected
    assert all("damaged or cut short" in row["reason"] for row in table)


def test_they_leave_their_roles_and_nothing_else_changes(rows: Manifest) -> None:
    hurt(rows, "train", 2)
    found, _ = read(rows, allowed=2)
    good = exclude_unreadable(rows, [bad.id for bad in found.unreadable])
    assert len(good) == len(rows)
    assert len(good.rows_with_role("train")) == len(rows.rows_with_role("train")) - 2
    assert good.rows_with_role("test").table.equals(rows.rows_with_role("test").table)
    assert good.rows_with_role(UNREADABLE).column_values("id") == [
        bad.id for bad in found.unreadable
    ]
    assert "2 of 30 files are unreadable and left out." in good.notes
    with pytest.raises(DataError, match="no row is left to train on"):
        exclude_unreadable(rows, rows.rows_with_role("train").column_values("id"))


def test_it_gives_up_early_where_much_is_left_to_read(
    rows: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt(rows, "train", 5)
    complete, _ = read(rows, allowed=2)
    assert (complete.read, len(complete.unreadable)) == (30, 5)
    monkeypatch.setattr(unreadable, "READ_ON", 10)
    early, _ = read(rows, allowed=2)
    assert (early.read, len(early.unreadable)) == (3, 3)
    enough, _ = read(rows, allowed=5)
    assert (enough.read, len(enough.unreadable)) == (30, 5)


@pytest.mark.parametrize(
    ("given", "rows", "allowed"),
    [
        ("1%", 12_004, 120),
        ("0.01", 12_004, 120),
        (0.01, 100, 1),
        ("1%", 99, 0),
        ("12", 5, 12),
        (12, 5, 12),
        (0, 10, 0),
        ("0%", 10, 0),
        ("100%", 7, 7),
        (1.0, 7, 7),
        (1, 7, 1),
        ("0.07", 100, 7),  # 0.07 * 100 is 7.000000000000001
    ],
)
def test_max_bad_is_a_share_or_a_count(given: str | float, rows: int, allowed: int) -> None:
    assert LoadOptions(max_bad=given).max_unreadable(rows) == allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", "x", "-1", "101%", "1.5", "nan", "1 %%", True, "-1%"])
def test_max_bad_refuses_other_words(given: object) -> None:
    with pytest.raises(UsageError, match=r"a share such as 1% or 0\.01, or a number"):
        LoadOptions(max_bad=given)  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.integers(1, 100_000))
def test_a_share_and_its_percentage_allow_the_same(promille: int, rows: int) -> None:
    by_share = LoadOptions(max_bad=f"{promille / 1000:.3f}").max_unreadable(rows)
    by_percent = LoadOptions(max_bad=f"{promille / 10:.1f}%").max_unreadable(rows)
    assert by_share == by_percent == promille * rows // 1000
