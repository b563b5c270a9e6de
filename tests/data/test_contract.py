"""What every registered reader promises, whatever it reads.

A new reader joins by an entry in `tests/reader_examples.py`. Nothing else here knows any reader.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import Field, fields
from pathlib import Path

import pytest

from skipstone.core.errors import SkipstoneError, UsageError
from skipstone.core.options import get_spec
from skipstone.core.registry import INPUTS, READERS, TASKS
from skipstone.core.specs import resolve_target
from skipstone.data.manifest import Manifest, load_manifest, save_manifest
from skipstone.data.options import ReadOptions
from skipstone.data.read import read_manifest
from skipstone.data.sources import read_source
from skipstone.tasks.base import Task
from tests.pipelines.command import tree
from tests.reader_examples import EXAMPLES

KINDS = [(reader, *kind) for reader, kinds in EXAMPLES.items() for kind in kinds]
each_kind = pytest.mark.parametrize(("reader", "task", "input"), KINDS)
each_reader = pytest.mark.parametrize("entry", READERS, ids=lambda entry: entry.name)


def write(reader: str, task: str, input: str, root: Path) -> Path:
    return EXAMPLES[reader][task, input](root)


def task_of(manifest: Manifest) -> Task:
    entry = TASKS[manifest.task]
    made: Task = entry.load()(entry.make_options(), manifest.schema)
    return made


def contents(manifest: Manifest) -> list[bytes]:
    """What each source holds."""
    found = [read_source(source) for source in manifest.list_sources()]
    return [data if isinstance(data, bytes) else data.tobytes() for data in found]


def test_every_reader_has_an_example() -> None:
    assert set(EXAMPLES) >= {entry.name for entry in READERS if entry.distribution is None}


@each_reader
def test_its_entry_is_true(entry) -> None:
    assert entry.summary
    assert all(get_spec(field).help for field in _shown(entry.options_type()))
    assert set(entry.own_options) <= {field.name for field in fields(ReadOptions)}
    if entry.audit is not None:
        assert callable(resolve_target(entry.audit))


def layouts_of(field: Field) -> list[str]:
    """The layouts that an option is about, by the first words of its help."""
    names = get_spec(field).help.partition(":")[0].replace(", ", ",").replace(" ", "-").split(",")
    return [name for name in names if name in READERS]


def test_an_option_is_taken_by_the_layouts_that_its_help_names() -> None:
    for field in fields(ReadOptions):
        owners = [entry.name for entry in READERS if field.name in entry.own_options]
        assert owners == layouts_of(field), field.name


def _shown(options: type | None) -> list:
    return [] if options is None else [f for f in fields(options) if not get_spec(f).is_hidden]


@each_kind
def test_it_alone_is_asked_and_nothing_is_changed(
    reader: str, task: str, input: str, tmp_path: Path
) -> None:
    path = write(reader, task, input, tmp_path / "data")
    before = tree(tmp_path)
    assert READERS[reader].load()().detect_layout(path)
    manifest = read_manifest(path)
    assert (manifest.reader, manifest.task, manifest.input) == (reader, task, input)
    assert tree(tmp_path) == before
    named = read_manifest(path, ReadOptions(reader=reader, task=task))
    assert named.compute_fingerprint() == manifest.compute_fingerprint()
    for field in fields(ReadOptions):
        owners = layouts_of(field)
        if owners and reader not in owners:
            said = ReadOptions(
                **{"reader": reader, field.name: ("x",) if field.default == () else "x"}
            )
            with pytest.raises(UsageError, match=f"the layout {' or '.join(owners)}; .* {reader}"):
                read_manifest(path, said)


@each_kind
def test_its_rows_are_what_a_task_and_an_input_take(
    reader: str, task: str, input: str, tmp_path: Path
) -> None:
    manifest = read_manifest(write(reader, task, input, tmp_path))
    assert len(manifest) > 0
    assert manifest.column_values("id") == list(range(len(manifest)))
    assert set(manifest.column_values("split")) <= {"", "train", "validation", "test"}
    assert set(manifest.column_values("role")) == {""}
    assert json.loads(json.dumps(dict(manifest.schema))) == manifest.schema
    assert all(note.endswith(".") for note in manifest.notes)
    made, entry = task_of(manifest), INPUTS[input]
    targets = manifest.column_values("target")
    assert all(made.accepts_target(target) for target in targets)
    opened = made.target_loader(manifest)
    fitted = entry.load()(entry.make_options()).fit(manifest.list_sources())
    for source, target in zip(manifest.list_sources()[:3], targets, strict=False):
        assert fitted.decode(source).value.size
        assert made.encode_target(opened(target))


@each_kind
def test_it_is_the_same_data_when_stored_and_when_moved(
    reader: str, task: str, input: str, tmp_path: Path
) -> None:
    path = write(reader, task, input, tmp_path / "data")
    manifest = read_manifest(path)
    save_manifest(manifest, tmp_path / "manifest.parquet")
    stored = load_manifest(tmp_path / "manifest.parquet")
    assert stored.compute_fingerprint() == manifest.compute_fingerprint()
    held = contents(manifest)
    assert contents(stored) == held
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    moved = read_manifest(tmp_path / "elsewhere" / path.relative_to(tmp_path / "data"))
    assert moved.compute_fingerprint() == manifest.compute_fingerprint()
    assert contents(moved) == held


@each_kind
def test_another_task_is_given_or_refused_with_what_to_type(
    reader: str, task: str, input: str, tmp_path: Path
) -> None:
    path = write(reader, task, input, tmp_path)
    for entry in TASKS:
        found = reading(path, entry.name)
        if isinstance(found, UsageError):
            assert entry.name != task
            assert "--" in str(found)
        else:
            assert found.task == entry.name
            assert all(
                task_of(found).accepts_target(target) for target in found.column_values("target")
            )


def reading(path: Path, task: str) -> Manifest | UsageError:
    try:
        return read_manifest(path, ReadOptions(task=task))
    except UsageError as error:
        return error


@each_reader
def test_what_it_does_not_know_it_does_not_see(entry, tmp_path: Path) -> None:
    reader = entry.load()()
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "song.wav").write_bytes(b"RIFF....WAVE")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("empty", "odd", "odd/song.wav", "gone", "loop"):
        assert reader.detect_layout(tmp_path / name) is None, name
    with pytest.raises(SkipstoneError):
        reader.read_manifest(tmp_path / "empty", ReadOptions())
