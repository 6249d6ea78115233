"""What chance alone gives the worst of several rates, or their gap, if the truth were even. Informs, never decides.

100 even cells of 100 images at .972: the worst is expected at .923, the gap at .076.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evensight.metrics.p_values import binomial_cdf

# The exact distribution of the minimum is followed at so many values at most.
_MOST_VALUES = 4096


def worst_floor(n: ArrayLike, rate: float, share: float = 0.05) -> tuple[float, float]:
    """Returns mean and lower `share` point of the least of C rates that are all `rate` in truth.

    P(min >= t) is the product over cells of P(Bin(n_c, rate) >= t n_c).

    Args:
        n: `[C]` images a cell, all above 0.
        rate: The rate of all of them together.
        share: How often chance is to fall below the second figure.
    """
    images, cells = np.unique(np.asarray(n, dtype=np.int64), return_counts=True)
    support = np.unique(np.concatenate([np.arange(size + 1) / size for size in images]))
    support = support[:: -(-support.size // _MOST_VALUES)]
    # The 1e-9 keeps t n from rounding up past a whole number.
    least = np.ceil(support[:, None] * images - 1e-9)
    reached = np.prod((1.0 - binomial_cdf(least - 1, images, rate)) ** cells, axis=1)  # P(min >= t)
    mean = float(np.sum(np.diff(support, prepend=0.0) * reached))
    return mean, float(support[np.nonzero(reached >= 1.0 - share)[0][-1]])


def gap_floor(
    n: ArrayLike, rate: float, share: float = 0.05, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and upper `share` point of the gap (largest less least) of C rates that are all `rate` in truth.

    Args:
        n: `[C]` images a group, all above 0.
        rate: The rate of all of them together.
        share: How often chance is to exceed the second figure.
        draws: Simulated test sets.
        seed: Of the simulation.
    """
    images = np.asarray(n, dtype=np.int64)
    rates = np.random.default_rng(seed).binomial(images, rate, size=(draws, images.size)) / images
    gap = np.ptp(rates, axis=1)
    return float(gap.mean()), float(np.quantile(gap, 1.0 - share))


def permuted_floor(
    x: ArrayLike, n: ArrayLike, gap: bool, share: float = 0.05, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the floor of groups when classes differ: each class keeps its successes, who has them is permuted.

    Args:
        x: `[K, C]` successes of each class in each group.
        n: `[K, C]` images of each class in each group; every group has some.
        gap: Whether the gap is meant, else the least rate.
        share: How often chance is to be worse than the second figure.
        draws: Permutations.
        seed: Of the permutations.
    """
    images = np.asarray(n, dtype=np.int64)
    rng = np.random.default_rng(seed)
    successes = np.zeros((draws, images.shape[1]), dtype=np.int64)
    for of_class, right in zip(images, np.sum(x, axis=1), strict=True):
        successes += rng.multivariate_hypergeometric(of_class, int(right), size=draws, method="marginals")
    rates: NDArray[np.float64] = successes / images.sum(axis=0)
    found = np.ptp(rates, axis=1) if gap else rates.min(axis=1)
    return float(found.mean()), float(np.quantile(found, 1.0 - share if gap else share))
