"""Order, exact resume, threads and processes, balance, unreadable files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone.core.errors import DataError, UsageError
from skipstone.data.manifest import Manifest
from skipstone.data.samples import Batch
from skipstone.datasets.cache import RecordCache
from skipstone.datasets.loader import Batching, Loader
from skipstone.datasets.options import LoadOptions
from skipstone.image.augment_factory import make_image_augmentation, make_image_mixing
from skipstone.image.augment_options import ImageAugmentOptions
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from tests.auditing.picture_rows import NAMES, FakeTask, write_rows

IMAGE = ImageInput(ImageOptions(size=12, channels=3))
LABELS = [NAMES[0]] * 14 + [NAMES[1]] * 6 + [NAMES[2]] * 3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_rows(tmp_path_factory.mktemp("rows"), LABELS)


def loader(rows: Manifest, **changes: Any) -> Loader:
    how = {name: changes.pop(name) for name in ("threads", "cache") if name in changes}
    loading = LoadOptions(workers=changes.pop("workers", 0))
    values: dict[str, Any] = {"batch_size": 4, "seed": 7, "shuffle": True, **changes}
    batching = Batching(**values)
    return Loader(rows, IMAGE, FakeTask(), batching, loading=loading, **how)  # type: ignore[arg-type]


def ids(batches: list[Batch]) -> list[int]:
    return [meta.id for batch in batches for meta in batch.meta]


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(p.x["image"], q.x["image"])
        and torch.equal(p.y["label"], q.y["label"])  # type: ignore[arg-type]
        and p.meta == q.meta
        for p, q in zip(a, b, strict=True)
    )


def strong(rows: Manifest, **changes: Any) -> Loader:
    options = ImageAugmentOptions(augment="strong")
    mix = make_image_mixing(options, FakeTask())  # type: ignore[arg-type]
    return loader(
        rows, **{"augment": make_image_augmentation(options, IMAGE), "mix": mix, **changes}
    )


def test_batches_hold_the_rows(rows: Manifest) -> None:
    batches = list(loader(rows, shuffle=False).iterate_epoch(0))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert ids(batches) == list(range(23))
    assert batches[0].x["image"].shape == (4, 12, 12, 3)
    assert [int(b.x["image"][0, 0, 0, 0]) for b in batches] == [0, 4, 8, 12, 16, 20]
    labels = torch.cat([batch.y["label"] for batch in batches])  # type: ignore[arg-type]
    assert labels.tolist() == [NAMES.index(label) for label in LABELS]
    assert batches[1].meta[0].name.endswith("004.png")
    assert batches[1].meta[0].size == (12, 12)


def test_each_epoch_is_another_permutation_of_all_rows(rows: Manifest) -> None:
    orders = [ids(list(loader(rows).iterate_epoch(number))) for number in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders[1] == ids(list(loader(rows).iterate_epoch(1)))
    assert orders[0] != ids(list(loader(rows, seed=8).iterate_epoch(0)))


@settings(max_examples=25, deadline=None)
@given(
    epoch=st.integers(0, 1000),
    start=st.integers(0, 8),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    drop=st.booleans(),
    balanced=st.booleans(),
)
def test_resume_is_the_tail(
    rows: Manifest, epoch: int, start: int, batch: int, seed: int, drop: bool, balanced: bool
) -> None:
    made = strong(rows, batch_size=batch, seed=seed, drop_last=drop, balanced=balanced)
    whole = list(made.iterate_epoch(epoch))
    assert len(whole) == len(made)
    again = strong(rows, batch_size=batch, seed=seed, drop_last=drop, balanced=balanced)
    assert equal(list(again.iterate_epoch(epoch, start=start)), whole[start:])


def test_threads_processes_and_cache_change_nothing(rows: Manifest) -> None:
    reference = list(strong(rows, threads=1).iterate_epoch(3))
    assert equal(list(strong(rows, threads=4).iterate_epoch(3)), reference)
    cached = strong(rows, cache=RecordCache())
    assert equal(list(cached.iterate_epoch(3)), reference)
    assert equal(list(cached.iterate_epoch(3)), reference)
    assert cached.cache is not None
    assert cached.cache.hits == 23
    state = torch.get_rng_state()
    assert equal(list(strong(rows, workers=2).iterate_epoch(3)), reference)
    assert equal(list(strong(rows, workers=1, cache=cached.cache).iterate_epoch(3)), reference)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_callable_that_uses_the_global_dice_gives_the_same_in_processes(
    rows: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dice_augment.py").write_text(
        "import torch\ndef noise(image): return torch.randint_like(image, 0, 255)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    augment = make_image_augmentation(
        ImageAugmentOptions(augment="none", custom="dice_augment:noise"), IMAGE
    )
    here = list(loader(rows, augment=augment).iterate_epoch(0))
    assert equal(here, list(loader(rows, augment=augment, threads=4).iterate_epoch(0)))
    assert equal(here, list(loader(rows, augment=augment, workers=2).iterate_epoch(0)))


def test_a_stopped_epoch_leaves_no_thread_behind(rows: Manifest) -> None:
    import threading

    iterator = loader(rows).iterate_epoch(0)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("load")]


def test_drop_last_never_drops_the_only_batch(rows: Manifest) -> None:
    assert len(loader(rows, drop_last=True)) == 5
    assert [len(b) for b in loader(rows, drop_last=True).iterate_epoch(0)] == [4] * 5
    assert [len(b) for b in loader(rows, batch_size=50, drop_last=True).iterate_epoch(0)] == [23]


def test_balanced_draws_each_class_equally_often(rows: Manifest) -> None:
    made = loader(rows, balanced=True)
    drawn = Counter(LABELS[i] for epoch in range(200) for i in ids(list(_orders(made, epoch))))
    total = sum(drawn.values())
    assert total == 23 * 200
    for name in NAMES:
        assert abs(drawn[name] / total - 1 / 3) < 0.035  # five standard deviations


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_that_is_drawn_again_is_another_view(rows: Manifest, workers: int) -> None:
    """Else a rare class is the very same picture many times over in an epoch."""
    batches = list(strong(rows, balanced=True, mix=None, workers=workers).iterate_epoch(0))
    seen: dict[int, list[tuple[int, bytes]]] = {}
    for batch in batches:
        for meta, picture in zip(batch.meta, batch.x["image"], strict=True):
            seen.setdefault(meta.id, []).append((meta.view, picture.numpy().tobytes()))
    assert max(map(len, seen.values())) > 2
    for drawn in seen.values():
        assert [view for view, _ in drawn] == list(range(len(drawn)))
        assert len({picture for _, picture in drawn}) == len(drawn)


def test_balanced_draws_what_has_no_tag_as_often_as_a_tag(rows: Manifest) -> None:
    tags = [["a"]] * 4 + [["a", "b"]] * 4 + [[]] * 15
    index = rows.table.schema.get_field_index("target")
    tagged = replace(rows, table=rows.table.set_column(index, "target", pa.array(tags)))
    made = loader(tagged, balanced=True)
    drawn = Counter(len(tags[row]) for epoch in range(200) for row in made.epoch_order(epoch))
    # a row's weight is that of its rarest label: 4 / 8 of one tag, 4 / 4 of two, 15 / 15 of none
    for count, share in ((1, 0.2), (2, 0.4), (0, 0.4)):
        assert abs(drawn[count] / (23 * 200) - share) < 0.035


def _orders(made: Loader, epoch: int) -> list[Any]:
    from types import SimpleNamespace

    metas = [SimpleNamespace(id=int(row)) for row in made.epoch_order(epoch)]
    return [SimpleNamespace(meta=metas)]


@pytest.fixture
def hurt_rows(tmp_path: Path) -> Manifest:
    manifest = write_rows(tmp_path / "hurt", LABELS[:10])
    (tmp_path / "hurt" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (tmp_path / "hurt" / "007.png").unlink()
    return manifest


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_file_is_named(hurt_rows: Manifest, workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(loader(hurt_rows, shuffle=False, workers=workers).iterate_epoch(0))
    assert "003.png" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_nothing_to_load_is_an_error(rows: Manifest) -> None:
    with pytest.raises(DataError, match="no rows"):
        loader(rows.take_rows([]))
    with pytest.raises(UsageError, match="batch size is 0"):
        loader(rows, batch_size=0)
