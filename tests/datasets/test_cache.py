"""The record cache gives what decoding gives."""

from __future__ import annotations

import copy
import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skipstone.data.sources import Inline, Source
from skipstone.datasets.cache import RecordCache
from skipstone.image.input import ImageInput
from skipstone.image.options import ImageOptions
from skipstone.inputs.base import DecodedSample

IMAGE = ImageInput(ImageOptions(size=8, channels=3))


def sources(count: int) -> list[Inline]:
    return [
        Inline(np.random.default_rng(n).integers(0, 256, (9 + n, 12, 3), np.uint8), f"s{n}")
        for n in range(count)
    ]


def same(a: DecodedSample, b: DecodedSample) -> bool:
    return np.array_equal(a.value, b.value) and (a.size, a.to_source) == (b.size, b.to_source)


def test_the_second_time_is_the_first_time() -> None:
    cache = RecordCache()
    for _ in range(2):
        for source in sources(5):
            assert same(cache.decode(source, IMAGE), IMAGE.decode(source))
    assert (cache.hits, cache.misses, len(cache)) == (5, 5, 5)
    cache.close()


def test_a_caller_may_write_into_its_record() -> None:
    cache, source = RecordCache(), sources(1)[0]
    for _ in range(3):
        raw = cache.decode(source, IMAGE)
        assert same(raw, IMAGE.decode(source))
        raw.value[:] = 0


def test_the_limit_is_kept() -> None:
    cache = RecordCache(limit=3 * 8 * 8 * 3 + 5)
    for _ in range(2):
        for source in sources(5):
            assert same(cache.decode(source, IMAGE), IMAGE.decode(source))
    assert len(cache) == 3
    nothing = RecordCache(limit=10)
    assert same(nothing.decode(sources(1)[0], IMAGE), IMAGE.decode(sources(1)[0]))
    assert len(nothing) == 0


def test_a_disk_that_others_fill_ends_the_keeping_and_not_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page of the mapped file that finds no room on disk is a SIGBUS."""
    free = 3

    def allocate(file: int, offset: int, size: int) -> None:
        nonlocal free
        free -= 1
        if free < 0:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    cache = RecordCache()
    for _ in range(2):
        for source in sources(5):
            assert same(cache.decode(source, IMAGE), IMAGE.decode(source))
    assert (len(cache), cache.hits) == (3, 3)


def test_records_of_another_shape_are_decoded_each_time() -> None:
    """And records of nothing: an empty text may come first."""

    class Ragged:
        def decode(self, source: Source) -> DecodedSample:
            length = int(source.name[1:])
            return DecodedSample(np.arange(length, dtype=np.int32), (length,))

    cache = RecordCache()
    for _ in range(2):
        for source in sources(4):
            raw = cache.decode(source, Ragged())  # type: ignore[arg-type]
            assert len(raw.value) == int(source.name[1:])
    assert (len(cache), cache.hits) == (1, 1)
    assert cache.has_decoded("s0")


def test_threads_share_it() -> None:
    cache, items = RecordCache(), sources(40)
    with ThreadPoolExecutor(4) as pool:
        for raw, source in zip(
            pool.map(lambda s: cache.decode(s, IMAGE), items * 3), items * 3, strict=True
        ):
            assert same(raw, IMAGE.decode(source))


def test_a_copy_for_another_process_holds_nothing() -> None:
    cache = RecordCache()
    cache.decode(sources(1)[0], IMAGE)
    other = copy.deepcopy(cache)  # by way of __reduce__, as a process that is started anew
    assert same(other.decode(sources(1)[0], IMAGE), IMAGE.decode(sources(1)[0]))
    assert len(other) == 0
