"""If these fail, a model is failed by chance, or one that is broken is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from evensight.metrics.intervals import mover_clopper_pearson
from evensight.metrics.p_values import binomial_cdf, gap_p, holm, rate_p


def test_rate_against_scipy() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(0, 500, (30, 7))
    x = rng.binomial(n, 0.9)
    for bound in (0.0, 0.5, 0.9, 1.0):
        assert np.allclose(rate_p(x, n, bound), stats.binom.cdf(x, n, bound), atol=1e-12)
    assert np.allclose(binomial_cdf([-1, 0, 10, 11], 10, 0.3), stats.binom.cdf([-1, 0, 10, 11], 10, 0.3))


def test_gap_is_the_level_whose_bound_touches() -> None:
    for counts in ((95, 100, 80, 100), (700, 752, 600, 752), (30, 30, 5, 20)):
        p = float(gap_p(*counts, bound=0.05))
        low = [float(mover_clopper_pearson(*counts, p * factor)[0]) for factor in (0.999, 1.001)]
        assert low[0] <= 0.05 <= low[1]
        assert 0 < p < 0.05


def test_gap_without_a_case_is_one() -> None:
    assert gap_p(90, 100, 91, 100, bound=0.05) == 1.0
    assert gap_p(10, 10, 0, 0, bound=0.05) == 1.0
    # Above the ceiling it need not be found.
    p = float(gap_p(95, 100, 88, 100, bound=0.05))
    assert 0.05 < p < 0.5
    assert gap_p(95, 100, 88, 100, bound=0.05, ceiling=0.05) == 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_holm_against_statsmodels(alpha: float) -> None:
    p = np.random.default_rng(1).beta(0.3, 3, size=(8, 20))
    ours = holm(p, alpha)
    for draw in range(p.shape[1]):
        assert np.array_equal(ours[:, draw], multipletests(p[:, draw], alpha, method="holm")[0])


def test_holm_of_none() -> None:
    assert holm(np.ones((0, 5)), 0.05).shape == (0, 5)
