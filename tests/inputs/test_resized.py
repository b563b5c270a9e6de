"""Inputs whose resolution can be lowered: what they then give is what one made so small gives."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone.core.errors import Refusal
from skipstone.data.sources import Inline
from skipstone.datasets.cache import RecordCache
from skipstone.image.input import ImageInput, make_image_input
from skipstone.image.options import ImageOptions
from skipstone.inputs.base import Resizable
from tests.high_depth_pictures import npy, stripes

SIDE = 24
KINDS = ("photo", "16 bits", "faint detail")


def source(kind: str, number: int, side: int = 32) -> Inline:
    if kind == "photo":
        shape = (side, side + 5, 3)
        return Inline(np.random.default_rng(number).integers(0, 256, shape, np.uint8))
    deep = stripes(number, 6, side=side, channels=2)
    if kind == "16 bits":
        deep = (deep & 0xFF) * 256
    return Inline(npy(deep), f"{number}.npy")


@functools.cache
def fitted(kind: str, resize: Any) -> ImageInput:
    options = ImageOptions(size=SIDE, resize=resize)
    return ImageInput(options).fit([source(kind, number) for number in range(6)])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["squash", "crop", "letterbox"]),
    st.integers(1, SIDE - 1),
    st.integers(9, 60),
    st.integers(0, 99),
)
def test_it_is_the_input_that_was_made_so_small(
    kind: str, resize: str, side: int, picture: int, number: int
) -> None:
    before = fitted(kind, resize)
    assert isinstance(before, Resizable)
    assert before.get_resolution() == SIDE
    after = before.with_resolution(side)
    made = make_image_input(dataclasses.replace(before.options, size=side), *before.get_state())
    assert type(after) is type(before) is type(made)
    assert (after.options, after.get_state(), after.decode_spec) == (
        made.options,
        made.get_state(),
        made.decode_spec,
    )
    assert after.feature_spec() == before.feature_spec()
    wanted, found = (each.decode(source(kind, number, picture)) for each in (made, after))
    assert found.value.shape[:2] == (side, side)
    np.testing.assert_array_equal(found.value, wanted.value)
    assert found.to_source == wanted.to_source
    assert after.make_example(2)["image"].shape == (2, side, side, before.channels)
    assert before.get_resolution() == SIDE


@pytest.mark.parametrize("kind", KINDS)
def test_the_enlarging_front_gives_what_the_network_takes(kind: str) -> None:
    before = fitted(kind, "squash")
    arrays = {
        "image": torch.from_numpy(
            before.with_resolution(10).make_example(2)["image"].astype(np.float32)
        )
    }
    seen = before.upsampling_module()(arrays)
    assert seen.shape == (2, before.feature_spec().channels, SIDE, SIDE)
    # one flat colour stays that colour, whatever the sizes
    flat = {"image": torch.full_like(arrays["image"], 7.0)}
    wide = {"image": torch.full((2, SIDE, SIDE, before.channels), 7.0)}
    torch.testing.assert_close(
        before.upsampling_module()(flat), before.preprocessing_module()(wide)
    )


def test_a_cache_forgets_records_of_another_size() -> None:
    before, cache = fitted("photo", "squash"), RecordCache(limit=1 << 20)
    cache.set_input(before)
    assert cache.decode(source("photo", 1), before).value.shape == (SIDE, SIDE, 3)
    small = before.with_resolution(8)
    cache.set_input(small)
    assert len(cache) == 0
    assert cache.decode(source("photo", 1), small).value.shape == (8, 8, 3)


def test_pictures_of_their_own_size_have_none_in_common() -> None:
    with pytest.raises(Refusal, match="at their own size") as caught:
        ImageInput(ImageOptions(resize="keep", channels=3)).get_resolution()
    assert "--plan" in str(caught.value.hint)
