"""What a requirement's verdict rests on: counts of its comparisons, and how each kind of them is bounded and tested.

Arrays may lead with dimensions of draws (simulated test sets); the last dimension is always the comparisons, or the
groups of a gap. The same functions serve one real verdict and thousands of simulated ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import intervals, p_values, paired

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Kind = Literal["rate", "gap", "paired", "value"]
Direction = Literal["at_least", "at_most"]


@dataclass(frozen=True)
class Comparisons:
    """One requirement's evidence.

    Args:
        kind: `rate` (x of n images), `gap` (the rates of G groups, compared as G(G-1) ordered pairs), `paired` (two
            outcomes on the same images: x only the first, y only the second) or `value` (a number without error).
        names: Names of the last dimension: the comparisons, or the groups of a gap.
        x: `[..., C]` successes; `paired`: images where only the first happened; `value`: the value.
        n: `[..., C]` images; for a value those it was taken of, or ones.
        bound: What the rate, the difference or the value is held to; None where it is only shown.
        direction: Which side of the bound is good.
        y: `[..., C]` images where only the second happened (`paired` alone).
        shown_only: Shown without a verdict although it has a bound (another stage judges it).
        by_class: x and n of the same groups by class, each `[K, C]`: where classes differ, the chance floor keeps each
            class's successes and permutes who has them.

    Raises:
        ValueError: If shapes, names, kind and direction do not fit together.
    """

    kind: Kind
    names: tuple[str, ...]
    x: NDArray[Any]
    n: NDArray[Any]
    bound: float | None
    direction: Direction
    y: NDArray[Any] | None = None
    shown_only: bool = False
    by_class: tuple[NDArray[Any], NDArray[Any]] | None = None

    def __post_init__(self) -> None:
        least = 2 if self.kind == "gap" else 1
        if len(self.names) < least:
            raise ValueError(f"comparisons: a {self.kind} of {len(self.names)} names; allowed: {least} or more.")
        for name, array in (("x", self.x), ("n", self.n), ("y", self.y)):
            if array is not None and np.shape(array)[-1:] != (len(self.names),):
                raise ValueError(f"comparisons: {name} has shape {np.shape(array)} for {len(self.names)} names.")
        if (self.y is not None) != (self.kind == "paired"):
            raise ValueError(f"comparisons: y belongs to the kind 'paired' and to no other; found kind {self.kind!r}.")
        if self.kind == "gap" and self.direction != "at_most":
            raise ValueError("comparisons: a gap is held to at_most; found at_least.")

    @property
    def judged(self) -> bool:
        """Whether this requirement has a verdict here."""
        return self.bound is not None and not self.shown_only


@dataclass(frozen=True)
class NotMeasured:
    """A requirement that this stage could not look at, and why; without a bound it is only shown."""

    reason: str
    bound: float | None
    shown_only: bool = False

    @property
    def judged(self) -> bool:
        """Whether this requirement has a verdict here."""
        return self.bound is not None and not self.shown_only


@dataclass(frozen=True)
class Bounds:
    """Estimate and one-sided bounds of every comparison, `[..., C]`, and its images.

    `known` is False where a comparison lacks images: its estimate means nothing.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    n: NDArray[np.int64]
    known: BoolArray


def pairs(num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the groups of each ordered pair, `[G(G-1)]` each: the rate of the first less that of the second."""
    first, second = np.nonzero(~np.eye(num_groups, dtype=bool))
    return first, second


def comparison_names(row: Comparisons) -> tuple[str, ...]:
    """Returns the names of the comparisons: the row's own, or "a > b" for each ordered pair of a gap."""
    if row.kind != "gap":
        return row.names
    return tuple(f"{row.names[i]} > {row.names[j]}" for i, j in zip(*pairs(len(row.names)), strict=True))


def num_comparisons(row: Comparisons) -> int:
    """Returns C of the row: what the p-values of a FAIL are corrected for."""
    return len(row.names) * (len(row.names) - 1) if row.kind == "gap" else len(row.names)


def bounds(row: Comparisons, alpha: float) -> Bounds:
    """Returns estimate and bounds of every comparison, each bound at `alpha` of its one side."""
    if row.kind == "value":
        value = np.asarray(row.x, dtype=np.float64)
        return Bounds(value, value, value, np.asarray(row.n, dtype=np.int64), np.ones(value.shape, dtype=np.bool_))
    if row.kind == "gap":
        x1, n1, x2, n2 = _pair_counts(row)
        low, high = intervals.mover_clopper_pearson(x1, n1, x2, n2, alpha)
        estimate = intervals.rate(x1, n1) - intervals.rate(x2, n2)
        return Bounds(estimate, low, high, n1 + n2, (n1 > 0) & (n2 > 0))
    n = np.asarray(row.n, dtype=np.int64)
    if row.kind == "paired":
        low, high = paired.tango_interval(row.x, _second(row), n, alpha)
        return Bounds((row.x - _second(row)) / np.maximum(n, 1), low, high, n, n > 0)
    low, high = intervals.clopper_pearson(row.x, n, alpha)
    return Bounds(intervals.rate(row.x, n), low, high, n, n > 0)


def met(row: Comparisons, alpha: float) -> BoolArray:
    """Returns which comparisons lie on the good side of the bound, `[..., C]`, each at `alpha`, uncorrected.

    A comparison without an image never does.
    """
    bound = _bound(row)
    if row.kind == "value":
        value = np.asarray(row.x, dtype=np.float64)
        return np.asarray(value >= bound if row.direction == "at_least" else value <= bound)
    if row.kind == "gap":
        x1, n1, x2, n2 = _pair_counts(row)
        return (intervals.mover_clopper_pearson(x1, n1, x2, n2, alpha)[1] <= bound) & (n1 > 0) & (n2 > 0)
    n = np.asarray(row.n)
    if row.kind == "paired":
        b, c, bound = _at_most(row)
        good = paired.paired_p(c, b, n, -bound) <= alpha
    elif row.direction == "at_least":
        good = intervals.clopper_pearson_lower(row.x, n, alpha) >= bound
    else:
        good = intervals.clopper_pearson_upper(row.x, n, alpha) <= bound
    return np.asarray(good & (n > 0))


def p_comparisons(row: Comparisons, ceiling: float = 1.0) -> FloatArray:
    """Returns each comparison's p-value of "the bound is met", `[..., C]`, uncorrected; 1 without an image.

    Args:
        row: The evidence, with a bound.
        ceiling: Values above it may be given as 1 where finding them is dear (gaps).
    """
    bound = _bound(row)
    if row.kind == "value":
        return np.where(met(row, 0.0), 1.0, 0.0)
    if row.kind == "gap":
        return p_values.gap_p(*_pair_counts(row), bound=bound, ceiling=ceiling)
    if row.kind == "paired":
        b, c, bound = _at_most(row)
        return paired.paired_p(b, c, row.n, bound)
    if row.direction == "at_most":
        return p_values.rate_p(np.asarray(row.n) - row.x, row.n, 1.0 - bound)
    return p_values.rate_p(row.x, row.n, bound)


def _bound(row: Comparisons) -> float:
    if row.bound is None:
        raise ValueError("comparisons: a row without a bound is shown, not decided.")
    return row.bound


def _second(row: Comparisons) -> NDArray[Any]:
    assert row.y is not None  # held by __post_init__
    return row.y


def _at_most(row: Comparisons) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Gives a paired row as b, c and a bound the difference may be at most: "at least" is its mirror image."""
    b, c, bound = row.x, _second(row), _bound(row)
    return (b, c, bound) if row.direction == "at_most" else (c, b, -bound)


def _pair_counts(row: Comparisons) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    first, second = pairs(len(row.names))
    x, n = np.broadcast_arrays(row.x, row.n)
    return x[..., first], n[..., first], x[..., second], n[..., second]
