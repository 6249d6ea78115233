"""If these fail, every interval shown and every rate and gap decided is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from evensight.metrics.intervals import (
    clopper_pearson,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mover_clopper_pearson,
    newcombe,
    rate,
    wilson,
)

# Newcombe 1998a: two-sided 95 %.
PUBLISHED = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]
# Newcombe 1998b, method 10; the second is square-and-add with exact limits.
DIFFERENCES = [
    ((56, 70, 48, 80), (0.0524, 0.3339), (0.0439, 0.3442)),
    ((9, 10, 3, 10), (0.1705, 0.8090), (0.1068, 0.8528)),
    ((6, 7, 2, 7), (0.0582, 0.8062), (-0.0366, 0.8567)),
    ((5, 56, 0, 29), (-0.0381, 0.1926), (-0.0442, 0.1962)),
    ((0, 10, 0, 20), (-0.1611, 0.2775), None),
    ((10, 10, 0, 20), (0.6791, 1.0), None),
]


@pytest.mark.parametrize(("x", "n", "score", "exact"), PUBLISHED)
def test_published_rates(x: int, n: int, score: tuple[float, float], exact: tuple[float, float]) -> None:
    assert np.allclose(wilson(x, n, 0.025), score, atol=6e-5)
    # The paper cuts .36762 and .16165 where others round.
    assert np.allclose(clopper_pearson(x, n, 0.025), exact, atol=1.1e-4)


@pytest.mark.parametrize(("counts", "score", "exact"), DIFFERENCES)
def test_published_differences(
    counts: tuple[int, int, int, int], score: tuple[float, float], exact: tuple[float, float] | None
) -> None:
    assert np.allclose(newcombe(*counts, 0.025), score, atol=6e-5)
    if exact is not None:
        assert np.allclose(mover_clopper_pearson(*counts, 0.025), exact, atol=6e-5)


def test_one_sided_figures() -> None:
    assert clopper_pearson_upper(0, 59, 0.05) == pytest.approx(0.0495, abs=5e-5)
    assert clopper_pearson_lower(round(0.92 * 739), 739, 0.05) == pytest.approx(0.9016, abs=3e-4)


def test_agrees_with_statsmodels_over_arrays() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 3000, (40, 8))
    x = rng.binomial(n, rng.choice([0.0, 0.02, 0.5, 0.97, 1.0], n.shape))
    for a in (0.05, 0.001):
        for ours, method in ((clopper_pearson, "beta"), (wilson, "wilson")):
            theirs = proportion_confint(x.ravel(), n.ravel(), alpha=2 * a, method=method)
            for mine, other in zip(ours(x, n, a), theirs, strict=True):
                assert np.allclose(mine.ravel(), np.asarray(other).clip(0, 1), atol=1e-9), method


def test_level_may_vary_over_the_array() -> None:
    levels = np.array([0.05, 0.01, 1e-6])
    each = [float(clopper_pearson_lower(90, 100, float(a))) for a in levels]
    assert np.allclose(clopper_pearson_lower(90, 100, levels), each, atol=1e-12)


def test_no_image_says_nothing() -> None:
    assert clopper_pearson(0, 0, 0.05) == (0.0, 1.0)
    assert wilson(0, 0, 0.05) == (0.0, 1.0)
    assert mover_clopper_pearson(5, 10, 0, 0, 0.05) == (-1.0, 1.0)
    assert rate(0, 0) == 0.5


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 successes of 4 images"):
        clopper_pearson_lower(np.array([1, 5]), np.array([4, 4]), 0.05)


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_exact_limits_cover_at_every_rate(n: int) -> None:
    x = np.arange(n + 1)
    p = np.linspace(0.001, 0.999, 999)
    chance = stats.binom.pmf(x[:, None], n, p)
    low, high = clopper_pearson(x, n, 0.05)
    assert ((low[:, None] <= p) * chance).sum(axis=0).min() >= 0.95 - 1e-9
    assert ((high[:, None] >= p) * chance).sum(axis=0).min() >= 0.95 - 1e-9


@pytest.mark.parametrize("sizes", [(20, 20), (50, 50), (30, 100), (200, 200)])
@pytest.mark.parametrize("difference", [0.05, 0.10, 0.25])
def test_gap_errs_at_most_nominal(sizes: tuple[int, int], difference: float) -> None:
    """By enumeration of both groups, over the rates that have this difference."""
    n1, n2 = sizes
    x1, x2 = np.arange(n1 + 1)[:, None], np.arange(n2 + 1)[None]
    low, high = mover_clopper_pearson(x1, n1, x2, n2, 0.05)
    for p2 in np.linspace(0, 1 - difference, 31):
        chance = stats.binom.pmf(x1, n1, p2 + difference) * stats.binom.pmf(x2, n2, p2)
        assert chance[high <= difference].sum() <= 0.051
        assert chance[low > difference].sum() <= 0.051
