"""Figures that are looked at again and again: evidence (E-values) and intervals that hold at every look.

An E-value is a bet against a hypothesis: while the hypothesis holds, the chance that it EVER reaches 1/a is at most a
(Ville 1939), however often one looks. Rates bet with a uniform mixture over the other side of the bound (Robbins 1970),
differences on the same images with a mixture of fixed stakes (Waudby-Smith and Ramdas 2024). Both depend on counts
alone, so a sequence is its running counts. Sequences restart in windows, so that a long past drowns no change;
window w has the share 1/(w(w+1)) of the level, and the shares of all windows add up to one.

The hypothesis of a rate or a difference may drift, as long as it stays on the good side of the bound: the bets only
shrink. A gap's two confidence sequences hold for rates that stay as they are within a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evensight.metrics.intervals import FloatArray, IntArray, counts, over_distinct

WINDOW = 500  # labels, or images of the reliance sample, after which a sequence restarts
_STAKES = 19  # of the bets on a difference: k/20 of the most that cannot ruin, k = 1..19
_HALVINGS = 30  # of the bisection of a confidence limit: to 1e-9


def rate_log_e_below(x: ArrayLike, n: ArrayLike, bound: float) -> FloatArray:
    """Returns log E of "the rate is below the bound", against "it is at least the bound"; 0 at n = 0.

    E is the mean, over rates p uniform below the bound, of the likelihood of x successes of n at p over that at the
    bound. The counts broadcast.
    """
    successes, images = counts(x, n)
    return over_distinct(lambda k, m: _log_e_below(k, m, np.asarray(bound)), successes, images)


def rate_log_e_above(x: ArrayLike, n: ArrayLike, bound: float) -> FloatArray:
    """Returns log E of "the rate is above the bound", against "it is at most the bound": the mirror image."""
    successes, images = counts(x, n)
    return rate_log_e_below(images - successes, images, 1.0 - bound)


def difference_log_e_above(first: ArrayLike, second: ArrayLike, n: ArrayLike, bound: float) -> FloatArray:
    """Returns log E of "the mean difference is above the bound", from outcomes 1, -1 or 0 of each image.

    E is the mean over k = 1..19 of prod(1 + l_k (x_i - bound)), l_k = k/20/(1 + bound).

    Args:
        first: Images whose outcome was 1.
        second: Images whose outcome was -1.
        n: All images.
        bound: Between -1 and 1.
    """
    up, down, images = (np.asarray(value, dtype=np.float64)[..., None] for value in (first, second, n))
    stakes = np.arange(1, _STAKES + 1) / (_STAKES + 1) / (1.0 + bound)
    capital = up * np.log1p(stakes * (1.0 - bound)) + down * np.log1p(-stakes * (1.0 + bound))
    capital = capital + (images - up - down) * np.log1p(-stakes * bound)
    return np.asarray(special.logsumexp(capital, axis=-1) - np.log(_STAKES))


def difference_log_e_below(first: ArrayLike, second: ArrayLike, n: ArrayLike, bound: float) -> FloatArray:
    """Returns log E of "the mean difference is below the bound": the mirror image of `difference_log_e_above`."""
    return difference_log_e_above(second, first, n, -bound)


def rate_lower(x: ArrayLike, n: ArrayLike, level: ArrayLike) -> FloatArray:
    """Returns the lower limit of a rate that holds at every n at once, but for a chance of `level`; 0 at x = 0.

    It is the least bound that `rate_log_e_above` does not refute: every bound with E below 1/level is kept.

    Args:
        x: Successes.
        n: Images.
        level: Between 0 and 1; broadcasts with the counts.
    """
    successes, images = counts(x, n)
    wanted = np.broadcast_to(-np.log(np.asarray(level, dtype=np.float64)), successes.shape)
    # A stream repeats few counts often, and an incomplete beta function costs 0.6 us.
    keys = np.stack([successes.ravel(), images.ravel(), wanted.ravel()])
    distinct, inverse = np.unique(keys, axis=1, return_inverse=True)
    found = _limit(distinct[0].astype(np.int64), distinct[1].astype(np.int64), distinct[2])
    return found[inverse.ravel()].reshape(successes.shape)


def rate_upper(x: ArrayLike, n: ArrayLike, level: ArrayLike) -> FloatArray:
    """Returns the upper limit of a rate that holds at every n at once, but for a chance of `level`; 1 at x = n."""
    successes, images = counts(x, n)
    return 1.0 - rate_lower(images - successes, images, level)


def share_of_window(window: ArrayLike) -> FloatArray:
    """Returns 1/(w(w+1)), the share of the level that window w (from 1) has."""
    number = np.asarray(window, dtype=np.float64)
    return np.asarray(1.0 / (number * (number + 1.0)))


def log_threshold(window: ArrayLike, num_comparisons: int, alpha: float) -> FloatArray:
    """Returns the log E at which window w alarms, C w(w+1)/alpha: all comparisons together alarm falsely at alpha."""
    return np.asarray(np.log(num_comparisons / alpha) - np.log(share_of_window(window)))


@dataclass(frozen=True)
class Windows:
    """Where each observation of several sequences stands; `[N]` each, in the order of the observations.

    Attributes:
        number: Window of its own sequence, from 1.
        n: Observations of that window so far, itself included.
    """

    number: IntArray
    n: IntArray
    _order: IntArray
    _start: IntArray

    def so_far(self, event: NDArray[np.bool_]) -> IntArray:
        """Returns how many observations of the same window so far, itself included, had the event [N]."""
        total = np.concatenate([[0], np.cumsum(np.asarray(event, dtype=np.int64)[self._order])])
        counted = np.empty(len(self._order), dtype=np.int64)
        counted[self._order] = total[1:] - total[self._start]
        return counted


def windows(sequence: ArrayLike, size: int = WINDOW) -> Windows:
    """Parts each of several sequences into windows of `size` observations of its own.

    Args:
        sequence: Which sequence each observation belongs to, `[N]`, in the order of time.
        size: Of a window.
    """
    of = np.asarray(sequence, dtype=np.int64)
    order = np.argsort(of, kind="stable")
    ordered = of[order]
    place = np.arange(len(of))
    first = np.searchsorted(ordered, ordered, side="left")
    rank = place - first  # within the sequence
    window = rank // size
    number, n = np.empty_like(of), np.empty_like(of)
    number[order], n[order] = window + 1, rank - window * size + 1
    return Windows(number, n, order, first + window * size)


def _log_e_below(x: IntArray, n: IntArray, bound: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):  # the chance may be too small for a float: no evidence at all
        chance = np.log(special.betainc(x + 1.0, n - x + 1.0, bound))
        at_bound = special.xlogy(x, bound) + special.xlog1py(n - x, -bound)
        return np.asarray(special.betaln(x + 1.0, n - x + 1.0) + chance - np.log(bound) - at_bound)


def _limit(x: IntArray, n: IntArray, wanted: FloatArray) -> FloatArray:
    """Finds where log E of "above" falls to `wanted`, between 0 and x/n: E falls as the bound rises there."""
    low, high = np.zeros(x.shape), x / np.maximum(n, 1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = np.clip(middle, 1e-12, 1 - 1e-12)
        refuted = _log_e_below(n - x, n, 1.0 - inside) >= wanted
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return np.where(x == 0, 0.0, low)
