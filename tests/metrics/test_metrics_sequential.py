"""If these fail, a monitor's alarms do not hold at every look, or come later than they could."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from evensight.metrics import sequential


def slow_rate_log_e(x: int, n: int, bound: float) -> float:
    """The mixture by numerical integration of the likelihood ratio over rates below the bound."""

    def ratio(p: float) -> float:
        return math.exp(special.xlogy(x, p / bound) + special.xlogy(n - x, (1 - p) / (1 - bound)))

    return math.log(integrate.quad(ratio, 0.0, bound, limit=200)[0] / bound)


@pytest.mark.parametrize(("x", "n", "bound"), [(0, 0, 0.9), (0, 8, 0.8), (5, 10, 0.9), (9, 10, 0.9), (40, 60, 0.95)])
def test_rate_is_the_mixture_of_likelihood_ratios(x: int, n: int, bound: float) -> None:
    assert sequential.rate_log_e_below(x, n, bound) == pytest.approx(slow_rate_log_e(x, n, bound), abs=1e-9)
    # Above is the mirror image: as many failures, the other side of the bound.
    assert sequential.rate_log_e_above(n - x, n, 1 - bound) == pytest.approx(slow_rate_log_e(x, n, bound), abs=1e-9)


def test_rate_without_evidence_is_minus_infinity_and_never_nan() -> None:
    found = sequential.rate_log_e_below([500, 0, 500], [500, 500, 500], 0.05)
    assert not np.isnan(found).any()
    assert found[0] < -100
    assert found[1] > 20


@pytest.mark.parametrize("bound", [-0.5, 0.0, 0.05, 0.5])
def test_difference_is_the_mean_of_products(bound: float) -> None:
    outcomes = np.random.default_rng(1).choice([1, -1, 0], size=40, p=[0.4, 0.1, 0.5])
    products = [np.prod([1 + k / 20 / (1 + bound) * (outcome - bound) for outcome in outcomes]) for k in range(1, 20)]
    up, down = int((outcomes == 1).sum()), int((outcomes == -1).sum())
    assert sequential.difference_log_e_above(up, down, 40, bound) == pytest.approx(math.log(np.mean(products)))
    assert sequential.difference_log_e_below(down, up, 40, -bound) == pytest.approx(math.log(np.mean(products)))


@pytest.mark.parametrize("bound", [0.8, 0.95])
def test_chance_of_ever_reaching_a_level_is_at_most_that_level(bound: float) -> None:
    """Exact, by carrying the distribution of the count from image to image at the bound itself."""
    level, alive, crossed = 0.05, np.array([1.0]), 0.0
    for n in range(1, 301):
        alive = np.append(alive * (1 - bound), 0.0) + np.append(0.0, alive * bound)
        over = sequential.rate_log_e_below(np.arange(n + 1), np.full(n + 1, n), bound) >= -math.log(level)
        crossed += float(alive[over].sum())
        alive[over] = 0.0
    assert 0.005 < crossed <= level


def test_chance_of_ever_reaching_a_level_by_a_difference() -> None:
    """Exact for outcomes 1 and 0 with mean at the bound."""
    level, bound, alive, crossed = 0.05, 0.05, np.array([1.0]), 0.0
    for n in range(1, 501):
        alive = np.append(alive * (1 - bound), 0.0) + np.append(0.0, alive * bound)
        count = np.arange(n + 1)
        over = sequential.difference_log_e_above(count, 0 * count, np.full(n + 1, n), bound) >= -math.log(level)
        crossed += float(alive[over].sum())
        alive[over] = 0.0
    assert 0.005 < crossed <= level


def test_pull_of_two_thirds_is_found_after_twenty_images() -> None:
    """Rule 20's own figures: R C / alpha = 320 in the first window; median 20 images, all 400 within 75."""
    random = np.random.default_rng(2)
    up = np.cumsum(random.random((400, 75)) < 0.67, axis=1)
    images = np.arange(1, 76)
    log_e = sequential.difference_log_e_above(up, 0 * up, images, 0.05)
    reached = log_e >= sequential.log_threshold(1, 320, 1.0)
    assert reached.any(axis=1).all()
    assert np.median(reached.argmax(axis=1) + 1) == pytest.approx(20, abs=1)


def test_at_the_bound_three_percent_reach_twenty() -> None:
    """Rule 20: 3.3 % reach E >= 20 within 2,000 images, at a reliance that is the bound."""
    random = np.random.default_rng(3)
    reached = 0
    for _ in range(4):
        up = np.cumsum(random.random((200, 2000)) < 0.05, axis=1)
        log_e = sequential.difference_log_e_above(up, 0 * up, np.arange(1, 2001), 0.05)
        reached += int((log_e >= math.log(20)).any(axis=1).sum())
    # 3.3 % of 800 is 26; three standard errors are 15.
    assert 11 <= reached <= 41


@pytest.mark.parametrize(("x", "n", "level"), [(5, 10, 0.05), (48, 50, 0.01), (1, 30, 0.05), (30, 30, 0.001)])
def test_limit_is_where_the_evidence_falls_to_one_over_the_level(x: int, n: int, level: float) -> None:
    def above(bound: float) -> float:
        return slow_rate_log_e(n - x, n, 1 - bound) + math.log(level)

    wanted = optimize.brentq(above, 1e-6 if x == 1 else 0.02 * x / n, x / n - 1e-9 if x < n else 1 - 1e-9)
    assert sequential.rate_lower(x, n, level) == pytest.approx(wanted, abs=1e-6)
    assert sequential.rate_upper(n - x, n, level) == pytest.approx(1 - wanted, abs=1e-6)


def test_limits_at_the_ends_and_wider_than_those_of_one_look() -> None:
    assert sequential.rate_lower([0, 0], [0, 9], 0.05).tolist() == [0.0, 0.0]
    assert sequential.rate_upper([0, 9], [0, 9], 0.05).tolist() == [1.0, 1.0]
    fixed = stats.binomtest(90, 100).proportion_ci(0.9, "exact").low
    assert 0.7 < sequential.rate_lower(90, 100, 0.05) < fixed


def test_shares_of_all_windows_are_the_whole_level() -> None:
    assert sequential.share_of_window(np.arange(1, 100_001)).sum() == pytest.approx(1, abs=1e-4)
    assert sequential.log_threshold(3, 8, 0.025) == pytest.approx(math.log(8 * 12 / 0.025))


def test_windows_count_each_sequence_by_itself() -> None:
    random = np.random.default_rng(4)
    sequence, event = random.integers(0, 3, 200), random.random(200) < 0.5
    windows = sequential.windows(sequence, size=7)
    seen: dict[int, list[bool]] = {0: [], 1: [], 2: []}
    for place in range(200):
        own = seen[int(sequence[place])]
        if len(own) == 7:
            own.clear()
        own.append(bool(event[place]))
        assert windows.n[place] == len(own)
        assert windows.so_far(event)[place] == sum(own)
    last = int((sequence == 0).sum())
    assert windows.number[sequence == 0].tolist() == [1 + k // 7 for k in range(last)]


def test_nothing_seen_is_nothing_counted() -> None:
    windows = sequential.windows(np.zeros(0, dtype=np.int64))
    assert windows.so_far(np.zeros(0, dtype=bool)).shape == (0,)
    assert sequential.rate_log_e_below(np.zeros(0, int), np.zeros(0, int), 0.9).shape == (0,)
    assert sequential.rate_lower(np.zeros(0, int), np.zeros(0, int), 0.05).shape == (0,)
