"""Statistics of channels: in little memory, evenly over all pictures, and not of a few outliers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats.mstats import winsorize

from skipstone.image.channel_stats import TAIL_QUANTILE, ChannelStatsMeter


def test_they_are_scipys_where_everything_fits() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.normal([5, -300], [2, 40], (6, 50, 40, 2)).astype(np.float32)
    meter = ChannelStatsMeter(2)
    for picture in pictures:
        meter.add_image(picture)
    found = meter.compute_stats()
    pixels = pictures.reshape(-1, 2).astype(np.float64)
    for channel in range(2):
        inner = winsorize(pixels[:, channel], (TAIL_QUANTILE, TAIL_QUANTILE))
        assert found.mean[channel] == pytest.approx(inner.mean(), rel=1e-3)
        assert found.std[channel] == pytest.approx(inner.std(), rel=1e-3)
        assert found.middle[channel] == pytest.approx(np.median(pixels[:, channel]), rel=1e-6)


def test_a_sample_that_does_not_hold_everything_says_the_same() -> None:
    """Later pictures count as much as early ones, and memory stays as it is."""
    rng = np.random.default_rng(1)
    pictures = [rng.normal(number % 7, 1, (64, 64, 1)).astype(np.float32) for number in range(210)]
    every, some = ChannelStatsMeter(1, max_pixels=10**7), ChannelStatsMeter(1, max_pixels=20_000)
    for picture in pictures:
        every.add_image(picture)
        some.add_image(picture)
        assert len(some._values) <= 20_000
    wanted, found = every.compute_stats(), some.compute_stats()
    assert found.mean[0] == pytest.approx(wanted.mean[0], abs=0.08)
    assert found.std[0] == pytest.approx(wanted.std[0], rel=0.03)
    again = ChannelStatsMeter(1, max_pixels=20_000)
    for picture in pictures:
        again.add_image(picture)
    assert again.compute_stats() == found


def test_hot_pixels_and_garbage_change_nothing() -> None:
    rng = np.random.default_rng(2)
    clean = rng.normal(100, 5, (200, 200, 1)).astype(np.float32)
    hot = clean.copy()
    hot[:2, :50] = 65535
    hot[5, 5] = 3e38
    meters = [ChannelStatsMeter(1), ChannelStatsMeter(1)]
    for meter, picture in zip(meters, (clean, hot), strict=True):
        meter.add_image(picture)
    wanted, found = (meter.compute_stats() for meter in meters)
    assert found.mean[0] == pytest.approx(wanted.mean[0], rel=0.01)
    assert found.std[0] == pytest.approx(wanted.std[0], rel=0.05)


def test_rare_light_on_black_still_has_a_scale() -> None:
    picture = np.zeros((100, 100, 2), np.float32)
    picture[:4, :5, 0] = 50  # 0.2 % of it
    meter = ChannelStatsMeter(2)
    meter.add_image(picture)
    found = meter.compute_stats()
    assert found.std[0] == pytest.approx(picture[..., 0].std(), rel=1e-6)
    assert found.std[1] == 1  # nothing at all
