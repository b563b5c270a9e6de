"""A bundle of masks, damaged or from an attacker: named; and faults in its code are seen."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skipstone.bundle.files import read_bundle_json, read_file
from skipstone.core.errors import DamagedError
from skipstone.evaluation import parity as fresh
from skipstone.evaluation.parity import run_checks
from skipstone.inference.golden_outputs import store_goldens
from skipstone.tasks.segmentation import standalone as mask_source
from tests.evaluation import hostile
from tests.evaluation.hostile import HUGE, RECORD, WEIGHTS, change_record
from tests.evaluation.test_damage import damages
from tests.small_bundles import mask_bundle, reseal


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with drawn weights, for masks of three classes."""
    folder = tmp_path_factory.mktemp("masks") / "bundle"
    mask_bundle().save(folder)
    store_goldens(folder)
    return folder


@pytest.fixture(autouse=True)
def no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is another process; `tests/pipelines/test_segment.py` has it."""
    monkeypatch.setattr(fresh, "find_script_program", lambda *_: None)


def test_an_untouched_bundle_answers(source: Path) -> None:
    assert hostile.judge(source, hostile.known(source)) == "answers"


def _task(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        owner: Any = record
        for key in path[:-2]:
            owner = owner[key]
        owner[path[-2]] = path[-1]

    return change


ATTACKS: tuple[tuple[str, Callable[[dict[str, Any]], None], str], ...] = (
    (
        "more classes than answers",
        _task("task", "schema", "classes", list("abcdef")),
        "do not match",
    ),
    ("one class", _task("task", "schema", "classes", ["a"]), "class"),
    ("classes of other names", _task("task", "schema", "classes", list("abc")), "task in bundle"),
    ("a loss of its own", _task("task", "options", "loss", "os.system"), "loss"),
    ("a CRF that is a path", _task("task", "options", "crf", "/etc/passwd"), "crf"),
    ("2^40 classes", _task("arch", "head", "args", "shape", "classes", HUGE), "does not fit"),
    ("another decoder", _task("arch", "head", "name", "deeplab"), "deeplab"),
    ("masks of 2^40 pixels", _task("input", "options", "size", HUGE), "size"),
    ("a temperature of 0", _task("post", "temperature", 0), "temperature"),
)


@pytest.mark.parametrize(("change", "words"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS])
def test_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], words: str, source: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "bundle"))
    change_record(folder, change)
    verdict = hostile.judge(folder, hostile.known(source))
    assert verdict.startswith("refused"), verdict
    assert words in verdict


def _read_all(folder: Path) -> None:
    record = read_bundle_json(folder)
    for name in record["files"]:
        read_file(folder, name, record)


def test_every_block_of_a_bundle(source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "bundle"))
    for name in (WEIGHTS, RECORD):
        data = (folder / name).read_bytes()
        for _, damaged in itertools.islice(damages(data), 24):
            (folder / name).write_bytes(damaged)
            with pytest.raises(DamagedError, match=name):
                _read_all(folder)
        (folder / name).write_bytes(data)


def test_swapped_classes_are_seen(source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "bundle"))
    reseal(folder, lambda record: record["task"]["schema"]["classes"].reverse())
    assert not all(row["ok"] for row in run_checks(folder))


def test_padding_that_counts_is_seen(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added at the edges, so that sizes fit, is no part of the picture."""
    assert all(row["ok"] for row in run_checks(source))
    monkeypatch.setattr(mask_source, "valid_region", lambda meta: (slice(None), slice(None)))
    assert not all(row["ok"] for row in run_checks(source))
