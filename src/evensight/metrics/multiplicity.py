"""P-values of several hypotheses, corrected so that they can be read one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm_adjusted(p: ArrayLike) -> NDArray[np.float64]:
    """Returns Holm's adjusted p-values (1979) `[R]`: those at most alpha fall in `p_values.holm` at alpha.

    Args:
        p: `[R]`, one p-value a hypothesis.
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(given[order] * (given.size - np.arange(given.size))) if given.size else given
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def draws_for(num_hypotheses: int, alpha: float, least: int = 999) -> int:
    """Returns how many permutations leave Holm's first step something to decide: p may be half of what it asks for.

    Args:
        num_hypotheses: Tested together.
        alpha: Of them all.
        least: Never fewer.
    """
    return max(least, int(np.ceil(2 * num_hypotheses / alpha)))
