"""INSUFFICIENT, and how many images more: of which comparison, if the truth is about what was seen.

Open comparisons are shrunk toward the requirement's mean as far as chance alone explains how they differ. The images
needed are those with which every open comparison passes, all together with chance .8: exact for rates, by seeded
simulation for gaps and paired differences (steps of 2 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import intervals, paired, planning
from evensight.objective.comparisons import Comparisons, met

POWER = 0.8
# A likely truth nearer to the bound than this takes more images than it is worth to say.
_TOO_NEAR = 0.005
_WOULD_FAIL = "more images would more likely fail it"
_DRAWS = 1_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Need:
    """How many images more, of what; None images where more would more likely fail it, or no number would do."""

    images: int | None
    of: str
    note: str = ""


def need(row: Comparisons, alpha: float) -> Need | None:
    """Returns what a requirement that neither passed nor failed needs; None where images do not help (a value)."""
    if row.kind == "value":
        return None
    find = {"rate": _rates, "gap": _gap, "paired": _paired}[row.kind]
    return find(row, alpha)


def shrunk(x: NDArray[Any], n: NDArray[Any]) -> FloatArray:
    """Returns each rate moved toward the mean of all as far as chance alone explains how they differ, `[C]`.

    p~ = m + w (p - m), w = t2 / (t2 + m(1 - m)/n), t2 = max(0, var(p) - mean of m(1 - m)/n): the empirical Bayes
    estimate of rates. A cell without images gets the mean.
    """
    seen = np.asarray(n) > 0
    mean = float(np.sum(x) / np.sum(n))
    rates = np.where(seen, x / np.maximum(n, 1), mean)
    noise = np.where(seen, mean * (1 - mean) / np.maximum(n, 1), np.inf)
    spread = float(np.var(rates[seen], ddof=1)) if seen.sum() > 1 else 0.0
    between = max(0.0, spread - float(noise[seen].mean()))
    if between == 0.0:
        return np.full(rates.shape, mean)
    return np.asarray(mean + between / (between + noise) * (rates - mean))


def _rates(row: Comparisons, alpha: float) -> Need:
    bound = float(row.bound or 0.0)
    x, n = np.broadcast_arrays(row.x, row.n)
    if row.direction == "at_most":  # the mirror image: as many that are not
        x, bound = n - x, 1.0 - bound
    still_open = np.nonzero(~met(row, alpha))[0]
    if n.sum() == 0:
        least = planning.least_n(bound, alpha)
        return Need(least, row.names[0], "of each, at the least: there is no image yet")
    likely = shrunk(x, n)
    nearest = min(still_open, key=lambda at: likely[at])
    if likely[nearest] <= bound + _TOO_NEAR:
        return Need(None, row.names[nearest], _WOULD_FAIL)
    each = POWER ** (1 / still_open.size)
    more = [planning.more_images(int(x[at]), int(n[at]), float(likely[at]), bound, alpha, each) for at in still_open]
    return _dearest([row.names[at] for at in still_open], more)


def _dearest(names: list[str], more: list[int | None]) -> Need:
    """Names the comparison that needs most, and what all open ones need together."""
    for name, images in zip(names, more, strict=True):
        if images is None:
            return Need(None, name, f"over {planning.MOST:,} images")
    numbers = [images for images in more if images is not None]
    at = int(np.argmax(numbers))
    note = f"{len(names)} are open; {sum(numbers):,} images in all" if len(names) > 1 else ""
    return Need(numbers[at], names[at], note)


def _gap(row: Comparisons, alpha: float) -> Need:
    bound = float(row.bound or 0.0)
    x, n = np.broadcast_arrays(row.x, row.n)
    if n.sum() == 0:
        return Need(planning.least_n_gap(bound, alpha), "each group", "at the least: there is no image yet")
    likely = shrunk(x, n)
    high, low = int(likely.argmax()), int(likely.argmin())
    if likely[high] - likely[low] >= bound - _TOO_NEAR:
        return Need(None, f"{row.names[high]} > {row.names[low]}", _WOULD_FAIL)

    def power(size: int) -> float:
        more = np.maximum(size - n, 0)
        drawn = x + np.random.default_rng(0).binomial(more, likely, size=(_DRAWS, n.size))
        sizes = np.broadcast_to(n + more, drawn.shape)
        rates = intervals.rate(drawn, sizes)
        lower, upper = intervals.clopper_pearson(drawn, sizes, alpha)
        _, high = intervals.mover(
            rates[:, :, None], (lower[:, :, None], upper[:, :, None]), rates[:, None], (lower[:, None], upper[:, None])
        )
        high[:, np.arange(n.size), np.arange(n.size)] = -1.0
        return float((high <= bound).all(axis=(1, 2)).mean())

    size = planning.least_size(power, int(n.min()) + 1, POWER)
    if size is None:
        return Need(None, "each group", f"over {planning.MOST:,} images")
    return Need(int(np.maximum(size - n, 0).sum()), f"all groups, to {size:,} each")


def _paired(row: Comparisons, alpha: float) -> Need:
    assert row.y is not None  # held by Comparisons
    first, second, bound = np.asarray(row.x), np.asarray(row.y), float(row.bound or 0.0)
    if row.direction == "at_least":  # the mirror image
        first, second, bound = second, first, -bound
    n = np.broadcast_to(row.n, first.shape)
    still_open = np.nonzero(~met(row, alpha))[0]
    if n.min() == 0:
        least = planning.least_n_paired(abs(bound), alpha, at_least=row.direction == "at_least")
        return Need(least, row.names[int(n.argmin())], "at the least: there is no image yet")
    nearest = max(still_open, key=lambda at: (first[at] - second[at]) / n[at])
    if (first[nearest] - second[nearest]) / n[nearest] >= bound - _TOO_NEAR:
        return Need(None, row.names[nearest], _WOULD_FAIL)
    each = POWER ** (1 / still_open.size)
    more = [_paired_more(int(first[at]), int(second[at]), int(n[at]), bound, alpha, each) for at in still_open]
    return _dearest([row.names[at] for at in still_open], more)


def _paired_more(b: int, c: int, n: int, bound: float, alpha: float, chance: float) -> int | None:
    shares = [b / n, c / n, 1 - (b + c) / n]

    def power(size: int) -> float:
        drawn = np.random.default_rng(0).multinomial(size - n, shares, size=_DRAWS)
        return float((paired.paired_p(c + drawn[:, 1], b + drawn[:, 0], size, -bound) <= alpha).mean())

    size = planning.least_size(power, n + 1, chance)
    return None if size is None else size - n
