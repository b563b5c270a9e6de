"""The CRF equals sums written out, its lattice about equals its matrix, and it follows outlines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skipstone.core.errors import UsageError
from skipstone.tasks.segmentation import crf
from skipstone.tasks.segmentation.crf import CrfOptions, MessagePassing, refine_with_crf


def problem(height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((classes, height, width))
    return logits, rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def brute_force(logits: np.ndarray, picture: np.ndarray, options: CrfOptions) -> np.ndarray:
    """Every pair of pixels, as the paper's equations 2 to 4 and algorithm 1 say, in plain loops."""
    classes, height, width = logits.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]

    def smooth(a: tuple[int, int], b: tuple[int, int]) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * options.smooth_width**2))

    def bilateral(a: tuple[int, int], b: tuple[int, int]) -> float:
        colours = sum(
            (float(u) - float(v)) ** 2 for u, v in zip(picture[a], picture[b], strict=True)
        )
        near = math.dist(a, b) ** 2 / (2 * options.bilateral_width**2)
        return math.exp(-near - colours / (2 * options.colour_width**2))

    energies = []
    for weight, kernel in (
        (options.smooth_weight, smooth),
        (options.bilateral_weight, bilateral),
    ):
        matrix = np.array([[kernel(a, b) for b in pixels] for a in pixels])
        root = np.sqrt(matrix.sum(axis=1))
        matrix /= root[:, None] * root[None]
        np.fill_diagonal(matrix, 0)
        energies.append(weight * matrix)
    pull = sum(energies)
    unary = np.array([[logits[k][a] for k in range(classes)] for a in pixels])
    q = np.exp(unary) / np.exp(unary).sum(axis=1, keepdims=True)
    for _ in range(options.iterations):
        new = np.zeros_like(q)
        for i in range(len(pixels)):
            scores = []
            for k in range(classes):
                other = sum(q[:, other] for other in range(classes) if other != k)  # Potts
                scores.append(unary[i, k] - float(pull[i] @ other))
            new[i] = np.exp(scores) / np.exp(scores).sum()
        q = new
    return q.T.reshape(logits.shape)


@pytest.mark.parametrize(
    "options",
    [
        CrfOptions(),
        CrfOptions(bilateral_width=4.0, colour_width=90.0, iterations=7),
        CrfOptions(smooth_weight=0.0),
        CrfOptions(bilateral_weight=0.0, smooth_width=1.5),
    ],
    ids=["usual", "wide in colour", "bilateral alone", "smooth alone"],
)
def test_mean_field_equals_brute_force(options: CrfOptions) -> None:
    logits, picture = problem(7, 9, 3)
    found = refine_with_crf(logits, picture, options)
    np.testing.assert_allclose(found, brute_force(logits, picture, options), atol=1e-6)
    assert np.abs(found - refine_with_crf(logits, picture, CrfOptions(iterations=1))).max() > 1e-3


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A slanted edge between two colours with some noise, and its mask."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    mask = (x + 0.4 * y > 0.7 * width).astype(np.int64)
    colours = np.array([[70, 110, 60], [170, 150, 190]])
    picture = colours[mask] + rng.normal(0, 6, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8), mask


def test_it_finds_an_outline_that_the_logits_missed() -> None:
    picture, mask = scene(48, 60)
    shifted = np.roll(mask, 4, axis=1)  # an answer that is four pixels off
    logits = np.stack([1 - shifted, shifted]).astype(np.float64)
    before = (logits.argmax(0) == mask).mean()
    after = (refine_with_crf(logits, picture).argmax(0) == mask).mean()
    assert before < 0.95
    assert after > 0.99


def test_a_lattice_says_about_what_the_matrix_says(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, mask = scene(60, 64)
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((3, 60, 64))
    logits[0] += mask
    options = CrfOptions()
    points = crf.bilateral_points(picture, options)
    q = rng.random((len(points), 3)) * np.array([1.0, 0.3, 0.1])
    q[: len(q) // 3] = q[: len(q) // 3, ::-1]
    exact = MessagePassing(crf.exact_filter(points), len(points))(q)
    about = MessagePassing(crf.lattice_filter(points), len(points))(q)
    assert np.linalg.norm(about - exact) < 0.06 * np.linalg.norm(exact)
    whole = refine_with_crf(logits, picture)
    monkeypatch.setattr(crf, "MAX_EXACT_PIXELS", 0)
    quick = refine_with_crf(logits, picture)
    assert (whole.argmax(0) == quick.argmax(0)).mean() > 0.99
    assert np.abs(whole - quick).mean() < 0.01


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_a_lattice_keeps_the_kernels_scale(dimensions: int) -> None:
    """Far from the rim of a dense cloud of points, sums are those of the Gaussian."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-3, 3, (4000, dimensions))
    middle = np.abs(points).max(axis=1) < 1
    ones = np.ones((len(points), 1))
    ratio = crf.lattice_filter(points)(ones)[middle] / crf.exact_filter(points)(ones)[middle]
    assert 0.85 < ratio.mean() < 1.15


def test_corners_are_shared_out() -> None:
    points = np.random.default_rng(4).normal(0, 5, (500, 4))
    corners, shares = crf._simplices(points)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.min() > -1e-9
    # a point is the mean of its corners, weighed by its shares
    raised = crf._raise(points)[:, :4]
    np.testing.assert_allclose((corners * shares[..., None]).sum(axis=1), raised, atol=1e-8)


def test_wrong_options_and_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"iterations is 0.*colour_width is -1"):
        CrfOptions(iterations=0, colour_width=-1)
    logits, picture = problem(4, 5, 2)
    with pytest.raises(ValueError, match="a picture of"):
        refine_with_crf(logits, picture[:3])
