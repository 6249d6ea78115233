"""Confidence intervals of rates and of differences of independent rates, over arrays.

`a` is always the error of one side: a two-sided 95 % interval has a = .025. Arrays broadcast; x and n are whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Below this size finding the distinct counts costs more than it saves.
_SMALL = 64


def counts(x: ArrayLike, n: ArrayLike) -> tuple[IntArray, IntArray]:
    """Returns successes and images as int64 arrays of one shape.

    Raises:
        ValueError: If a count is no whole number or negative, or there are more successes than images.
    """
    successes, images = np.broadcast_arrays(whole(x), whole(n))
    wrong = (successes < 0) | (successes > images)
    if np.any(wrong):
        at = tuple(np.argwhere(wrong)[0])
        raise ValueError(f"counts: {successes[at]} successes of {images[at]} images; allowed: 0 <= x <= n.")
    return successes, images


def whole(values: ArrayLike) -> IntArray:
    """Returns counts as int64.

    Raises:
        ValueError: If one is no whole number: a part of an image would be cut off in silence.
    """
    given = np.asarray(values)
    if given.dtype.kind in "iub":
        return given.astype(np.int64, copy=False)
    numbers = given if given.dtype.kind == "f" else np.full(1, np.nan)
    if not np.all(np.isfinite(numbers)) or np.any(numbers != np.floor(numbers)):
        raise ValueError(f"counts: found {str(values)[:60]}, allowed are whole numbers.")
    return given.astype(np.int64)


def level(a: ArrayLike) -> ArrayLike:
    """Returns the error of one side as it is.

    Raises:
        ValueError: If it is no chance: below 0, above 1, or not a number.
    """
    given = np.asarray(a)
    if given.dtype.kind not in "iuf" or not np.all((given >= 0) & (given <= 1)):
        raise ValueError(f"a: found {str(a)[:60]}, allowed is a chance from 0 to 1.")
    return a


def over_distinct(compute: Callable[[IntArray, IntArray], FloatArray], x: IntArray, n: IntArray) -> FloatArray:
    """Computes a function of (x, n) once for every distinct pair.

    Simulated test sets repeat few pairs very often: 256,000 cells hold about a hundred, and an inverse of the beta
    distribution costs 0.6 us each.
    """
    if x.size < _SMALL:
        return compute(x, n)
    base = int(n.max()) + 1
    pairs, inverse = np.unique(n * base + x, return_inverse=True)
    found: FloatArray = compute(pairs % base, pairs // base)[inverse.reshape(x.shape)]
    return found


def clopper_pearson_lower(x: ArrayLike, n: ArrayLike, a: ArrayLike) -> FloatArray:
    """Returns the exact lower bound of a rate, BetaInv(a; x, n - x + 1), 0 at x = 0 (Clopper and Pearson 1934)."""
    successes, images = counts(x, n)
    level(a)
    if np.ndim(a) == 0:
        return over_distinct(lambda k, m: _lower(k, m, a), successes, images)
    return _lower(successes, images, a)


def clopper_pearson_upper(x: ArrayLike, n: ArrayLike, a: ArrayLike) -> FloatArray:
    """Returns the exact upper bound of a rate, BetaInv(1 - a; x + 1, n - x), 1 at x = n (Clopper and Pearson 1934)."""
    successes, images = counts(x, n)
    return 1.0 - clopper_pearson_lower(images - successes, images, a)


def clopper_pearson(x: ArrayLike, n: ArrayLike, a: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Returns both exact bounds of a rate, each erring at most `a`; 0 and 1 where n = 0."""
    return clopper_pearson_lower(x, n, a), clopper_pearson_upper(x, n, a)


def wilson(x: ArrayLike, n: ArrayLike, a: float) -> tuple[FloatArray, FloatArray]:
    """Returns both bounds of Wilson's score interval (1927): for figures that inform; 0 and 1 where n = 0.

    One-sided it misses up to 8 % at a = .05 (rates near 1), so it decides nothing.
    """
    successes, images = counts(x, n)
    z2 = float(special.ndtri(level(a))) ** 2
    m = np.maximum(images, 1)
    rate = successes / m
    half = np.sqrt(z2 * (rate * (1 - rate) / m + z2 / (4 * m**2)))
    centre, scale = rate + z2 / (2 * m), 1 + z2 / m
    low = np.where((images == 0) | (successes == 0), 0.0, (centre - half) / scale)
    high = np.where((images == 0) | (successes == images), 1.0, (centre + half) / scale)
    return low, high


def mover(
    first: FloatArray,
    first_bounds: tuple[FloatArray, FloatArray],
    second: FloatArray,
    second_bounds: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Returns bounds of first - second from the bounds of each, by square-and-add (Zou and Donner 2008)."""
    difference = first - second
    low = difference - np.hypot(first - first_bounds[0], second_bounds[1] - second)
    high = difference + np.hypot(first_bounds[1] - first, second - second_bounds[0])
    return low, high


def newcombe(x1: ArrayLike, n1: ArrayLike, x2: ArrayLike, n2: ArrayLike, a: float) -> tuple[FloatArray, FloatArray]:
    """Returns both bounds of x1/n1 - x2/n2 with Wilson's limits (Newcombe 1998, method 10): for figures that inform."""
    return mover(rate(x1, n1), wilson(x1, n1, a), rate(x2, n2), wilson(x2, n2, a))


def mover_clopper_pearson(
    x1: ArrayLike, n1: ArrayLike, x2: ArrayLike, n2: ArrayLike, a: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Returns both bounds of x1/n1 - x2/n2 with exact limits: what a gap is decided by.

    Errs at most .048 at a = .05 by enumeration, where Wilson's limits err up to .073. -1 and 1 where an n is 0.
    """
    low, high = mover(rate(x1, n1), clopper_pearson(x1, n1, a), rate(x2, n2), clopper_pearson(x2, n2, a))
    unknown = (np.asarray(n1) == 0) | (np.asarray(n2) == 0)
    return np.where(unknown, -1.0, low), np.where(unknown, 1.0, high)


def rate(x: ArrayLike, n: ArrayLike) -> FloatArray:
    """Returns x / n, and .5 where n = 0 (the bounds there are 0 and 1)."""
    successes, images = counts(x, n)
    return np.where(images == 0, 0.5, successes / np.maximum(images, 1))


def _lower(x: IntArray, n: IntArray, a: ArrayLike) -> FloatArray:
    bound = special.betaincinv(np.maximum(x, 1), n - x + 1, a)
    return np.where(x == 0, 0.0, bound)
