"""If these fail, the figure of what chance alone gives misleads beside a worst cell or a gap."""

from __future__ import annotations

import numpy as np
import pytest

from evensight.metrics.floors import gap_floor, permuted_floor, worst_floor

EVEN = np.full(100, 100)


def test_hundred_even_cells() -> None:
    """By simulation elsewhere: expected worst .923, expected gap .076 to .077."""
    assert worst_floor(EVEN, 0.972)[0] == pytest.approx(0.923, abs=6e-4)
    assert gap_floor(EVEN, 0.972)[0] == pytest.approx(0.0765, abs=6e-4)


def test_uneven_cells_against_simulation() -> None:
    n = np.array([7, 30, 30, 211, 1000])
    rates = np.random.default_rng(3).binomial(n, 0.9, size=(200_000, n.size)) / n
    mean, quantile = worst_floor(n, 0.9)
    assert mean == pytest.approx(rates.min(axis=1).mean(), abs=1e-3)
    assert quantile == pytest.approx(np.quantile(rates.min(axis=1), 0.05), abs=5e-3)
    gap_mean, gap_quantile = gap_floor(n, 0.9)
    assert gap_mean == pytest.approx(np.ptp(rates, axis=1).mean(), abs=5e-3)
    assert gap_quantile == pytest.approx(np.quantile(np.ptp(rates, axis=1), 0.95), abs=2e-2)


def test_many_large_cells_stay_cheap_and_close() -> None:
    n = np.array([9_973, 10_007, 10_009])
    rates = np.random.default_rng(4).binomial(n, 0.8, size=(100_000, n.size)) / n
    assert worst_floor(n, 0.8)[0] == pytest.approx(rates.min(axis=1).mean(), abs=3e-4)


def test_certain_rates_leave_nothing_to_chance() -> None:
    assert worst_floor(np.array([5, 9]), 1.0) == (1.0, 1.0)
    assert gap_floor(np.array([5, 9]), 1.0) == (0.0, 0.0)


def test_permutation_keeps_what_classes_explain() -> None:
    """A class that is wrong half the time and lives in one group alone: the gap is the class's, not chance's."""
    n = np.array([[100, 0], [0, 100]])
    x = np.array([[100, 0], [0, 50]])
    assert permuted_floor(x, n, gap=True) == pytest.approx((0.5, 0.5))
    # Classes that do not differ: the same as the even binomials, but for the fixed total.
    n, x = np.full((2, 4), 50), np.full((2, 4), 45)
    assert permuted_floor(x, n, gap=False)[0] == pytest.approx(worst_floor(np.full(4, 100), 0.9)[0], abs=0.01)
