"""Do two thumbnails show the same picture? They are laid over each other and compared in detail.

Registration is by Gauss-Newton steps, coarse to fine, on scale and shift along both axes and on
gain and offset of the light together: the forward form of Evangelidis and Psarakis, "Parametric
Image Alignment Using Enhanced Correlation Coefficient Maximization" (PAMI 2008), with the light
as two more unknowns of the same linear system. What decides is correlation after everything coarse
is taken away, as whole and window by window: pictures of one kind of thing agree in what is coarse
and not in detail, and in a burst some part has moved. (Windows: Woodford, "Using Normalized Cross
Correlation in Least Squares Optimizations", 2018.)

Positions are in [-1, 1] along each axis; a warp is (x scale, x shift, y scale, y shift) and takes
positions of the first picture to those of the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

#: Crops and uneven resizing within which two pictures are still taken for one.
_SCALES = (0.85, 1.18)
_MAX_SHIFT = 0.16
_STEPS = ((4, 3), (2, 3), (1, 2))  # (thumbnail's side is divided by, Gauss-Newton steps)
_COARSE_STEPS = ((2, 3), (1, 2))  # of thumbnails that are small already
_WINDOW = 4  # windows are 9 pixels wide
_TEXTURE = 25.0  # variance of a window that shows something, in grey levels squared
_MISMATCH = 0.5  # correlation of a window that shows something else
_WHITE, _BLACK = 248.0, 4.0  # beyond these the light may have been cut off


@dataclass(frozen=True)
class Alignment:
    """Of P pairs, each (P,).

    Args:
        detail: correlation of what is between 2 and 5 pixels wide.
        mismatch: share of the windows with texture that do not agree.
        windows: how many windows with texture there are where the two lie over each other.
        overlap: share of the first picture that the second covers.
        warp: (P, 4).
    """

    detail: Array
    mismatch: Array
    windows: Array
    overlap: Array
    warp: Array


def align(first: Array, second: Array, start: Array) -> Alignment:
    """Lay each of `second` over its `first`.

    Args:
        first, second: grey thumbnails (P, S, S), S divisible by 4.
        start: warps to begin at (P, 4).
    """
    warp = start.astype(np.float32).copy()
    for divisor, steps in _STEPS if first.shape[1] > 32 else _COARSE_STEPS:
        template, moving = _smooth(shrunk(first, divisor)), _smooth(shrunk(second, divisor))
        for _ in range(steps):
            warp = _step(template, moving, warp)
    warped, inside = _warp(moving, warp)
    return _compare(template, warped, inside, warp)


def shrunk(thumbs: Array, divisor: int) -> Array:
    """Means of blocks, as float32."""
    count, side, _ = thumbs.shape
    if divisor == 1:
        return thumbs.astype(np.float32)
    small = side // divisor
    blocks = thumbs.reshape(count, small, divisor, small, divisor)
    means: Array = blocks.mean((2, 4), dtype=np.float32)
    return means


def _smooth(pictures: Array) -> Array:
    """Blurred with the binomial 1 2 1 along both axes.

    What is as fine as the pixels themselves (a weave, stripes) is sampled differently in a crop,
    and would pull a registration away from where everything else fits.
    """
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth: Array = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return smooth


def _positions(side: int) -> Array:
    return ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)


def _warp(moving: Array, warp: Array) -> tuple[Array, Array]:
    """`moving` at the warped positions (P, S, S), bilinear, and which of them lie inside it."""
    side = moving.shape[1]
    along = _positions(side)
    columns = (warp[:, 0:1] * along + warp[:, 1:2] + 1) * side / 2 - 0.5  # (P, S), in pixels
    rows = (warp[:, 2:3] * along + warp[:, 3:4] + 1) * side / 2 - 0.5
    warped = _interpolate(np.swapaxes(_interpolate(moving, rows), 1, 2), columns)
    inside = _within(rows, side)[:, :, None] & _within(columns, side)[:, None, :]
    return np.swapaxes(warped, 1, 2), inside


def _interpolate(pictures: Array, rows: Array) -> Array:
    """Each picture (S, S) at fractional rows (S)."""
    last = pictures.shape[1] - 2
    low = np.clip(np.floor(rows), 0, last).astype(np.int32)
    part = np.clip(rows - low, 0, 1).astype(np.float32)[:, :, None]
    number = np.arange(len(pictures))[:, None]
    at_low: Array = pictures[number, low]
    between: Array = at_low + part * (pictures[number, low + 1] - at_low)
    return between


def _within(positions: Array, side: int) -> Array:
    inside: Array = (positions >= -0.5) & (positions <= side - 0.5)
    return inside


def _step(template: Array, moving: Array, warp: Array) -> Array:
    """One Gauss-Newton step: least squares of warped + J dw = gain template + offset."""
    pairs, side, _ = template.shape
    warped, inside = _warp(moving, warp)
    mask = inside.astype(np.float32)
    along = _positions(side)
    half = side / 2
    slope_x = np.gradient(warped, axis=2) * (half / warp[:, 0, None, None]) * mask
    slope_y = np.gradient(warped, axis=1) * (half / warp[:, 2, None, None]) * mask
    columns = (
        slope_x * along,
        slope_x,
        slope_y * along[:, None],
        slope_y,
        template * -mask,
        -mask,
    )
    design = np.stack([column.reshape(pairs, -1) for column in columns], 1)  # (P, 6, S*S)
    normal = design @ np.swapaxes(design, 1, 2)  # (P, 6, 6)
    right = design @ (warped * mask).reshape(pairs, -1, 1)
    diagonal = np.arange(6)
    normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * 1.0001 + 1e-2
    change = -np.linalg.solve(normal, right)[:, :4, 0]
    warp = warp + np.clip(change, -0.06, 0.06)
    warp[:, 0::2] = np.clip(warp[:, 0::2], *_SCALES)
    warp[:, 1::2] = np.clip(warp[:, 1::2], -_MAX_SHIFT, _MAX_SHIFT)
    return warp


def _compare(template: Array, warped: Array, inside: Array, warp: Array) -> Alignment:
    mask = inside.astype(np.float32)
    detail = _correlation(template - _mean(template, 2), warped - _mean(warped, 2), mask)
    mean_a, mean_b = _mean(template, _WINDOW), _mean(warped, _WINDOW)
    spread_a = np.maximum(_mean(template * template, _WINDOW) - mean_a * mean_a, 0)
    spread_b = np.maximum(_mean(warped * warped, _WINDOW) - mean_b * mean_b, 0)
    both = _mean(template * warped, _WINDOW) - mean_a * mean_b
    agreement = both / np.sqrt(spread_a * spread_b + 1)
    whole = _mean(mask, _WINDOW) > 0.99
    clipped = (np.maximum(template, warped) > _WHITE) | (np.minimum(template, warped) < _BLACK)
    seen = whole & (np.maximum(spread_a, spread_b) > _TEXTURE)
    judged = seen & (_mean(clipped.astype(np.float32), _WINDOW) < 0.05)
    wrong = (judged & (agreement < _MISMATCH)).sum((1, 2))
    return Alignment(
        detail,
        wrong / np.maximum(judged.sum((1, 2)), 1),
        seen[:, _WINDOW::_WINDOW, _WINDOW::_WINDOW].sum((1, 2)),
        mask.mean((1, 2)),
        warp,
    )


def _correlation(first: Array, second: Array, mask: Array) -> Array:
    """Pearson's, over the mask; 0 where there is nothing to correlate."""
    weight = mask.sum((1, 2)) + 1e-6
    first = (first - ((first * mask).sum((1, 2)) / weight)[:, None, None]) * mask
    second = (second - ((second * mask).sum((1, 2)) / weight)[:, None, None]) * mask
    energy = (first * first).sum((1, 2)) * (second * second).sum((1, 2))
    found: Array = (first * second).sum((1, 2)) / np.sqrt(energy + 1.0)
    return found


def _mean(pictures: Array, radius: int) -> Array:
    """Means over windows of 2 radius + 1 pixels, edges repeated."""
    width = 2 * radius + 1
    sides = ((0, 0), (radius + 1, radius), (radius + 1, radius))
    sums = np.pad(pictures, sides, mode="edge").cumsum(1, dtype=np.float64).cumsum(2)
    total = (
        sums[:, width:, width:]
        - sums[:, :-width, width:]
        - sums[:, width:, :-width]
        + sums[:, :-width, :-width]
    )
    means: Array = (total / width**2).astype(np.float32)
    return means
