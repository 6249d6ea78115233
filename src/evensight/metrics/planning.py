"""How many images a test takes to pass, from the exact binomial."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evensight.metrics.intervals import FloatArray
from evensight.metrics.p_values import binomial_cdf

# A count must stay good over a run of so many, itself the first: the power of an exact test is a saw-tooth in n.
_TEETH = 15
# No answer goes beyond so many images.
MOST = 1_000_000


def least_passing(n: ArrayLike, bound: float, alpha: float) -> NDArray[np.int64]:
    """Returns the least count whose exact lower bound meets `bound`, per n; n + 1 where none does."""
    images = np.asarray(n, dtype=np.int64)
    low, high = np.full(images.shape, -1), images + 1
    for _ in range(int(images.max(initial=1)).bit_length() + 1):
        middle = (low + high) // 2
        passes = 1.0 - binomial_cdf(middle - 1, images, bound) <= alpha
        passes |= middle > images
        low, high = np.where(passes, low, middle), np.where(passes, middle, high)
    return high


def rate_power(n: ArrayLike, bound: float, likely: ArrayLike, alpha: float) -> FloatArray:
    """Returns the chance that a true rate `likely` passes "at least `bound`" on n images."""
    return 1.0 - binomial_cdf(least_passing(n, bound, alpha) - 1, n, likely)


def least_n(bound: float, alpha: float = 0.05) -> int | None:
    """Returns the least n at which "a rate of at least `bound`" can pass at all, without one mistake.

    ln(alpha) / ln(bound): 14 at .80, 29 at .90, 59 at .95. None at 1, which no number of images can show.
    """
    if bound >= 1:
        return None
    return 1 if bound <= 0 else math.ceil(math.log(alpha) / math.log(bound) - 1e-12)


def least_n_gap(bound: float, alpha: float = 0.05) -> int | None:
    """Returns the least n of every group at which "a gap of at most `bound`" can pass, without one mistake."""
    return least_n(1.0 - bound, alpha)


def least_n_paired(bound: float, alpha: float = 0.05, at_least: bool = False) -> int | None:
    """Returns the least n at which a paired difference can pass.

    Args:
        bound: Of the difference.
        alpha: 1 - confidence.
        at_least: Whether the difference is to be at least the bound (all images only the first), else at most (no
            image either).
    """
    # At the best outcome the score is z = (n distance - 1) / sqrt(n variance): a quadratic in the root of n.
    distance, variance = (1.0 - bound, 1.0 - bound**2) if at_least else (bound, bound * (1.0 - bound))
    if distance <= 0:
        return None
    spread = float(special.ndtri(alpha)) ** 2 * variance
    root = (math.sqrt(spread) + math.sqrt(spread + 4 * distance)) / (2 * distance)
    return math.ceil(root**2 - 1e-9)


def cells_n(bound: float, likely: float, cells: int = 1, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Returns how many images each of `cells` cells needs so that all pass together with chance `power`.

    Args:
        bound: What each rate is to be at least.
        likely: The true rate of every cell.
        cells: How many there are.
        power: Of all of them together.
        alpha: 1 - confidence.

    Returns:
        The least n at the head of 15 in a row that are all enough; None where `likely` is not above `bound`.
    """
    if likely <= bound:
        return None
    each = power ** (1.0 / cells)
    z = -special.ndtri(alpha), special.ndtri(each)
    spread = z[0] * math.sqrt(bound * (1 - bound)) + z[1] * math.sqrt(likely * (1 - likely))
    most = 2 * int((max(spread, 0.0) / (likely - bound)) ** 2 + 1 / (likely - bound)) + 100
    while True:
        n = np.arange(1, most + _TEETH)
        good = rate_power(n, bound, likely, alpha) >= each
        lasting = np.nonzero(np.lib.stride_tricks.sliding_window_view(good, _TEETH).all(axis=1))[0]
        if lasting.size:
            return int(n[lasting[0]])
        most *= 2


def more_images(x: int, n: int, rate: float, bound: float, alpha: float, power: float) -> int | None:
    """Returns how many images more bring x of n to pass "at least `bound`" with chance `power`, if `rate` is the truth.

    Exact up to 2,000 images more, beyond that to one part in a thousand. None where a million would not do.
    """
    steps = np.concatenate([np.arange(1, 2000), np.geomspace(2000, MOST, 6220).astype(np.int64)])
    for block in np.array_split(steps, 16):
        needed = least_passing(n + block, bound, alpha) - x
        good = np.nonzero(1.0 - binomial_cdf(needed - 1, block, rate) >= power)[0]
        if good.size:
            return int(block[good[0]])
    return None


def least_size(power: Callable[[int], float], start: int, chance: float) -> int | None:
    """Finds the first size with the power on a ladder of 2 % steps from `start`, by bisection.

    Args:
        power: The chance to pass at a size; grows with it, but for noise.
        start: The least size that is asked of.
        chance: The power wanted.

    Returns:
        None where a million images would not do.
    """
    ladder = np.unique(np.geomspace(start, max(MOST, 2 * start), 700).astype(np.int64))
    low, high = -1, len(ladder) - 1
    if power(int(ladder[high])) < chance:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(int(ladder[middle])) >= chance else (middle, high)
    return int(ladder[high])
