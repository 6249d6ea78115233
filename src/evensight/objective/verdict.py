"""The verdict: PASS, FAIL, INSUFFICIENT or NOT_MEASURED, for each requirement and for the objective.

PASS needs every comparison's one-sided bound at the uncorrected alpha on the good side (an intersection-union test).
FAIL is corrected for everything looked at: within a requirement by its number of comparisons, between requirements by
Holm. So P(PASS | a requirement is violated) <= alpha and P(FAIL | all are met) <= alpha, and both cannot hold.

`decide` judges one set of counts; `decide_draws` thousands of simulated ones, by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import floors, p_values
from evensight.objective.comparisons import (
    Bounds,
    Comparisons,
    NotMeasured,
    bounds,
    comparison_names,
    met,
    num_comparisons,
    p_comparisons,
)
from evensight.objective.need import Need, need

PASS, FAIL, INSUFFICIENT, NOT_MEASURED = "PASS", "FAIL", "INSUFFICIENT", "NOT_MEASURED"
STATUSES = (PASS, FAIL, INSUFFICIENT, NOT_MEASURED)
# What stands in `decide_draws` for a row that is only shown.
SHOWN = -1
_PASS, _FAIL, _INSUFFICIENT, _NOT_MEASURED = range(4)

__all__ = [
    "FAIL",
    "INSUFFICIENT",
    "NOT_MEASURED",
    "PASS",
    "SHOWN",
    "STATUSES",
    "ComparisonRow",
    "Comparisons",
    "Decision",
    "Floor",
    "Need",
    "NotMeasured",
    "Row",
    "decide",
    "decide_draws",
    "promise",
    "summarise",
]


@dataclass(frozen=True)
class Floor:
    """What chance alone gives the minimum of these rates, or their gap: its mean, and the point 5 % are worse than."""

    mean: float
    quantile: float


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison: its estimate, the one-sided bounds and its images."""

    name: str
    estimate: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Row:
    """One requirement decided. Its figures are those of its worst comparison.

    `low` and `high` are the one-sided bounds PASS uses; `p` is corrected for the comparisons of the requirement, not
    yet for the other requirements; `verdict` is None where it is only shown; `reason` says why it was not measured.
    """

    verdict: str | None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    worst: str = ""
    p: float | None = None
    need: Need | None = None
    floor: Floor | None = None
    comparisons: list[ComparisonRow] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Decision:
    """The rows in the order they were given, and the objective's verdict."""

    rows: list[Row]
    verdict: str


def decide(rows: Sequence[Comparisons | NotMeasured], alpha: float) -> Decision:
    """Judges this stage's requirements.

    Args:
        rows: The requirements this stage judges, measured or not, and any that are only shown.
        alpha: 1 - confidence.
    """
    codes, overall = decide_draws(rows, alpha)
    statuses = [None if code == SHOWN else STATUSES[code] for code in codes]
    return Decision([_row(row, status, alpha) for row, status in zip(rows, statuses, strict=True)], STATUSES[overall])


def decide_draws(rows: Sequence[Comparisons | NotMeasured], alpha: float) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Judges every draw of simulated counts.

    Args:
        rows: As for `decide`; their arrays may lead with dimensions of draws, which broadcast.
        alpha: 1 - confidence.

    Returns:
        Positions in `STATUSES`: of each row `[R, ...]` (`SHOWN` where it is only shown), and of the objective `[...]`.
    """
    measured = [row for row in rows if isinstance(row, Comparisons)]
    draws = np.broadcast_shapes((), *(np.broadcast_shapes(np.shape(row.x), np.shape(row.n))[:-1] for row in measured))
    judged = [number for number, row in enumerate(rows) if row.judged]
    codes = np.full((len(rows), *draws), SHOWN, dtype=np.int8)
    p = np.ones((len(judged), *draws))
    for place, number in enumerate(judged):
        row = rows[number]
        if isinstance(row, NotMeasured):
            codes[number] = _NOT_MEASURED
            continue
        codes[number] = np.where(met(row, alpha).all(axis=-1), _PASS, _INSUFFICIENT)
        p[place] = corrected_p(row, ceiling=alpha)
    falls = p_values.holm(p, alpha)
    codes[judged] = np.where(falls, np.int8(_FAIL), codes[judged])
    return codes, _overall(codes[judged])


def corrected_p(row: Comparisons, ceiling: float = 1.0) -> NDArray[np.float64]:
    """Returns min(1, C min_c p_c), `[...]`: the requirement's p-value of "every comparison meets the bound".

    Args:
        row: The evidence, with a bound.
        ceiling: Values above it may be given as 1.
    """
    num = num_comparisons(row)
    smallest: NDArray[np.float64] = p_comparisons(row, ceiling / num).min(axis=-1)
    return np.minimum(1.0, num * smallest)


def summarise(statuses: Iterable[str | None]) -> str:
    """Returns the objective's verdict from those of its requirements; None (only shown) does not enter."""
    codes = [STATUSES.index(status) for status in statuses if status is not None]
    return STATUSES[int(_overall(np.array(codes, dtype=np.int8)))]


def promise(alpha: float) -> str:
    """Returns the sentence that says what a verdict promises."""
    return (
        f"If some requirement is violated, the chance of PASS is at most {alpha:.3g}; "
        f"if all are met, the chance of FAIL is at most {alpha:.3g}."
    )


def _overall(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """FAIL if any FAILs, else NOT_MEASURED if any is, else PASS if all PASS, else INSUFFICIENT; none: NOT_MEASURED."""
    if codes.shape[0] == 0:
        return np.full(codes.shape[1:], _NOT_MEASURED, dtype=np.int8)
    some = [(codes == code).any(axis=0) for code in range(len(STATUSES))]
    rest = np.where(some[_INSUFFICIENT], _INSUFFICIENT, _PASS)
    return np.where(some[_FAIL], _FAIL, np.where(some[_NOT_MEASURED], _NOT_MEASURED, rest)).astype(np.int8)


def _row(row: Comparisons | NotMeasured, status: str | None, alpha: float) -> Row:
    if isinstance(row, NotMeasured):
        return Row(status, reason=row.reason)
    found = bounds(row, alpha)
    return filled_row(
        row,
        found,
        _worst(row, found, status),
        status,
        p=None if row.bound is None else float(corrected_p(row)),
        need=need(row, alpha) if status == INSUFFICIENT else None,
        floor=_floor(row),
    )


def filled_row(row: Comparisons, found: Bounds, worst: int, status: str | None, **others: Any) -> Row:
    """Returns a requirement's row with the figures of its worst comparison and all comparisons beside it.

    Args:
        row: The comparisons.
        found: Their estimates and bounds.
        worst: Place of the worst.
        status: The row's verdict.
        others: Further fields of `Row`.
    """
    shown = [
        ComparisonRow(name, float(estimate) if known else None, float(low), float(high), int(n))
        for name, estimate, known, low, high, n in zip(
            comparison_names(row), found.estimate, found.known, found.low, found.high, found.n, strict=True
        )
    ]
    one = shown[worst]
    # A pair and its reverse say the same: the one that is not below 0 is kept.
    kept = [each for each in shown if row.kind != "gap" or each.estimate is None or each.estimate >= 0]
    return Row(status, one.estimate, one.low, one.high, one.n, one.name, comparisons=kept, **others)


def _worst(row: Comparisons, found: Bounds, status: str | None) -> int:
    """Finds the comparison that failed most clearly, or else the one whose bound is furthest from passing."""
    distance = found.low if row.direction == "at_least" else -found.high
    if status == FAIL:
        return int(np.lexsort((distance, p_comparisons(row)))[0])
    estimate = found.estimate if row.direction == "at_least" else -found.estimate
    return int(np.lexsort((estimate, distance))[0])


def _floor(row: Comparisons) -> Floor | None:
    """Informs, never decides. Only a minimum of several rates and a gap have one, where every cell has images."""
    n = np.asarray(row.n, dtype=np.int64)
    is_minimum = row.kind == "rate" and row.direction == "at_least" and n.size > 1
    if not (is_minimum or row.kind == "gap") or n.min() == 0:
        return None
    if row.by_class is not None:
        return Floor(*floors.permuted_floor(*row.by_class, gap=row.kind == "gap"))
    pooled = float(np.sum(row.x) / np.sum(n))
    return Floor(*(floors.gap_floor(n, pooled) if row.kind == "gap" else floors.worst_floor(n, pooled)))
