"""Fully connected CRF refinement of masks (Kraehenbuehl and Koltun 2011, arXiv:1210.5644).

A network's mask is smooth where the image has edges. Here every pair of pixels is drawn towards the
same class, more strongly the closer they are and the more similar in colour. Mean field iterates

    Q_i(k) = softmax over k (logit_i(k) + sum over m (w_m * sum over j != i (K_m(i, j) Q_j(k))))

with two kernels over positions p and colours I (equation 3):

    smooth      exp(-|p_i - p_j|^2 / 2 a^2)
    bilateral   exp(-|p_i - p_j|^2 / 2 b^2 - |I_i - I_j|^2 / 2 c^2)

each normalised to K(i, j) / sqrt(D_i D_j), D the row sums, as in the authors' code: without it the
weights would depend on the image size. For N pixels the sums have N^2 terms. The smooth kernel is
separable, hence exact and fast. The bilateral kernel is exact up to `MAX_EXACT_OPERATIONS` pixels; above that it
is filtered on a permutohedral lattice (Adams et al. 2010, as in the paper), in time linear in N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone.core.errors import UsageError
from skipstone.core.options import POSITIVE, CheckedOptions, Range, int_range, option

#: Up to this many pixels the bilateral kernel is a dense matrix.
MAX_EXACT_PIXELS = 4096

_MAX_ITERATIONS = 100

Filter = Callable[[np.ndarray], np.ndarray]  # (N, K) -> (N, K): sums over all j, i itself included


@dataclass(frozen=True, kw_only=True)
class CrfOptions(CheckedOptions):
    """Weights and widths of the two kernels; pixels, and colours from 0 to 255."""

    iterations: int = option(5, range=int_range(1, _MAX_ITERATIONS), help="steps of mean field")
    smooth_weight: float = option(3.0, range=Range(0), help="weight of the smooth kernel")
    smooth_width: float = option(3.0, range=POSITIVE, help="its width in pixels")
    bilateral_weight: float = option(10.0, range=Range(0), help="weight of the bilateral kernel")
    bilateral_width: float = option(80.0, range=POSITIVE, help="its width in pixels")
    colour_width: float = option(13.0, range=POSITIVE, help="its width in colour levels of 256")


def refine_with_crf(
    logits: np.ndarray, picture: np.ndarray, options: CrfOptions | None = None
) -> np.ndarray:
    """Class probabilities of each pixel after mean field.

    Args:
        logits: (K, H, W), or log-probabilities.
        picture: (H, W, C), 0 to 255: the image of the logits, pixel for pixel.
        options: weights and widths; None for the defaults.
    Returns:
        (K, H, W) float32.
    """
    options = options or CrfOptions()
    classes, height, width = logits.shape
    if picture.shape[:2] != (height, width):
        raise ValueError(f"logits of {(height, width)} pixels and a picture of {picture.shape[:2]}")
    unary = logits.reshape(classes, -1).T.astype(np.float64)  # (N, K)
    kernels: list[tuple[float, MessagePassing]] = []
    if options.smooth_weight:
        smooth = smooth_filter(height, width, options.smooth_width)
        kernels.append((options.smooth_weight, MessagePassing(smooth, len(unary))))
    if options.bilateral_weight:
        points = bilateral_points(picture, options)
        filter_ = (
            exact_filter(points) if len(points) <= MAX_EXACT_PIXELS else lattice_filter(points)
        )
        kernels.append((options.bilateral_weight, MessagePassing(filter_, len(unary))))
    q = _softmax(unary)
    for _ in range(options.iterations):
        energy = unary.copy()
        for weight, message in kernels:
            energy += weight * message(q)
        q = _softmax(energy)
    return np.ascontiguousarray(q.T.reshape(logits.shape), np.float32)


class MessagePassing:
    """Message passing: (N, K) -> sum over j != i of K(i, j) Q_j / sqrt(D_i D_j)."""

    def __init__(self, filter_: Filter, count: int) -> None:
        self._filter = filter_
        sums = filter_(np.ones((count, 1)))
        # a pixel's own term is 1, up to the error of the lattice
        self._scale = 1 / np.sqrt(np.maximum(sums, 1))  # (N, 1)

    def __call__(self, q: np.ndarray) -> np.ndarray:
        scaled = q * self._scale
        others = self._filter(scaled) - scaled  # K(i, i) is 1 (the paper's equation 5)
        return np.asarray(self._scale * np.maximum(others, 0))


def smooth_filter(height: int, width: int, deviation: float) -> Filter:
    """The smooth kernel on a grid of pixels: one banded Gaussian matrix per axis."""
    rows, columns = (_gaussian_band(count, deviation) for count in (height, width))

    def apply(x: np.ndarray) -> np.ndarray:
        down = rows @ x.reshape(height, -1)  # (H, W * K)
        turned = down.reshape(height, width, -1).transpose(1, 0, 2)
        across = columns @ turned.reshape(width, -1)  # (W, H * K)
        back = across.reshape(width, height, -1).transpose(1, 0, 2)
        return np.asarray(back.reshape(x.shape))

    return apply


def bilateral_points(picture: np.ndarray, options: CrfOptions) -> np.ndarray:
    """(N, 2 + C): position and colour of each pixel, in standard deviations of the kernel."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    position = np.stack([y.ravel(), x.ravel()], axis=1) / options.bilateral_width
    colour = picture.reshape(height * width, -1).astype(np.float64) / options.colour_width
    return np.concatenate([position, colour], axis=1)


def exact_filter(points: np.ndarray) -> Filter:
    """exp(-|f_i - f_j|^2 / 2) as a dense matrix, (N, N)."""
    squares = (points**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * points @ points.T
    kernel = np.exp(-0.5 * np.maximum(distance, 0))
    return lambda x: np.asarray(kernel @ x)


def lattice_filter(points: np.ndarray) -> Filter:
    """An approximation of `exact_filter`: splat to the corners of a lattice, blur, slice.

    The permutohedral lattice cuts d-dimensional space into simplices: a point has d + 1 corners,
    and a corner 2 (d + 1) neighbours along d + 1 axes. All three operations are sparse matrices.

    Args:
        points: (N, d), in standard deviations of the kernel.
    """
    from scipy import sparse

    count, d = points.shape
    corners, shares = _simplices(points)  # (N, d + 1, d) and (N, d + 1)
    low = corners.min(axis=(0, 1)) - (d + 1)  # with a margin for neighbours
    spans = corners.max(axis=(0, 1)) + (d + 2) - low
    if math.prod(map(int, spans)) >= 2**62:
        raise UsageError(
            "the CRF's widths are too small for this image: its lattice is too large.",
            hint="Use a larger bilateral_width or colour_width.",
        )
    radix = np.cumprod([1, *spans[:-1]])  # to number the corners
    keys = (corners - low) @ radix
    corner_keys, corner = np.unique(keys, return_inverse=True)
    rows = np.repeat(np.arange(count), d + 1)
    slice_ = sparse.csr_matrix(
        (shares.ravel(), (rows, corner.ravel())), shape=(count, len(corner_keys)), dtype=np.float32
    )
    blurs = [_blur(corner_keys, int(radix @ step)) for step in _axes(d)]
    splat = sparse.csr_matrix(slice_.T)
    # integral of the Gaussian, divided by that of a splatted and blurred point
    scale = (4 * math.pi / 3) ** (d / 2) * math.sqrt(d + 1) / 2 ** (d + 1)

    def apply(x: np.ndarray) -> np.ndarray:
        values = splat @ x.astype(np.float32)  # (corners, K)
        for blur in blurs:
            values = blur @ values
        sums: np.ndarray = scale * np.asarray(slice_ @ values, np.float64)
        return sums

    return apply


def _axes(d: int) -> np.ndarray:
    """(d + 1, d): a step along each axis of the lattice, without the last coordinate."""
    steps = -np.ones((d + 1, d), np.int64)
    steps[np.arange(d), np.arange(d)] = d
    return steps


def _blur(keys: np.ndarray, step: int) -> Any:
    """A corner plus half of each neighbour along an axis, as a sparse matrix. `keys` ascend."""
    from scipy import sparse

    index = np.arange(len(keys))
    rows, columns = [index], [index]
    for offset in (-step, step):
        neighbour = np.searchsorted(keys, keys + offset).clip(max=len(keys) - 1)
        exists = keys[neighbour] == keys + offset
        rows.append(index[exists])
        columns.append(neighbour[exists])
    sizes = [len(part) for part in rows]
    values = np.repeat(np.array([1, 0.5, 0.5], np.float32), sizes)
    shape = (len(keys), len(keys))
    return sparse.csr_matrix((values, (np.concatenate(rows), np.concatenate(columns))), shape)


def _simplices(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners (N, d + 1, d) of each point's simplex, and its barycentric weights (N, d + 1).

    Adams et al. 2010, section 3.1. The hyperplane's last coordinate follows from the others and is
    omitted.
    """
    count, d = points.shape
    raised = _raise(points)  # (N, d + 1), on the hyperplane where coordinates sum to 0
    near = np.round(raised / (d + 1))
    surplus = near.sum(axis=1, keepdims=True).astype(np.int64)  # distance of `near` from it
    near *= d + 1
    order = np.argsort(-(raised - near), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(d + 1)[None], axis=1)
    rank += surplus
    over, under = rank > d, rank < 0
    near += (d + 1) * (under.astype(np.int64) - over)
    rank += (d + 1) * (under.astype(np.int64) - over)
    # barycentric weights from the sorted offsets
    offsets = np.empty_like(raised)
    np.put_along_axis(offsets, rank, (raised - near) / (d + 1), axis=1)  # largest first
    shares = np.empty((count, d + 1))
    shares[:, 0] = 1 + offsets[:, d] - offsets[:, 0]
    shares[:, 1:] = (offsets[:, :-1] - offsets[:, 1:])[:, ::-1]
    remainder = np.arange(d + 1)[None, :, None]
    step = remainder - (d + 1) * (rank[:, None, :d] > d - remainder)
    return near[:, None, :d].astype(np.int64) + step, shares


def _raise(points: np.ndarray) -> np.ndarray:
    """(N, d) -> (N, d + 1) on the hyperplane, scaled so that the blur has a deviation of 1."""
    d = points.shape[1]
    index = np.arange(1, d + 1)
    scaled = points * (math.sqrt(2 / 3) * (d + 1) / np.sqrt(index * (index + 1)))
    suffix = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]  # sum of this and all later coordinates
    raised = np.zeros((len(points), d + 1))
    raised[:, :d] = suffix
    raised[:, 1:] -= index * scaled
    return raised


def _gaussian_band(count: int, deviation: float) -> Any:
    """(count, count), without values below 1e-11."""
    from scipy import sparse

    reach = min(count - 1, math.ceil(7 * deviation))
    offsets = np.arange(-reach, reach + 1)
    values = np.exp(-(offsets.astype(np.float64) ** 2) / (2 * deviation**2))
    bands = np.repeat(values[:, None], count, axis=1)
    return sparse.csr_matrix(sparse.dia_matrix((bands, offsets), shape=(count, count)))


def _softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
