"""P-values of "the bound is met", over arrays, and Holm's correction: what FAIL is decided by."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evensight.metrics.intervals import (
    FloatArray,
    IntArray,
    clopper_pearson_lower,
    counts,
    mover_clopper_pearson,
    over_distinct,
)

# The bisection halves the logarithm of p this often: p is exact to six digits down to 1e-300.
_HALVINGS = 30


def rate_p(x: ArrayLike, n: ArrayLike, bound: float) -> FloatArray:
    """Returns P(Bin(n, bound) <= x), the p-value of "the rate is at least the bound"; 1 where n = 0."""
    successes, images = counts(x, n)
    return over_distinct(lambda k, m: binomial_cdf(k, m, bound), successes, images)


def binomial_cdf(x: ArrayLike, n: ArrayLike, rate: ArrayLike) -> FloatArray:
    """Returns P(Bin(n, rate) <= x), also for x below 0 or above n."""
    k, m = np.asarray(x), np.asarray(n)
    inside = special.betainc(np.maximum(m - k, 1), np.maximum(k + 1, 1), 1.0 - np.asarray(rate))
    return np.where(k < 0, 0.0, np.where(k >= m, 1.0, inside))


def gap_p(x1: ArrayLike, n1: ArrayLike, x2: ArrayLike, n2: ArrayLike, bound: float, ceiling: float = 0.5) -> FloatArray:
    """Returns the p-value of "x1/n1 - x2/n2 is at most the bound": the least level whose lower bound is above it.

    Args:
        x1: Successes of the first group.
        n1: Images of the first group.
        x2: Successes of the second group.
        n2: Images of the second group.
        bound: What the difference may be at most.
        ceiling: Values above it are given as 1: simulated test sets need none above alpha, and the search is dear.
    """
    x1, n1, x2, n2 = np.broadcast_arrays(*(np.asarray(value, dtype=np.int64) for value in (x1, n1, x2, n2)))
    p = np.ones(x1.shape)
    ceiling = min(ceiling, 0.5)  # beyond .5 the exact limits cross the estimate and mean nothing
    low, _ = mover_clopper_pearson(x1, n1, x2, n2, ceiling)
    found = np.asarray(low > bound)
    if found.any():
        # Simulated test sets repeat the same four counts often.
        distinct, inverse = np.unique(np.stack([v[found] for v in (x1, n1, x2, n2)]), axis=1, return_inverse=True)
        of_first, first, of_second, second = distinct
        p[found] = _least_level(of_first, first, of_second, second, bound, ceiling)[inverse.ravel()]
    return p


def holm(p: FloatArray, alpha: float) -> NDArray[np.bool_]:
    """Returns which hypotheses fall, with at most `alpha` for any true one among them (Holm 1979).

    Args:
        p: `[R, ...]`, one p-value a hypothesis; 1 for one that could not be tested.
        alpha: The level of them all together.
    """
    num_hypotheses = p.shape[0]
    order = np.argsort(p, axis=0, kind="stable")
    divisors = num_hypotheses - np.arange(num_hypotheses)
    small = np.take_along_axis(p, order, axis=0) * divisors.reshape(-1, *([1] * (p.ndim - 1))) <= alpha
    falls = np.zeros(p.shape, dtype=np.bool_)
    np.put_along_axis(falls, order, np.logical_and.accumulate(small, axis=0), axis=0)
    return falls


def _least_level(x1: IntArray, n1: IntArray, x2: IntArray, n2: IntArray, bound: float, ceiling: float) -> FloatArray:
    rate1, rate2 = x1 / n1, x2 / n2
    low, high = np.full(x1.shape, np.log(1e-300)), np.full(x1.shape, np.log(ceiling))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        level = np.exp(middle)
        below = rate1 - clopper_pearson_lower(x1, n1, level)
        above = 1.0 - clopper_pearson_lower(n2 - x2, n2, level) - rate2
        rejected = rate1 - rate2 - np.hypot(below, above) > bound
        low, high = np.where(rejected, low, middle), np.where(rejected, middle, high)
    return np.asarray(np.exp(high))
