"""If these fail, people collect too few images, or are told to collect what cannot help."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evensight.metrics.intervals import clopper_pearson_lower
from evensight.metrics.paired import paired_p
from evensight.metrics.planning import (
    cells_n,
    least_n,
    least_n_gap,
    least_n_paired,
    least_passing,
    least_size,
    more_images,
    rate_power,
)

# Images a cell for 80 % that all of 1 / 6 / 8 / 64 cells pass.
TABLE = [
    (0.80, 0.90, (94, 158, 170, 243)),
    (0.80, 0.95, (37, 57, 63, 88)),
    (0.90, 0.95, (203, 345, 368, 526)),
    (0.90, 0.97, (89, 154, 167, 227)),
    (0.95, 0.97, (647, 1170, 1260, 1810)),
    (0.95, 0.985, (181, 311, 311, 458)),
]


@pytest.mark.parametrize(("bound", "likely", "expected"), TABLE)
def test_planning_table(bound: float, likely: float, expected: tuple[int, ...]) -> None:
    assert tuple(cells_n(bound, likely, cells) for cells in (1, 6, 8, 64)) == expected


def test_least_n_that_can_pass() -> None:
    assert [least_n(bound) for bound in (0.80, 0.90, 0.95)] == [14, 29, 59]
    assert (least_n(1.0), least_n(0.0)) == (None, 1)
    assert least_n_gap(0.05) == 59


@pytest.mark.parametrize("bound", [0.05, 0.10, 0.30])
def test_least_n_of_paired(bound: float) -> None:
    n = np.arange(1, 400)
    best = paired_p(np.zeros_like(n), np.zeros_like(n), n, -bound) <= 0.05
    assert least_n_paired(bound) == n[best][0]
    most = paired_p(n, np.zeros_like(n), n, bound) <= 0.05
    assert least_n_paired(bound, at_least=True) == n[most][0]


def test_least_passing_count_by_search() -> None:
    for n in (10, 59, 300):
        for bound in (0.5, 0.8, 0.95):
            passing = np.nonzero(clopper_pearson_lower(np.arange(n + 1), n, 0.05) >= bound)[0]
            assert least_passing(n, bound, 0.05) == (passing[0] if passing.size else n + 1)


def test_power_by_enumeration() -> None:
    x = np.arange(201)
    passing = clopper_pearson_lower(x, 200, 0.05) >= 0.9
    assert rate_power(200, 0.9, 0.95, 0.05) == pytest.approx(stats.binom.pmf(x, 200, 0.95)[passing].sum())


def test_unreachable_has_no_number() -> None:
    assert cells_n(0.9, 0.9) is None
    assert more_images(40, 100, 0.4, 0.5, 0.05, 0.8) is None


def test_more_images_by_search() -> None:
    x, n, rate, bound = 92, 100, 0.93, 0.9
    for more in range(1, 3000):
        needed = np.nonzero(clopper_pearson_lower(np.arange(n + more + 1), n + more, 0.05) >= bound)[0]
        if needed.size and stats.binom.sf(needed[0] - x - 1, more, rate) >= 0.8:
            break
    assert more_images(x, n, rate, bound, 0.05, 0.8) == more


def test_least_size_steps_over_a_ladder() -> None:
    assert 1000 <= (least_size(lambda n: float(n >= 1000), 10, 0.8) or 0) <= 1020
    assert least_size(lambda n: 0.0, 10, 0.8) is None
