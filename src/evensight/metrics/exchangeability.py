"""Has a stream drifted from a reference sample? A conformal test martingale: evidence that holds at every look.

While reference and stream are exchangeable, the rank of each new score among the reference's and the stream's so far
is uniform and independent of what came before (Vovk, Nouretdinov and Gammerman 2003); bets against that multiply into
an E-value. Scores must not have learnt from the sample they are ranked in: `Scorer` learns from one half of the
reference, ranks are taken in the other. Martingales of several scores are averaged, which is one again.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from evensight.metrics.intervals import FloatArray
from evensight.metrics.sequential import windows

WINDOW = 1000  # observations of the stream after which it is compared anew with the reference alone
MOST_COMPONENTS = 8
# Directions in which the reference hardly varies count as varying this much of a typical one.
_LEAST_VARIANCE = 1e-3
# Stakes e of the bets 1 + e (p - 1/2) on the rank: against either end, from timid to bold.
_STAKES = np.array([sign * k / 5 for k in range(1, 10) for sign in (1, -1)])
# What a bet on one side of a split loses where the rank falls on the other.
_LOSSES = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])


@dataclass(frozen=True)
class Scorer:
    """What is looked at of features: their main components, and how far off they are as a whole.

    Attributes:
        mean: `[F]`, of the features it was fitted on.
        spread: `[F]`, their standard deviations; the root mean square where one does not vary.
        axes: `[F, F]`, columns: the components of the standardised features, by falling variance.
        variance: `[F]`, of each component.
    """

    mean: FloatArray
    spread: FloatArray
    axes: FloatArray
    variance: FloatArray

    @classmethod
    def fit(cls, features: NDArray[np.floating]) -> Scorer:
        """Learns from `[M, F]` features, M >= 1."""
        x = np.asarray(features, dtype=np.float64)
        mean, spread = x.mean(axis=0), x.std(axis=0)
        typical = float(np.sqrt((spread**2).mean())) or 1.0
        spread = np.where(spread > 1e-9 * typical, spread, typical)
        z = (x - mean) / spread
        variance, axes = np.linalg.eigh(z.T @ z / len(z))
        return cls(mean, spread, axes[:, ::-1], variance[::-1].clip(min=0.0))

    def scores(self, features: NDArray[np.floating]) -> FloatArray:
        """Returns `[N, S]` of `[N, F]`: the first components (at most 8), and the Mahalanobis distance."""
        along = (np.asarray(features, dtype=np.float64) - self.mean) / self.spread @ self.axes
        distance = np.sqrt((along**2 / (self.variance + _LEAST_VARIANCE)).sum(axis=1))
        return np.concatenate([along[:, :MOST_COMPONENTS], distance[:, None]], axis=1)


def rank_p(reference: FloatArray, stream: FloatArray, tie: FloatArray) -> FloatArray:
    """Returns the share of reference and stream so far that lies above each score of the stream, ties shared at random.

    Args:
        reference: `[M]`.
        stream: `[N]`, in order.
        tie: `[N]`, uniform in [0, 1), drawn independently of the scores.

    Returns:
        `[N]`: uniform and independent while reference and stream are exchangeable.
    """
    pool: list[float] = np.sort(reference).tolist()
    first, last = np.empty(len(stream)), np.empty(len(stream))
    # Inserting into a sorted list takes a microsecond; comparing all pairs at once took five times as long.
    for place, score in enumerate(stream.tolist()):
        last[place] = at = bisect.bisect_right(pool, score)
        first[place] = bisect.bisect_left(pool, score, 0, at)
        pool.insert(at, score)
    seen = len(reference) + np.arange(1, len(stream) + 1)
    p: FloatArray = (seen - 1 - last + tie * (last - first + 1)) / seen  # it is equal to itself
    return p


def log_e_drift(
    reference: FloatArray, stream: FloatArray, tie: FloatArray, size: int = WINDOW, split: FloatArray | None = None
) -> FloatArray:
    """Returns log E of "the stream is not like the reference" after each observation, restarted in windows, `[N]`.

    Args:
        reference: `[M, S]` scores that nothing was learnt from.
        stream: `[N, S]`, in order.
        tie: `[N]`, uniform in [0, 1).
        size: Of a window; window w counts against `sequential.log_threshold(w, ...)`.
        split: `[S]`, where the bets part the ranks of each score: for scores of 0 and 1 the reference's share of 1.
            None: the bets grow evenly from one end of the ranks to the other.
    """
    found = np.zeros(len(stream))
    for start in range(0, len(stream), size):
        part = slice(start, start + size)
        logs = [
            _log_e(rank_p(reference[:, s], stream[part, s], tie[part]), None if split is None else float(split[s]))
            for s in range(stream.shape[1])
        ]
        found[part] = special.logsumexp(logs, axis=0) - np.log(len(logs))
    return found


def window_of(count: int, size: int = WINDOW) -> NDArray[np.int64]:
    """Returns the window, from 1, of each of `count` observations of one stream."""
    return windows(np.zeros(count, dtype=np.int64), size).number


def one_hot(classes: NDArray[np.integer], num_classes: int) -> FloatArray:
    """Returns `[N, K]` scores of classes `[N]`: whether it is each of them."""
    return np.asarray(np.asarray(classes)[:, None] == np.arange(num_classes), dtype=np.float64)


def _log_e(p: FloatArray, split: float | None) -> FloatArray:
    if split is None:
        bets = np.log1p(_STAKES * (p[:, None] - 0.5))
    else:
        at = min(max(split, 1e-3), 1 - 1e-3)
        bets = _split_bets(p[:, None] < at, at)
    return np.asarray(special.logsumexp(np.cumsum(bets, axis=0), axis=1) - np.log(bets.shape[1]))


def _split_bets(below: NDArray[np.bool_], t: float) -> FloatArray:
    """Returns logs of bets that the ranks fall below t more often than they should, and less often, `[N, 14]`."""
    more = np.where(below, np.log1p(_LOSSES * (1 - t) / t), np.log1p(-_LOSSES))
    less = np.where(below, np.log1p(-_LOSSES), np.log1p(_LOSSES * t / (1 - t)))
    return np.concatenate([more, less], axis=1)
