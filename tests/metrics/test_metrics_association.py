"""If these fail, the audit calls chance an association, or misses one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from evensight.metrics import p_values
from evensight.metrics.association import (
    association,
    cramers_v,
    cramers_v_interval,
    crossed,
    permutation_p,
    quantile_levels,
)
from evensight.metrics.multiplicity import draws_for, holm_adjusted


def by_bergsma(table: NDArray[Any]) -> float:
    """The formula of the paper, from scipy's chi-squared."""
    n = table.sum()
    phi2 = stats.chi2_contingency(table, correction=False).statistic / n
    r, c = table.shape
    corrected = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    return float(np.sqrt(corrected / (min(rows, columns) - 1)))


@pytest.mark.parametrize("seed", range(6))
def test_v_is_bergsmas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 40, size=rng.integers(2, 7, size=2))
    assert cramers_v(table) == pytest.approx(by_bergsma(table), abs=1e-12)


def test_v_of_many_images_is_scipys_uncorrected_one() -> None:
    table = np.array([[20, 35, 5], [10, 10, 60]])
    expected = stats.contingency.association(table, method="cramer", correction=False)
    assert cramers_v(table * 100_000) == pytest.approx(expected, abs=1e-5)


def test_ends() -> None:
    assert cramers_v(np.diag([50, 30, 20])) == pytest.approx(1.0, abs=1e-12)
    assert cramers_v([[25, 25], [25, 25]]) == 0.0
    assert cramers_v([[3, 5, 2]]) == cramers_v([[0, 0], [0, 0]]) == cramers_v([[7]]) == 0.0
    assert cramers_v([[3, 0, 4], [0, 0, 0], [5, 0, 1]]) == cramers_v([[3, 4], [5, 1]])
    assert cramers_v_interval([[3, 5, 2]], 0.05) == (0.0, 1.0)


def test_chance_gives_no_v_on_average_where_the_uncorrected_one_is_large() -> None:
    rng = np.random.default_rng(0)
    squared, raw = [], []
    for _ in range(300):
        table = rng.multinomial(100, np.full(64, 1 / 64)).reshape(8, 8)
        kept = table[table.any(axis=1)][:, table.any(axis=0)]
        squared.append(cramers_v(table) ** 2)
        raw.append(stats.contingency.association(kept, method="cramer") ** 2)
    assert np.mean(raw) > 0.06
    assert np.mean(squared) < 0.01


def population(size: int, strength: float) -> NDArray[np.float64]:
    """Joint chances of two columns of `size` levels: equal with chance `strength`, else independent. V = strength."""
    share = np.full(size, 1 / size)
    return (1 - strength) * np.outer(share, share) + strength * np.diag(share)


@pytest.mark.parametrize(("size", "strength"), [(2, 0.0), (4, 0.0), (4, 0.1), (6, 0.3), (3, 0.9)])
def test_bounds_err_at_most_about_as_often_as_stated(size: int, strength: float) -> None:
    """Of 400 draws, a side that errs 5 % of the time errs more than 34 times in one test of a thousand."""
    rng = np.random.default_rng(size)
    wrong = np.zeros(2)
    for _ in range(400):
        table = rng.multinomial(500, population(size, strength).ravel()).reshape(size, size)
        low, high = cramers_v_interval(table, 0.05)
        wrong += [low > strength, high < strength - 1e-9]
    assert wrong.max() <= 34


def test_the_width_is_that_of_what_v_varies_by() -> None:
    rng = np.random.default_rng(1)
    tables = rng.multinomial(2000, population(4, 0.4).ravel(), size=2000).reshape(-1, 4, 4)
    spread = np.std([cramers_v(table) for table in tables[:1000]])
    widths = [np.ptp(cramers_v_interval(table, 0.05)) for table in tables[:100]]
    assert np.mean(widths) / (2 * stats.norm.ppf(0.95)) == pytest.approx(spread, rel=0.06)


def exact_p(table: NDArray[Any]) -> float:
    """P of a chi-squared as large among all 2 x 2 tables with these margins, by the hypergeometric distribution."""
    n, row, column = table.sum(), table[0].sum(), table[:, 0].sum()
    law = stats.hypergeom(n, row, column)
    support = np.arange(max(0, row + column - n), min(row, column) + 1)
    distance = np.abs(support - row * column / n)
    reached = distance >= abs(table[0, 0] - row * column / n) - 1e-9
    return float(law.pmf(support[reached]).sum())


@pytest.mark.parametrize("table", [[[12, 5], [6, 14]], [[8, 2], [1, 9]], [[30, 25], [20, 26]], [[3, 1], [2, 2]]])
def test_p_is_that_of_all_permutations(table: list[list[int]]) -> None:
    expected = exact_p(np.array(table))
    found = np.mean([permutation_p(table, 4000, seed) for seed in range(40)])
    # With 20 tables reached a p-value is known to 22 %, of 40 seeds to 4 %.
    assert found == pytest.approx(expected, rel=0.12)


def test_p_holds_its_level_and_stops_early() -> None:
    rng = np.random.default_rng(2)
    found = np.array(
        [permutation_p(rng.multinomial(200, population(4, 0).ravel()).reshape(4, 4), 999, seed) for seed in range(800)]
    )
    for level in (0.01, 0.05, 0.2):
        assert (found <= level).sum() <= stats.binom.ppf(0.999, 800, level)
        assert (found <= level).sum() >= stats.binom.ppf(0.001, 800, level)


def test_p_goes_as_low_as_the_draws_allow() -> None:
    table = np.diag([50, 40, 30]) + 1
    assert permutation_p(table, 999) == 1 / 1000
    assert permutation_p(table, 4000) == 1 / 4001
    assert permutation_p(table, 999) == permutation_p(table, 999)
    assert permutation_p([[5, 4, 3]]) == permutation_p(np.zeros((2, 2))) == 1.0


def test_a_table_of_a_thousand_classes_is_quick_and_still_finds() -> None:
    rng = np.random.default_rng(3)
    even = rng.poisson(40, size=(1000, 8))
    tied = even + np.where(np.arange(8) == np.arange(1000)[:, None] % 8, 12, 0)
    assert association(even, draws=4000).p > 0.001
    found = association(tied, draws=4000)
    assert found.p <= 1 / 4000
    assert found.shape == (1000, 8) and found.n == tied.sum()
    assert found.low < found.v < found.high


def test_an_association_is_one_of_its_parts() -> None:
    table = np.array([[40, 10, 0], [10, 40, 0]])
    found = association(table, a=0.025, draws=500, seed=4)
    assert (found.v, (found.low, found.high)) == (cramers_v(table), cramers_v_interval(table, 0.025))
    assert found.p == permutation_p(table, 500, 4)
    assert (found.n, found.shape) == (100, (2, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=2, max_size=5), st.randoms())
def test_names_and_order_of_levels_do_not_matter(rows: list[list[int]], random: Any) -> None:
    table = np.array(rows)
    shuffled = table[random.sample(range(len(rows)), len(rows))][:, random.sample(range(3), 3)]
    for other in (shuffled, table.T):
        assert cramers_v(other) == pytest.approx(cramers_v(table), abs=1e-9)
        assert cramers_v_interval(other, 0.05) == pytest.approx(cramers_v_interval(table, 0.05), abs=1e-7)
    low, high = cramers_v_interval(table, 0.05)
    assert 0 <= low <= cramers_v(table) + 1e-9 and cramers_v(table) <= high + 1e-9 and high <= 1


def test_quantile_levels_hold_about_as_many_each() -> None:
    values = np.random.default_rng(4).lognormal(size=8000)
    values[::10] = np.nan
    codes, names = quantile_levels(values)
    assert len(names) == 8
    assert (codes[::10] == -1).all()
    assert np.bincount(codes[codes >= 0]).tolist() == [900] * 8
    order = np.argsort(np.nan_to_num(values, nan=-1.0), kind="stable")
    assert (np.diff(codes[order]) >= 0).all()


def test_quantile_levels_of_few_numbers_are_the_numbers() -> None:
    codes, names = quantile_levels([3.0, 1.0, np.nan, 3.0, 2.5])
    assert (codes.tolist(), names) == ([2, 0, -1, 2, 1], ["1", "2.5", "3"])
    assert quantile_levels([np.nan, np.inf]) == (pytest.approx([-1, -1]), [])


def test_quantile_levels_of_mostly_one_number() -> None:
    """Nine of ten images 640 wide: a level holds them, and the rest is not lost."""
    values = np.concatenate([np.full(900, 640.0), np.arange(1000.0, 1100.0)])
    codes, names = quantile_levels(values)
    assert len(names) == codes.max() + 1 == len(np.unique(codes))
    assert (codes[:900] == codes[0]).all() and codes[0] not in codes[900:]


def test_crossed_counts_pairs_of_known_levels() -> None:
    first, second = np.array([0, 1, 1, -1, 1, 0]), np.array([2, 0, 0, 1, -1, 2])
    assert crossed(first, second, 2, 3).tolist() == [[0, 0, 2], [2, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_are_statsmodels_and_agree_with_holm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.random(8), rng.random(6) / 100, [0.01, 0.01]])
    adjusted = holm_adjusted(p)
    np.testing.assert_allclose(adjusted, multipletests(p, method="holm")[1], atol=1e-12)
    for alpha in (0.01, 0.05, 0.2):
        assert (p_values.holm(p, alpha) == (adjusted <= alpha)).all()
    assert holm_adjusted([]).size == 0


def test_there_are_draws_enough_for_holms_first_step() -> None:
    for num, alpha in itertools.product((1, 5, 40, 200), (0.01, 0.025, 0.05)):
        assert num / (1 + draws_for(num, alpha)) <= alpha / 1.9
    assert draws_for(1, 0.05) == 999
