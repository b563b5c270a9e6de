"""One look at rows before they are split: what the audit sees, and records to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageFile

from skipstone.core.settings import Settings
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.options import SplitOptions
from skipstone.datasets.row_scan import scan_rows
from skipstone.datasets.splitting import assign_roles
from skipstone.datasets.unreadable import read_all_rows
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.tasks.classification.task import ClassificationTask
from skipstone.tasks.options import ClassifyOptions
from skipstone.training.plan import build_plan, make_scan
from tests.photos import write_class_folder
from tests.text_data import rows as texts
from tests.text_data import write_csv

INPUT = ImageInput(ImageOptions(size=16, channels=3))


class Decodes:
    """How often any picture's pixels were decoded."""

    count = 0


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    found = Decodes()
    prepare = ImageFile.ImageFile.load_prepare

    def counted(self: ImageFile.ImageFile) -> None:
        found.count += 1
        prepare(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counted)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Manifest:
    write_class_folder(tmp_path / "photos", 12)
    return assign_roles(read_manifest(tmp_path / "photos"), SplitOptions())


def quarantined(rows: Manifest, cache: RecordCache, input: ImageInput = INPUT) -> list[str]:
    """Paths of the rows that cannot be read."""
    cache.set_input(input)
    task = ClassificationTask(ClassifyOptions(), rows.schema)
    found = read_all_rows(rows, input, task, cache=cache, allowed=len(rows))
    return [bad.path for bad in found.unreadable]


def test_what_is_seen_is_the_same_with_and_without_records(rows: Manifest) -> None:
    alone = scan_rows(rows)
    cache = RecordCache()
    both = scan_rows(rows, input=INPUT, cache=cache)
    for one, other in zip(alone, both, strict=True):
        assert (one.digest, one.size) == (other.digest, other.size)
        assert one.examined is not None
        assert other.examined is not None
        assert one.examined.content is not None
        assert other.examined.content is not None
        assert np.array_equal(one.examined.content.grey, other.examined.content.grey)
        assert one.examined.size == other.examined.size


def test_no_file_is_decoded_twice(rows: Manifest, decodes: Decodes) -> None:
    cache = RecordCache()
    cache.set_input(INPUT)
    scan_rows(rows, input=INPUT, cache=cache)
    assert decodes.count == len(rows)
    assert quarantined(rows, cache) == []
    assert (decodes.count, cache.misses) == (len(rows), 0)
    for source in rows.list_sources():
        found, expected = cache.decode(source, INPUT), INPUT.decode(source)
        assert np.array_equal(found.value, expected.value)
        assert (found.size, found.to_source) == (expected.size, expected.to_source)


def test_what_has_no_room_is_known_to_be_readable(rows: Manifest, decodes: Decodes) -> None:
    cache = RecordCache(limit=3 * 16 * 16 * 3)
    cache.set_input(INPUT)
    scan_rows(rows, input=INPUT, cache=cache)
    assert quarantined(rows, cache) == []
    assert decodes.count == len(rows)


def test_a_wrong_guess_of_the_input_costs_a_decode_and_nothing_else(rows: Manifest) -> None:
    cache, other = RecordCache(), ImageInput(ImageOptions(size=24, channels=1))
    cache.set_input(INPUT)
    scan_rows(rows, input=INPUT, cache=cache)
    assert quarantined(rows, cache, other) == []
    assert cache.misses == len(rows)
    for source in rows.list_sources():
        assert np.array_equal(cache.decode(source, other).value, other.decode(source).value)


def test_what_cannot_be_read_is_still_found(rows: Manifest) -> None:
    for source in rows.rows_with_role("train").list_sources()[:2]:
        source.path.write_bytes(source.path.read_bytes()[:40])
    cache = RecordCache()
    cache.set_input(INPUT)
    scan_rows(rows, input=INPUT, cache=cache)
    assert quarantined(rows, cache) == rows.rows_with_role("train").column_values("path")[:2]


@pytest.mark.parametrize("given", [{}, {"size": 40, "resize": "crop"}, {"channels": 1}])
def test_a_plan_guesses_the_input_that_it_ends_with(given: dict[str, Any], tmp_path: Path) -> None:
    write_class_folder(tmp_path / "photos", 20)
    cache, settings = RecordCache(), Settings({**given, "seed": 0})
    plan = build_plan(
        tmp_path / "photos", model="auto", weights="none", seed=0, settings=settings, cache=cache
    )
    cache.set_input(plan.input)
    assert len(cache) == len(plan.manifest) == 60
    source = plan.manifest.list_sources()[7]
    assert np.array_equal(cache.decode(source, plan.input).value, plan.input.decode(source).value)


def test_texts_are_looked_at_without_a_guess(tmp_path: Path) -> None:
    """Fitting their input may read a file of vectors, and decoding them costs nothing."""
    guessed: list[Manifest] = []
    rows = read_manifest(write_csv(tmp_path / "texts.csv", texts(30)))
    reads = make_scan(RecordCache(), guessed.append)(rows)  # type: ignore[arg-type]
    assert len(reads) == len(rows)
    assert guessed == []
