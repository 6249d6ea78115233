"""If these fail, a verdict does not keep what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from evensight.objective.comparisons import met
from evensight.objective.verdict import (
    FAIL,
    INSUFFICIENT,
    NOT_MEASURED,
    PASS,
    SHOWN,
    STATUSES,
    Comparisons,
    NotMeasured,
    corrected_p,
    decide,
    decide_draws,
    promise,
    summarise,
)


def rate(x: Any, n: Any, bound: float | None = 0.9, **more: Any) -> Comparisons:
    x, n = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(n))
    return Comparisons("rate", tuple(f"c{i}" for i in range(x.shape[-1])), x, n, bound, "at_least", **more)


def value(found: float, bound: float = 10.0) -> Comparisons:
    return Comparisons("value", ("model.ts",), np.array([found]), np.ones(1), bound, "at_most")


def paired(b: int, c: int, n: int, bound: float, direction: str = "at_most") -> Comparisons:
    return Comparisons("paired", ("one",), np.array([b]), np.array([n]), bound, direction, y=np.array([c]))  # type: ignore[arg-type]


def gap(x: Any, n: Any, bound: float = 0.05) -> Comparisons:
    x, n = np.broadcast_arrays(x, n)
    return Comparisons("gap", tuple(f"g{i}" for i in range(x.shape[-1])), x, n, bound, "at_most")


def verdicts(*rows: Comparisons | NotMeasured, alpha: float = 0.05) -> list[str | None]:
    return [row.verdict for row in decide(rows, alpha).rows]


# One requirement


def test_rate_by_its_exact_bound() -> None:
    """59 of 59 is the first that passes .95; 46 of 59 is P(Bin(59, .95) <= 46) < .05."""
    assert verdicts(rate(59, 59, 0.95)) == [PASS]
    assert verdicts(rate(58, 58, 0.95)) == [INSUFFICIENT]
    fails = int(stats.binom.ppf(0.05, 59, 0.95)) - 1
    assert stats.binom.cdf(fails, 59, 0.95) <= 0.05 < stats.binom.cdf(fails + 1, 59, 0.95)
    assert verdicts(rate(fails, 59, 0.95)) == [FAIL]
    assert verdicts(rate(fails + 1, 59, 0.95)) == [INSUFFICIENT]


def test_rate_at_most_is_the_mirror_image() -> None:
    for x in range(60):
        errors = Comparisons("rate", ("e",), np.array([59 - x]), np.array([59]), 0.05, "at_most")
        assert verdicts(errors) == verdicts(rate(x, 59, 0.95))


def test_every_comparison_must_pass_and_none_is_corrected() -> None:
    """200 images at .90: 188 is the least that passes, with one cell or a hundred."""
    assert stats.beta.ppf(0.05, 187, 14) < 0.9 < stats.beta.ppf(0.05, 188, 13)
    assert verdicts(rate(np.full(100, 188), 200)) == [PASS]
    assert verdicts(rate([187, *[200] * 99], 200)) == [INSUFFICIENT]


def test_fail_is_corrected_for_the_comparisons() -> None:
    p = stats.binom.cdf(170, 200, 0.9)  # .015
    assert 0.05 / 10 < p < 0.05
    assert verdicts(rate(170, 200)) == [FAIL]
    assert verdicts(rate([170, *[180] * 9], 200)) == [INSUFFICIENT]


def test_fail_is_corrected_between_requirements_measured_or_not() -> None:
    """Holm: p .016 falls among three, not among five; each that certainly fails leaves the rest an easier step."""
    row = rate(170, 200)
    assert verdicts(row, *[NotMeasured("", 0.5)] * 2)[0] == FAIL
    assert verdicts(row, *[NotMeasured("", 0.5)] * 4)[0] == INSUFFICIENT
    assert verdicts(row, *[NotMeasured("", None)] * 4)[0] == FAIL  # shown rows are not counted
    assert verdicts(row, *[NotMeasured("", 0.5, shown_only=True)] * 4)[0] == FAIL
    assert verdicts(row, value(11), *[NotMeasured("", 0.5)] * 3)[0] == INSUFFICIENT
    assert verdicts(row, value(11), value(11), *[NotMeasured("", 0.5)] * 2)[0] == FAIL


def test_gap() -> None:
    assert verdicts(gap([750, 748, 745], 752)) == [PASS]
    assert verdicts(gap([750, 740, 715], 752)) == [INSUFFICIENT]
    assert verdicts(gap([750, 740, 640], 752)) == [FAIL]
    row = decide([gap([750, 740, 640], 752)], 0.05).rows[0]
    assert row.worst == "g0 > g2"
    assert row.estimate == pytest.approx(110 / 752)
    assert [one.name for one in row.comparisons] == ["g0 > g1", "g0 > g2", "g1 > g2"]


def test_paired_both_ways() -> None:
    assert verdicts(paired(3, 2, 1000, 0.05)) == [PASS]
    assert verdicts(paired(45, 2, 1000, 0.05)) == [INSUFFICIENT]
    assert verdicts(paired(90, 2, 1000, 0.05)) == [FAIL]
    for b in range(0, 100, 5):
        mirrored = paired(2, b, 1000, -0.05, "at_least")
        assert verdicts(mirrored) == verdicts(paired(b, 2, 1000, 0.05))
    assert verdicts(paired(850, 10, 1000, 0.5, "at_least")) == [PASS]


def test_paired_figures_agree_with_the_verdict() -> None:
    for b in range(30, 70):
        row = decide([paired(b, 2, 1000, 0.05)], 0.05).rows[0]
        assert row.low is not None and row.high is not None
        assert (row.verdict == PASS) == (row.high <= 0.05)
        assert (row.verdict == FAIL) == (row.low >= 0.05)


def test_value_is_decided_without_error() -> None:
    assert verdicts(value(10.0), value(10.1)) == [PASS, FAIL]


def test_no_image_is_insufficient_never_dropped() -> None:
    assert verdicts(rate([500, 0], [500, 0])) == [INSUFFICIENT]
    assert verdicts(rate([500, 0], [500, 0], bound=0.0)) == [INSUFFICIENT]
    assert verdicts(gap([500, 500, 0], [500, 500, 0], bound=1.0)) == [INSUFFICIENT]
    assert verdicts(paired(0, 0, 0, 0.9)) == [INSUFFICIENT]
    row = decide([rate([500, 0], [500, 0])], 0.05).rows[0]
    assert (row.worst, row.n, row.estimate, row.low, row.high) == ("c1", 0, None, 0.0, 1.0)


def test_what_is_shown_has_figures_and_no_verdict() -> None:
    decision = decide([rate([90, 80], 100, bound=None), rate(50, 100, shown_only=True), rate(100, 100)], 0.05)
    assert [row.verdict for row in decision.rows] == [None, None, PASS]
    assert decision.verdict == PASS
    assert decision.rows[0].estimate == 0.8
    assert decision.rows[0].p is None


def test_row_carries_its_worst_comparison() -> None:
    row = decide([rate([99, 85, 95], 100)], 0.05).rows[0]
    assert (row.worst, row.estimate, row.n) == ("c1", 0.85, 100)
    assert row.low == pytest.approx(stats.beta.ppf(0.05, 85, 16))
    assert row.high == pytest.approx(stats.beta.ppf(0.95, 86, 15))
    assert row.p == pytest.approx(3 * stats.binom.cdf(85, 100, 0.9))
    assert row.floor is not None and 0.85 < row.floor.quantile < row.floor.mean < 0.95


def test_floor_permutes_within_class_where_given() -> None:
    """One class is half wrong and lives in one group: its group's rate is no surprise."""
    x, n = np.array([[100, 0], [0, 50]]), np.array([[100, 0], [0, 100]])
    row = decide([rate([100, 50], 100, by_class=(x, n))], 0.05).rows[0]
    assert row.floor is not None and row.floor.mean == 0.5


# The objective


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([PASS, PASS], PASS),
        ([PASS, INSUFFICIENT], INSUFFICIENT),
        ([PASS, NOT_MEASURED, INSUFFICIENT], NOT_MEASURED),
        ([NOT_MEASURED, FAIL, PASS], FAIL),
        ([None, PASS, None], PASS),
        ([None], NOT_MEASURED),
        ([], NOT_MEASURED),
    ],
)
def test_objective_from_its_requirements(statuses: list[str | None], expected: str) -> None:
    assert summarise(statuses) == expected


def test_nothing_judged_is_not_measured() -> None:
    assert decide([], 0.05).verdict == NOT_MEASURED
    assert decide([rate(5, 10, bound=None)], 0.05).verdict == NOT_MEASURED
    row = decide([NotMeasured("no mask", 0.5)], 0.05).rows[0]
    assert (row.verdict, row.reason) == (NOT_MEASURED, "no mask")


def test_promise_names_the_level() -> None:
    assert "at most 0.05" in promise(0.05)


# Draws


def random_rows(rng: np.random.Generator, draws: int) -> list[Comparisons | NotMeasured]:
    n = rng.integers(0, 400, size=6)
    p = rng.uniform(0.7, 1.0, size=(draws, 6))
    x = rng.binomial(n, p)
    b, c, _ = rng.multinomial(300, [0.06, 0.02, 0.92], size=(draws, 2)).transpose(2, 0, 1)
    return [
        rate(x, n, bound=0.85),
        gap(x[:, 1:], n[1:], bound=0.1),
        Comparisons("paired", ("hue", "luma"), b, np.full(2, 300), 0.05, "at_most", y=c),
        Comparisons("paired", ("rival",), c[:, :1], np.array([300]), 0.01, "at_least", y=b[:, :1]),
        Comparisons("value", ("size",), np.array([3.0]), np.ones(1), 5.0, "at_most"),
        NotMeasured("not yet", None),
    ]


def one(row: Comparisons | NotMeasured, draw: int) -> Comparisons | NotMeasured:
    if isinstance(row, NotMeasured) or np.ndim(row.x) == 1:
        return row
    y = None if row.y is None else row.y[draw]
    return Comparisons(
        row.kind, row.names, row.x[draw], row.n if row.n.ndim == 1 else row.n[draw], row.bound, row.direction, y=y
    )


def test_draws_and_single_verdicts_are_the_same() -> None:
    rows = random_rows(np.random.default_rng(0), 25)
    codes, overall = decide_draws(rows, 0.05)
    assert codes.shape == (6, 25)
    for draw in range(25):
        decision = decide([one(row, draw) for row in rows], 0.05)
        assert [SHOWN if row.verdict is None else STATUSES.index(row.verdict) for row in decision.rows] == list(
            codes[:, draw]
        )
        assert decision.verdict == STATUSES[overall[draw]]


@pytest.mark.parametrize("seed", range(5))
def test_pass_and_fail_exclude_each_other(seed: int) -> None:
    rows = [row for row in random_rows(np.random.default_rng(seed), 300) if isinstance(row, Comparisons)]
    for alpha in (0.01, 0.05, 0.3):
        for row in rows:
            both = met(row, alpha).all(axis=-1) & (corrected_p(row) <= alpha)
            assert not both.any()


def test_names_and_order_change_nothing() -> None:
    rng = np.random.default_rng(3)
    for row in random_rows(rng, 40)[:3]:
        assert isinstance(row, Comparisons)
        order = rng.permutation(len(row.names))
        names = tuple(f"other {i}" for i in order)
        n = np.broadcast_to(row.n, row.x.shape)[:, order]
        y = None if row.y is None else row.y[:, order]
        again = Comparisons(row.kind, names, row.x[:, order], n, row.bound, row.direction, y=y)
        assert np.array_equal(decide_draws([row], 0.05)[0], decide_draws([again], 0.05)[0])
        first, second = (decide([one(each, 0)], 0.05).rows[0] for each in (row, again))
        assert (first.estimate, first.low, first.high, first.p) == (second.estimate, second.low, second.high, second.p)


# What is promised, by enumeration


@pytest.mark.parametrize("n", [20, 59, 100, 200])
@pytest.mark.parametrize("bound", [0.5, 0.8, 0.9, 0.95])
def test_one_cell_errs_at_most_nominal(n: int, bound: float) -> None:
    x = np.arange(n + 1)
    chance = stats.binom.pmf(x, n, bound)
    codes, _ = decide_draws([rate(x[:, None], n, bound)], 0.05)
    assert chance[codes[0] == 0].sum() <= 0.051
    assert chance[codes[0] == 1].sum() <= 0.051


@pytest.mark.parametrize(("cells", "expected"), [(1, 0.042), (10, 0.027), (100, 0.042)])
def test_false_fail_of_many_cells_at_the_bound(cells: int, expected: float) -> None:
    """200 images a cell, all at .90: the stated figures are of a simulation; the enumeration lies within its error."""
    x = np.arange(201)
    chance = stats.binom.pmf(x, 200, 0.9)
    counts = np.full((201, cells), 200)
    counts[:, 0] = x
    codes, _ = decide_draws([rate(counts, 200)], 0.05)
    none = 1 - chance[codes[0] == 1].sum()
    assert 1 - none**cells <= 0.051
    assert 1 - none**cells == pytest.approx(expected, abs=0.005)


def test_false_pass_of_hundred_cells() -> None:
    """One cell at .90, the others perfect: .033 by simulation."""
    x = np.arange(201)
    counts = np.full((201, 100), 200)
    counts[:, 0] = x
    codes, _ = decide_draws([rate(counts, 200)], 0.05)
    assert stats.binom.pmf(x, 200, 0.9)[codes[0] == 0].sum() == pytest.approx(0.033, abs=0.002)


# Mistakes of the caller


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gap", ("a",), np.ones(1), np.ones(1), 0.1, "at_most"), "2 or more"),
        (("gap", ("a", "b"), np.ones(2), np.ones(2), 0.1, "at_least"), "held to at_most"),
        (("rate", ("a", "b"), np.ones(3), np.ones(3), 0.1, "at_least"), "shape"),
        (("paired", ("a",), np.ones(1), np.ones(1), 0.1, "at_most"), "y belongs to"),
    ],
)
def test_comparisons_that_do_not_fit_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Comparisons(*arguments)
