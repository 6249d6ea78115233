"""Exact tests of "a group has more, or fewer, of something than its share": margins fixed, and within strata."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Chances below this are left out of a sum: a p-value is exact to about as much.
_NEGLIGIBLE = 1e-18


def log_pmf(x: ArrayLike, total: ArrayLike, marked: ArrayLike, drawn: ArrayLike) -> FloatArray:
    """Returns ln P(X = x): x marked ones among `drawn` of `total`, of which `marked` are; -inf where impossible."""
    k, n, m, d = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (x, total, marked, drawn)))
    possible = (k >= 0) & (k <= m) & (k <= d) & (d - k <= n - m)
    safe = np.where(possible, k, np.maximum(0.0, d - (n - m)))
    value = _log_choose(m, safe) + _log_choose(n - m, d - safe) - _log_choose(n, d)
    return np.where(possible, value, -np.inf)


def few_p(x: ArrayLike, total: ArrayLike, marked: ArrayLike, drawn: ArrayLike) -> FloatArray:
    """Returns P(X <= x) for x well below what is expected, and at least that elsewhere, in closed form.

    The chances below x fall at least as fast as the first of them does, so their sum is at most that of a geometric
    series: at a third of what is expected it is 1.0 to 1.1 times the exact one. At or above the expected number: 1.
    """
    k, n, m, d = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (x, total, marked, drawn)))
    ratio = k * (n - m - d + k) / ((m - k + 1) * (d - k + 1))
    below = (k * n < m * d) & (ratio < 1)
    series = np.exp(log_pmf(k, n, m, d)) / np.where(below, 1 - ratio, 1.0)
    return np.where(below, np.minimum(series, 1.0), 1.0)


def stratified_p(x: ArrayLike, total: ArrayLike, marked: ArrayLike, drawn: ArrayLike) -> float:
    """Returns P(X_1 + ... + X_S >= x) for independent strata, each with its own margins: exact, one-sided.

    A difference between groups that only comes of their strata is not one here. Without strata it is Fisher's test.

    Args:
        x: Marked ones among the drawn of all strata together, or of each `[S]`.
        total: `[S]` all of each stratum.
        marked: `[S]` marked ones of each.
        drawn: `[S]` of the group in question.
    """
    n, m, d = (np.atleast_1d(np.asarray(value, dtype=np.int64)) for value in (total, marked, drawn))
    sought = int(np.sum(x))
    open_ones = (m > 0) & (d > 0)
    low = np.maximum(0, m + d - n)
    fixed = int(np.where(open_ones, 0, low).sum())
    law, start = np.ones(1), fixed
    for size, those, taken in zip(n[open_ones], m[open_ones], d[open_ones], strict=True):
        support = np.arange(max(0, those + taken - size), min(those, taken) + 1)
        chance = np.exp(log_pmf(support, size, those, taken))
        kept = np.flatnonzero(chance > _NEGLIGIBLE)
        law = _added(law, chance[kept[0] : kept[-1] + 1])
        start += int(support[kept[0]])
    at = sought - start
    if at <= 0:
        return 1.0
    return float(min(1.0, law[at:].sum())) if at < law.size else float(_NEGLIGIBLE)


def _added(first: FloatArray, second: FloatArray) -> FloatArray:
    """Returns the law of a sum; by Fourier transforms where the laws are wide (errors of 1e-16)."""
    if min(first.size, second.size) < 500:
        return np.convolve(first, second)
    size = first.size + second.size - 1
    product = np.fft.irfft(np.fft.rfft(first, size) * np.fft.rfft(second, size), size)
    return np.asarray(np.maximum(product, 0.0))


def _log_choose(n: FloatArray, k: FloatArray) -> FloatArray:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
