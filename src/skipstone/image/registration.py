"""Align pairs of thumbnails and compare their details.

Alignment: Gauss-Newton steps from coarse to fine for scale and shift along both axes, and for gain
and offset of the light (Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced
Correlation Coefficient Maximization", PAMI 2008, forward form). Comparison: correlation of the
details, over the picture and in windows; pictures of one kind of thing agree in coarse structure
only, and in a burst some part has moved.

Positions are in [-1, 1] along each axis. A warp is (x scale, x shift, y scale, y shift); it maps
positions of the first picture to those of the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d, uniform_filter

Array = np.ndarray

_SCALES = (0.85, 1.18)
_MAX_SHIFT = 0.16
_STEPS = ((4, 3), (2, 3), (1, 2))  # (divisor of the thumbnail's side, Gauss-Newton steps)
_SMALL_STEPS = ((2, 3), (1, 2))  # for thumbnails of 32 pixels
_WINDOW = 4  # radius of windows
_TEXTURE = 25.0  # variance of a window that shows something, in grey levels squared
_MISMATCH = 0.5  # a lower correlation of a window means that it shows something else
_WHITE, _BLACK = 248.0, 4.0  # beyond these the light may be clipped


@dataclass(frozen=True)
class Alignment:
    """Of P pairs, each (P,).

    Args:
        detail: correlation of structures of 2 to 5 pixels.
        mismatch: share of the windows with texture that do not agree.
        windows: number of windows with texture in the overlap.
        overlap: share of the first picture that the second covers.
        warp: (P, 4).
    """

    detail: Array
    mismatch: Array
    windows: Array
    overlap: Array
    warp: Array


def align_pairs(first: Array, second: Array, start: Array) -> Alignment:
    """Align each of `second` with its `first`.

    Args:
        first, second: grey thumbnails (P, S, S), S divisible by 4.
        start: initial warps (P, 4).
    """
    warp = start.astype(np.float32)
    for divisor, steps in _STEPS if first.shape[1] > 32 else _SMALL_STEPS:
        template, moving = _blur(block_means(first, divisor)), _blur(block_means(second, divisor))
        for _ in range(steps):
            warp = _step(template, moving, warp)
    warped, inside = _warp(moving, warp)
    return _compare(template, warped, inside, warp)


def block_means(thumbs: Array, divisor: int) -> Array:
    """Means of blocks, as float32."""
    count, side = len(thumbs), thumbs.shape[1] // divisor
    blocks = thumbs.reshape(count, side, divisor, side, divisor)
    means: Array = blocks.mean((2, 4), dtype=np.float32)
    return means


def _blur(pictures: Array) -> Array:
    """Textures as fine as the pixels (a weave) are sampled differently in a crop."""
    for axis in (1, 2):
        pictures = correlate1d(pictures, [0.25, 0.5, 0.25], axis, mode="nearest")
    return pictures


def _grid(side: int) -> Array:
    return ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)


def _warp(moving: Array, warp: Array) -> tuple[Array, Array]:
    """`moving` at the warped positions (P, S, S), bilinear, and which of them lie inside it."""
    side = moving.shape[1]
    weights, inside = [], []
    for scale, shift in ((warp[:, 2:3], warp[:, 3:4]), (warp[:, 0:1], warp[:, 1:2])):
        pixels = (scale * _grid(side) + shift + 1) * side / 2 - 0.5  # (P, S)
        inside.append((pixels >= -0.5) & (pixels <= side - 0.5))
        distance = np.abs(np.clip(pixels, 0, side - 1)[:, :, None] - np.arange(side, dtype="f4"))
        weights.append(np.maximum(0, 1 - distance))
    rows, columns = weights
    warped: Array = rows @ moving @ columns.swapaxes(1, 2)
    return warped, inside[0][:, :, None] & inside[1][:, None, :]


def _step(template: Array, moving: Array, warp: Array) -> Array:
    """A Gauss-Newton step: least squares of warped + J dw = gain template + offset."""
    pairs, side, _ = template.shape
    warped, inside = _warp(moving, warp)
    mask = inside.astype(np.float32)
    grid = _grid(side)
    slope_x = np.gradient(warped, axis=2) * (side / 2 / warp[:, 0, None, None]) * mask
    slope_y = np.gradient(warped, axis=1) * (side / 2 / warp[:, 2, None, None]) * mask
    columns = (slope_x * grid, slope_x, slope_y * grid[:, None], slope_y, template * -mask, -mask)
    design = np.stack([column.reshape(pairs, -1) for column in columns], 1)  # (P, 6, S*S)
    normal = design @ design.swapaxes(1, 2)  # (P, 6, 6)
    diagonal = np.arange(6)
    normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * 1.0001 + 1e-2
    change = np.linalg.solve(normal, design @ (warped * mask).reshape(pairs, -1, 1))[:, :4, 0]
    warp = warp - np.clip(change, -0.06, 0.06)
    warp[:, 0::2] = np.clip(warp[:, 0::2], *_SCALES)
    warp[:, 1::2] = np.clip(warp[:, 1::2], -_MAX_SHIFT, _MAX_SHIFT)
    return warp


def _compare(template: Array, warped: Array, inside: Array, warp: Array) -> Alignment:
    mask = inside.astype(np.float32)
    detail = _correlation(template - _mean(template, 2), warped - _mean(warped, 2), mask)
    mean_a, mean_b = _mean(template), _mean(warped)
    variance_a = np.maximum(_mean(template * template) - mean_a * mean_a, 0)
    variance_b = np.maximum(_mean(warped * warped) - mean_b * mean_b, 0)
    covariance = _mean(template * warped) - mean_a * mean_b
    correlation = covariance / np.sqrt(variance_a * variance_b + 1)
    clipped = (np.maximum(template, warped) > _WHITE) | (np.minimum(template, warped) < _BLACK)
    textured = (_mean(mask) > 0.99) & (np.maximum(variance_a, variance_b) > _TEXTURE)
    judged = textured & (_mean(clipped.astype(np.float32)) < 0.05)
    wrong = (judged & (correlation < _MISMATCH)).sum((1, 2))
    return Alignment(
        detail,
        wrong / np.maximum(judged.sum((1, 2)), 1),
        textured[:, _WINDOW::_WINDOW, _WINDOW::_WINDOW].sum((1, 2)),
        mask.mean((1, 2)),
        warp,
    )


def _correlation(first: Array, second: Array, mask: Array) -> Array:
    """Pearson's, over the mask; 0 for plain pictures."""
    weight = mask.sum((1, 2)) + 1e-6
    first = (first - ((first * mask).sum((1, 2)) / weight)[:, None, None]) * mask
    second = (second - ((second * mask).sum((1, 2)) / weight)[:, None, None]) * mask
    energy = (first * first).sum((1, 2)) * (second * second).sum((1, 2))
    correlation: Array = (first * second).sum((1, 2)) / np.sqrt(energy + 1.0)
    return correlation


def _mean(pictures: Array, radius: int = _WINDOW) -> Array:
    """Means over windows of 2 radius + 1 pixels."""
    means: Array = uniform_filter(pictures, (0, 2 * radius + 1, 2 * radius + 1), mode="nearest")
    return means
