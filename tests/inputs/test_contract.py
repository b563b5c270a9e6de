"""What every registered input promises, whatever it reads.

Examples of sources are those of the readers (`tests/reader_examples.py`): nothing here knows any
input.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skipstone.core.errors import DataError
from skipstone.core.options import get_spec
from skipstone.core.registry import BACKBONES, INPUTS
from skipstone.core.specs import resolve_target
from skipstone.data.manifest import Manifest
from skipstone.data.read import read_manifest
from skipstone.data.sources import Inline
from skipstone.inputs.base import Input
from tests.reader_examples import EXAMPLES

#: {input: writes sources of it}.
SOURCES = {
    input: write for kinds in EXAMPLES.values() for (_, input), write in reversed(kinds.items())
}
#: The options with which an input emits each kind that it can.
WAYS = [
    (entry.name, kind, suits)
    for entry in INPUTS
    for kind in entry.emits
    for suits in [
        next(
            (m.input_options for m in BACKBONES if kind in m.accepts),
            {},
        )
    ]
]
each_way = pytest.mark.parametrize(("name", "kind", "suits"), WAYS)
each_input = pytest.mark.parametrize("entry", INPUTS, ids=lambda entry: entry.name)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """Some rows of each input."""
    root = tmp_path_factory.mktemp("sources")
    return {name: read_manifest(write(root / name)) for name, write in SOURCES.items()}


def fitted(name: str, suits: dict[str, Any], manifest: Manifest) -> Input:
    entry = INPUTS[name]
    made: Input = entry.load()(entry.make_options(suits)).fit(manifest.list_sources())
    return made


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])
        for name in one
    )


def test_every_input_has_sources_and_every_kind_a_model() -> None:
    assert set(SOURCES) >= {entry.name for entry in INPUTS if entry.distribution is None}
    taken = {kind for entry in BACKBONES for kind in entry.accepts}
    assert {kind for _, kind, _ in WAYS} <= taken


@each_input
def test_its_entry_is_true(entry) -> None:
    assert entry.summary
    assert all(get_spec(field).help for field in dataclasses.fields(entry.options_type()))
    assert entry.row_content in ("cells", "files")
    assert entry.example_names != ("FILE",)
    assert entry.nouns.unit
    for name, value in dataclasses.asdict(entry).items():
        if name != "summary" and isinstance(value, str) and ":" in value:
            assert resolve_target(value) is not None, name
    if entry.baseline is not None:
        assert set(BACKBONES[entry.baseline].accepts) & set(entry.emits)
        assert entry.choose_model is not None
    if entry.augment is not None:
        kind = resolve_target(entry.augment)
        assert all(get_spec(f).help for f in dataclasses.fields(kind) if not get_spec(f).is_hidden)


def test_options_and_catalogues_need_no_torch() -> None:
    code = (
        "import sys, skipstone.core.registry as r\n"
        "for kind in (r.INPUTS, r.READERS):\n"
        "    for entry in kind: entry.make_options()\n"
        "assert not {'torch', 'tokenizers', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each_way
def test_what_it_emits_is_what_a_network_is_built_for(name, kind, suits, manifests) -> None:
    made = fitted(name, suits, manifests[name])
    emits = made.feature_spec()
    assert emits.kind == kind
    assert emits.channels > 0
    example = made.make_example(2)
    arrays = made.encode(made.decode(manifests[name].source_at(0)))
    assert {k: v.dtype for k, v in arrays.items()} == {k: v.dtype for k, v in example.items()}
    for key, value in arrays.items():
        assert example[key].shape[0] == 2
        assert example[key].ndim == value.ndim + 1
        free = made.dynamic_axes.get(key, {})
        fixed = [n for axis, n in enumerate(value.shape, 1) if axis not in free]
        assert fixed == [
            n for axis, n in enumerate(example[key].shape) if axis and axis not in free
        ]
    assert made.ragged_arrays <= set(arrays)
    with torch.no_grad():
        out = made.preprocessing_module()(
            {key: torch.from_numpy(value) for key, value in example.items()}
        )
    tensors = out if isinstance(out, tuple) else (out,)
    assert all(tensor.shape[0] == 2 for tensor in tensors)


@each_way
def test_options_and_state_make_the_same_input_again(name, kind, suits, manifests) -> None:
    made, entry = fitted(name, suits, manifests[name]), INPUTS[name]
    state, arrays = made.get_state()
    options = json.loads(json.dumps(dataclasses.asdict(made.options)))
    again = entry.load()(
        entry.make_options(options), json.loads(json.dumps(state, allow_nan=False)), arrays
    )
    assert again.feature_spec() == made.feature_spec()
    files = [Inline(data, name=file) for file, data in made.make_golden_files(4)]
    for source in (*manifests[name].list_sources()[:3], *files):
        assert same(made.encode(made.decode(source)), again.encode(again.decode(source)))


@each_way
def test_goldens_are_the_same_files_each_time(name, kind, suits, manifests) -> None:
    made = fitted(name, suits, manifests[name])
    files = made.make_golden_files(6)
    assert files == made.make_golden_files(6)
    assert len({file for file, _ in files}) == 6
    assert all(isinstance(data, bytes) for _, data in files)
    assert all(Path(file).name == file for file, _ in files)


@each_way
def test_what_cannot_be_read_is_named(name, kind, suits, manifests, tmp_path) -> None:
    made = fitted(name, suits, manifests[name])
    with pytest.raises(DataError, match=r"bad-\u00e9\.bin"):
        made.decode(Inline(b"caf\x80\x81", name="bad-\u00e9.bin"))
