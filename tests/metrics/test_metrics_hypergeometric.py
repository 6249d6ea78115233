"""If these fail, a group is said to have too few images, or to be labelled differently, by chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from evensight.metrics.hypergeometric import few_p, log_pmf, stratified_p


def test_pmf_is_scipys() -> None:
    for n, m, d in ((20, 7, 12), (1000, 30, 400), (50, 50, 3), (10, 0, 4)):
        x = np.arange(-1, min(m, d) + 2)
        np.testing.assert_allclose(np.exp(log_pmf(x, n, m, d)), stats.hypergeom.pmf(x, n, m, d), atol=1e-12)


def test_few_p_is_never_below_the_exact_and_close_where_it_matters() -> None:
    for n, m, d in itertools.product((200, 5000), (20, 90), (40, 150)):
        x = np.arange(min(m, d) + 1)
        exact = stats.hypergeom.cdf(x, n, m, d)
        found = few_p(x, n, m, d)
        assert (found >= exact * (1 - 1e-9)).all()
        short = (x <= m * d / n / 3) & (exact > 1e-300)
        np.testing.assert_allclose(found[short], exact[short], rtol=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_one_stratum_is_fishers_test(seed: int) -> None:
    a, b, c, d = np.random.default_rng(seed).integers(1, 40, 4)
    expected = stats.fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
    assert stratified_p(a, a + b + c + d, a + c, a + b) == pytest.approx(expected, rel=1e-9)


def test_strata_are_enumerated() -> None:
    total, marked, drawn = [12, 9, 20], [4, 6, 3], [5, 4, 8]
    laws = [stats.hypergeom(*each) for each in zip(total, marked, drawn, strict=True)]
    for sought in (0, 3, 6, 8, 11, 13):
        exact = sum(
            np.prod([law.pmf(k) for law, k in zip(laws, ks, strict=True)])
            for ks in itertools.product(range(6), range(7), range(4))
            if sum(ks) >= sought
        )
        assert stratified_p(sought, total, marked, drawn) == pytest.approx(float(exact), abs=1e-12)


def test_empty_and_settled_strata_say_nothing() -> None:
    assert stratified_p(3, [10, 0, 7, 5], [4, 0, 7, 2], [5, 0, 0, 0]) == pytest.approx(stratified_p(3, 10, 4, 5))
    # A stratum whose every member is marked gives all it has.
    assert stratified_p(3 + 4, [10, 7], [4, 7], [5, 4]) == pytest.approx(stratified_p(3, 10, 4, 5))
    assert stratified_p(0, [], [], []) == 1.0


def test_many_images_are_no_slower_than_their_spread() -> None:
    """Against the normal law, at a million images in ten strata."""
    total, marked, drawn = np.full(10, 100_000), np.full(10, 20_000), np.full(10, 30_000)
    mean = float((marked * drawn / total).sum())
    spread = float(np.sqrt((drawn * marked / total * (1 - marked / total) * (total - drawn) / (total - 1)).sum()))
    for z in (1.0, 3.0, 5.0):
        assert stratified_p(round(mean + z * spread), total, marked, drawn) == pytest.approx(stats.norm.sf(z), rel=0.05)


def test_a_difference_between_strata_is_none_within_them() -> None:
    """All of the group lies in the stratum where much is marked: Fisher's test falls, the stratified one does not."""
    total, marked, drawn = np.array([1000, 1000]), np.array([400, 20]), np.array([300, 10])
    assert stratified_p(120, total.sum(), marked.sum(), drawn.sum()) < 1e-6
    assert stratified_p(120, total, marked, drawn) > 0.3
