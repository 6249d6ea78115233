"""If these fail, the monitor sees shifts that are none, or sleeps through those there are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from evensight.metrics import exchangeability
from evensight.metrics.sequential import log_threshold


def test_ranks_are_shares_of_what_lies_above_with_ties_shared() -> None:
    random = np.random.default_rng(0)
    reference, stream = random.integers(0, 4, 30).astype(float), random.integers(0, 4, 20).astype(float)
    tie = random.random(20)
    found = exchangeability.rank_p(reference, stream, tie)
    for place, score in enumerate(stream):
        pool = [*reference, *stream[: place + 1]]
        above, equal = sum(x > score for x in pool), sum(x == score for x in pool)
        assert found[place] == pytest.approx((above + tie[place] * equal) / len(pool))


def test_ranks_of_a_stream_like_the_reference_are_even() -> None:
    random = np.random.default_rng(1)
    values = random.integers(0, 5, 4000).astype(float)  # many ties
    p = exchangeability.rank_p(values[:1000], values[1000:], random.random(3000))
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 0.06  # three standard errors


@pytest.mark.parametrize("split", [None, 0.4])
def test_evidence_is_fair_over_all_orders(split: float | None) -> None:
    """The mean of E over every order of reference and stream is one: no order is favoured, so no bet has an edge."""
    values = np.array([0.0, 0.0, 1.0, 1.0, 1.0]) if split else np.array([0.3, 0.5, 0.7, 1.1, 2.0])
    random, total = np.random.default_rng(2), []
    where = None if split is None else np.array([split])
    for order in itertools.permutations(values):
        for _ in range(40):
            one = np.array(order)[:, None]
            total.append(math.exp(exchangeability.log_e_drift(one[:2], one[2:], random.random(3), split=where)[-1]))
    error = np.std(total) / math.sqrt(len(total))
    assert np.mean(total) == pytest.approx(1.0, abs=4 * error)


def test_false_alarms_are_as_rare_as_said() -> None:
    random, alarms = np.random.default_rng(3), 0
    for _ in range(200):
        x = random.normal(size=(700, 1))
        log_e = exchangeability.log_e_drift(x[:300], x[300:], random.random(400), size=200)
        alarms += bool((log_e >= log_threshold(exchangeability.window_of(400, 200), 1, 0.05)).any())
    assert alarms <= 17  # 5 % of 200 is 10; P(Bin(200, .05) > 17) = .009


def test_a_shift_of_half_a_standard_deviation_is_found() -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(2000, 9))
    x[1000:, 3] += 0.5
    log_e = exchangeability.log_e_drift(x[:1000], x[1000:], random.random(1000))
    assert log_e.max() > math.log(10_000)


def test_more_of_one_class_is_found() -> None:
    random = np.random.default_rng(5)
    then = exchangeability.one_hot(np.repeat(np.arange(8), 750), 8)
    now = exchangeability.one_hot(random.choice(8, 1000, p=[0.3, *[0.1] * 7]), 8)
    log_e = exchangeability.log_e_drift(then, now, random.random(1000), split=then.mean(axis=0))
    assert log_e.max() > math.log(10_000)


def test_each_window_begins_anew() -> None:
    random = np.random.default_rng(6)
    x = random.normal(size=(900, 2))
    whole = exchangeability.log_e_drift(x[:300], x[300:], random.random(600), size=200)
    tie = np.random.default_rng(6)
    tie.normal(size=(900, 2))
    alone = exchangeability.log_e_drift(x[:300], x[500:700], tie.random(600)[200:400])
    assert whole[200:400] == pytest.approx(alone)


def test_distance_tells_features_that_stay_in_the_middle_of_none() -> None:
    """Along each axis it is an ordinary image; as a whole it is one the reference never had."""
    random = np.random.default_rng(7)
    one = random.normal(size=500)
    scorer = exchangeability.Scorer.fit(np.stack([one, one + 0.01 * random.normal(size=500)], axis=1))
    odd, usual = scorer.scores(np.array([[0.5, -0.5], [0.5, 0.5]]))[:, -1]
    assert odd > 10 * usual


def test_features_that_never_vary_are_no_division_by_nothing() -> None:
    scorer = exchangeability.Scorer.fit(np.ones((50, 3)))
    assert np.isfinite(scorer.scores(np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]]))).all()
    assert exchangeability.log_e_drift(np.ones((5, 1)), np.ones((0, 1)), np.zeros(0)).shape == (0,)
