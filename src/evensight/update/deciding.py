"""Champion or challenger: the rule, as pure functions of counts. Arrays may lead with dimensions of draws.

Both models see the same images. In a cell, b images are right under the champion alone and c under the challenger
alone. The challenger takes over when it

1. FAILs no requirement, and leaves none undecided that the champion PASSes;
2. is significantly worse in no cell (exact one-sided McNemar, Holm over the cells), and in every cell a loss of `harm`
   or more is excluded (Tango's score with a correction of one image, each cell at alpha, uncorrected: all have to
   exclude it, an intersection-union test);
   Where the champion FAILs the objective and the challenger PASSes all of it, and the objective bounds the accuracy of
   every cell, that bound stands in for `harm`: one that meets the objective takes the place of one that violates it;
3. has a reason: a requirement that the champion FAILs, or significantly more images right overall, by the primary
   metric or in a cell (exact one-sided McNemar, Holm over all of these).

FAIL or worse: REFUSE. Undecided or not excluded: INSUFFICIENT. No reason: REFUSE. Each error is bounded by alpha: to
promote a challenger that loses `harm` in some cell (in the place of a champion that violates the objective: one that
violates it, too), to refuse for a cell one that is worse in none, and to promote for being better one that is better
nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evensight.metrics.p_values import binomial_cdf, holm
from evensight.metrics.paired import paired_p
from evensight.objective.verdict import FAIL, PASS, SHOWN, STATUSES

PROMOTE, REFUSE, INSUFFICIENT = "PROMOTE", "REFUSE", "INSUFFICIENT"
RESULTS = (PROMOTE, REFUSE, INSUFFICIENT)
HARM = 0.05  # accuracy of a cell that a challenger must be shown not to lose

_PASS, _FAIL, _SHOWN = STATUSES.index(PASS), STATUSES.index(FAIL), SHOWN

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Two models on the same images, by comparison.

    Attributes:
        b: `[..., G]` images that only the champion got right.
        c: `[..., G]` images that only the challenger got right.
        n: `[..., G]` all images.
    """

    b: NDArray[Any]
    c: NDArray[Any]
    n: NDArray[Any]

    def joined(self, other: Pairs) -> Pairs:
        """Returns the comparisons of both, these first."""
        mine, theirs = (np.broadcast_arrays(each.b, each.c, each.n) for each in (self, other))
        return Pairs(*(np.concatenate(both, axis=-1) for both in zip(mine, theirs, strict=True)))


@dataclass(frozen=True)
class Rule:
    """What the rule found.

    Attributes:
        result: `[...]` positions in `RESULTS`.
        worse: `[..., G]` cells in which the challenger is significantly worse.
        harmless: `[..., G]` cells in which a loss of `harm` is excluded.
        meets: `[...]` whether the champion FAILs the objective, and the challenger PASSes all of it, cell by cell.
        better: `[..., G + M]` cells, then wholes, in which it is significantly better.
        fails: `[R, ...]` requirements that it FAILs.
        undecided: `[R, ...]` requirements that the champion PASSes and it does not.
        repaired: `[R, ...]` requirements that the champion FAILs and it does not.
    """

    result: NDArray[np.int8]
    worse: Bools
    harmless: Bools
    meets: Bools
    better: Bools
    fails: Bools
    undecided: Bools
    repaired: Bools


def rule(
    cells: Pairs,
    wholes: Pairs,
    champion: ArrayLike,
    challenger: ArrayLike,
    alpha: float,
    harm: float = HARM,
    bounded: bool = False,
) -> Rule:
    """Decides.

    Args:
        cells: `[..., G]`; a cell without images excludes no harm.
        wholes: `[..., M]` what is looked at for a gain beside the cells: overall, the primary metric.
        champion: `[R, ...]` its requirements, positions in `objective.verdict.STATUSES`, -1 where only shown.
        challenger: Likewise.
        alpha: 1 - confidence.
        harm: Accuracy that no cell may lose.
        bounded: Whether the requirements bound the accuracy of every cell.
    """
    old, new = np.asarray(champion), np.asarray(challenger)
    fails, undecided = new == _FAIL, (old == _PASS) & (new != _PASS) & (new != _FAIL)
    repaired = (old == _FAIL) & (new != _FAIL)
    worse = _fallen(worse_p(cells), alpha)
    harmless = np.asarray(harm_p(cells, harm) <= alpha)
    better = _fallen(better_p(cells.joined(wholes)), alpha)
    refused = fails.any(axis=0) | worse.any(axis=-1)
    passes = ((new == _PASS) | (new == _SHOWN)).all(axis=0)
    meets = np.asarray(bounded & passes & repaired.any(axis=0))
    is_open = undecided.any(axis=0) | ~(harmless.all(axis=-1) | meets)
    reason = repaired.any(axis=0) | better.any(axis=-1)
    codes = np.where(refused, 1, np.where(is_open, 2, np.where(reason, 0, 1)))
    return Rule(codes.astype(np.int8), worse, harmless, meets, better, fails, undecided, repaired)


def worse_p(pairs: Pairs) -> Floats:
    """Returns the exact p-value of "the challenger is not worse" `[..., G]`: P(Bin(b + c, 1/2) >= b) (McNemar 1947)."""
    return _at_most(pairs.c, pairs.b + pairs.c)


def better_p(pairs: Pairs) -> Floats:
    """Returns the exact p-value of "the challenger is not better" `[..., G]`: P(Bin(b + c, 1/2) >= c)."""
    return _at_most(pairs.b, pairs.b + pairs.c)


def harm_p(pairs: Pairs, harm: float) -> Floats:
    """Returns the p-value of "the challenger loses `harm` or more" `[..., G]`; 1 without an image."""
    return paired_p(pairs.c, pairs.b, pairs.n, -harm)


def _at_most(x: NDArray[Any], n: NDArray[Any]) -> Floats:
    """P(Bin(n, 1/2) <= x); simulated decisions repeat few counts very often."""
    x, n = np.broadcast_arrays(np.asarray(x, np.int64), np.asarray(n, np.int64))
    base = int(n.max(initial=0)) + 1
    pairs, inverse = np.unique(n * base + x, return_inverse=True)
    found: Floats = binomial_cdf(pairs % base, pairs // base, 0.5)[inverse.reshape(x.shape)]
    return found


def _fallen(p: Floats, alpha: float) -> Bools:
    return np.moveaxis(holm(np.moveaxis(p, -1, 0), alpha), 0, -1)
