"""The rule. If this fails, a challenger that is worse somewhere takes over, or a better one is kept out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar

from evensight.objective.objective import Objective
from evensight.objective.verdict import STATUSES
from evensight.update.deciding import RESULTS, Pairs, better_p, harm_p, rule, worse_p
from evensight.update.power import Grid, harmful, helpful, planned, simulated

PASS, FAIL, INSUFFICIENT, NOT_MEASURED = range(4)
NONE = np.zeros((0,), np.int8)


def pairs(b: list[int], c: list[int], n: list[int]) -> Pairs:
    return Pairs(np.array(b), np.array(c), np.array(n))


def decided(cells: Pairs, old=NONE, new=NONE, wholes: Pairs | None = None, alpha: float = 0.05) -> str:
    whole = wholes or Pairs(*(values.sum(keepdims=True) for values in (cells.b, cells.c, cells.n)))
    return RESULTS[int(rule(cells, whole, old, new, alpha).result)]


def test_p_values_are_mcnemars_exact_ones() -> None:
    b, c = np.array([0, 1, 12, 3, 40, 0]), np.array([0, 0, 3, 12, 41, 9])
    found = pairs(b.tolist(), c.tolist(), [100] * 6)
    for at in range(1, 6):
        first, second = int(b[at]), int(c[at])
        assert worse_p(found)[at] == pytest.approx(binomtest(first, first + second, 0.5, "greater").pvalue)
        assert better_p(found)[at] == pytest.approx(binomtest(second, first + second, 0.5, "greater").pvalue)
        both = mcnemar([[50, first], [second, 0]], exact=True).pvalue
        assert min(1.0, 2 * min(worse_p(found)[at], better_p(found)[at])) == pytest.approx(both)
    assert worse_p(found)[0] == better_p(found)[0] == 1.0  # nothing differs, nothing is shown


def test_a_loss_is_excluded_by_images_alone() -> None:
    assert harm_p(pairs([0], [0], [0]), 0.05)[0] == 1.0
    assert harm_p(pairs([5], [0], [100]), 0.05)[0] == pytest.approx(0.5)  # exactly the loss that is to be excluded
    n = np.arange(1, 400)
    excluded = harm_p(Pairs(np.zeros(399, int), np.zeros(399, int), n), 0.05) <= 0.05
    # with one image taken off: (.05 n - 1) / sqrt(.0475 n) >= 1.645 from 87 images on
    assert not excluded[:86].any()
    assert excluded[86:].all()


@pytest.mark.parametrize(
    ("b", "c", "old", "new", "result"),
    [
        ([0, 0], [30, 0], [], [], "PROMOTE"),  # better in a cell, harmless in the other
        ([0, 0], [0, 0], [], [], "REFUSE"),  # the same: no reason
        ([0, 0], [0, 0], [FAIL], [INSUFFICIENT], "PROMOTE"),  # a requirement is repaired
        ([0, 0], [30, 0], [FAIL], [FAIL], "REFUSE"),  # better, and FAILs
        ([0, 30], [30, 0], [], [], "REFUSE"),  # worse in a cell
        ([0, 12], [90, 2], [], [], "REFUSE"),  # better overall, worse in a cell
        ([0, 8], [90, 3], [], [], "INSUFFICIENT"),  # better overall, not shown to be harmless in a cell
        ([0, 0], [30, 0], [PASS], [INSUFFICIENT], "INSUFFICIENT"),  # what the champion has shown is not shown
        ([0, 0], [30, 0], [PASS], [NOT_MEASURED], "INSUFFICIENT"),
        ([0, 0], [30, 0], [INSUFFICIENT], [INSUFFICIENT], "PROMOTE"),  # neither has shown it
        ([0, 0], [30, 0], [NOT_MEASURED], [NOT_MEASURED], "PROMOTE"),
        ([0, 0], [30, 0], [-1], [-1], "PROMOTE"),  # only shown
    ],
)
def test_rule(b: list[int], c: list[int], old: list[int], new: list[int], result: str) -> None:
    assert [STATUSES[code] for code in (PASS, FAIL, INSUFFICIENT, NOT_MEASURED)] == [
        *("PASS", "FAIL", "INSUFFICIENT", "NOT_MEASURED")
    ]
    assert decided(pairs(b, c, [200, 200]), np.array(old, np.int8), np.array(new, np.int8)) == result


def test_a_cell_without_images_is_never_taken_for_harmless() -> None:
    assert decided(pairs([0, 0], [30, 0], [200, 0])) == "INSUFFICIENT"


def test_one_that_meets_the_objective_takes_the_place_of_one_that_violates_it() -> None:
    """Where a loss of five points is not excluded, the bound that the objective sets each cell stands in for it."""
    cells = pairs([1, 0], [0, 60], [40, 60])
    wholes = pairs([1], [60], [100])
    old, new = np.array([FAIL, PASS, -1], np.int8), np.array([PASS, PASS, -1], np.int8)

    def result(bounded: bool, old=old, new=new, cells=cells) -> str:
        return RESULTS[int(rule(cells, wholes, old, new, 0.05, bounded=bounded).result)]

    assert result(bounded=True) == "PROMOTE"
    assert result(bounded=False) == "INSUFFICIENT"
    assert result(bounded=True, new=np.array([INSUFFICIENT, PASS, -1], np.int8)) == "INSUFFICIENT"
    assert result(bounded=True, new=np.array([PASS, NOT_MEASURED, -1], np.int8)) == "INSUFFICIENT"
    assert result(bounded=True, old=np.array([PASS, INSUFFICIENT, -1], np.int8)) == "INSUFFICIENT"
    assert result(bounded=True, cells=pairs([30, 0], [0, 60], [40, 60])) == "REFUSE"  # worse is worse


def test_cells_in_another_order_and_draws_give_the_same() -> None:
    rng = np.random.default_rng(3)
    n = np.full(12, 150)
    b, c = (rng.binomial(n, 0.05, size=(40, 12)) for _ in range(2))
    wholes = Pairs(b.sum(-1, keepdims=True), c.sum(-1, keepdims=True), np.array([n.sum()]))
    codes = np.zeros((0, 40), np.int8)
    together = rule(Pairs(b, c, n), wholes, codes, codes, 0.05)
    turned = rng.permutation(12)
    assert np.array_equal(
        together.result, rule(Pairs(b[:, turned], c[:, turned], n), wholes, codes, codes, 0.05).result
    )
    for at in range(40):
        own = Pairs(wholes.b[at], wholes.c[at], wholes.n)
        one = rule(Pairs(b[at], c[at], n), own, NONE, NONE, 0.05)
        assert together.result[at] == one.result
        assert np.array_equal(together.worse[at], one.worse)


@pytest.mark.parametrize("n", [60, 200, 800])
def test_errors_are_bounded_by_alpha(n: int) -> None:
    """5,000 decisions: at a true 5 % more than 5.9 % come once in 500 times."""
    rng, draws, codes = np.random.default_rng(n), 5000, np.zeros((0, 5000), np.int8)

    def drawn(loss: np.ndarray) -> tuple[Pairs, Pairs]:
        chances = np.stack([0.02 + loss, np.full(8, 0.02), 0.96 - loss], axis=-1)
        counts = rng.multinomial(n, chances, size=(draws, 8))
        b, c = counts[..., 0], counts[..., 1]
        return Pairs(b, c, np.full(8, n)), Pairs(b.sum(-1, keepdims=True), c.sum(-1, keepdims=True), np.array([8 * n]))

    equal = rule(*drawn(np.zeros(8)), codes, codes, 0.05)
    assert equal.worse.any(axis=-1).mean() <= 0.059
    assert (equal.result == RESULTS.index("PROMOTE")).mean() <= 0.059
    lost = np.zeros(8)
    lost[2] = 0.05
    assert (rule(*drawn(lost), codes, codes, 0.05).result == RESULTS.index("PROMOTE")).mean() <= 0.059


def test_more_difference_takes_more_images_and_so_do_more_cells() -> None:
    sizes = {(cells, differ): planned(cells, 0.05, differ, draws=500).n for cells in (1, 8) for differ in (0.0, 0.05)}
    assert sizes[1, 0.0] < sizes[8, 0.0] < sizes[8, 0.05]
    assert sizes[1, 0.0] < sizes[1, 0.05]


def test_planned_number_is_that_of_the_exact_binomial_where_nothing_else_differs() -> None:
    """Holm's first step over 16 cells asks for nine of nine (1 / 512 <= .05 / 16), which come at .05 an image."""
    expected = next(n for n in range(100, 600) if binom.sf(8, n, 0.05) >= 0.98)
    assert planned(16, 0.05, 0.0, draws=2000).n == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("cells", [8, 64])
def test_200_decisions_at_the_planned_number(cells: int) -> None:
    """benchmarks/decide_power.json has more of them, with intervals."""
    size = planned(cells, 0.05, 0.02, draws=2000).n
    assert size is not None
    rng = np.random.default_rng(11)
    refused = simulated(harmful(cells, 0.05, 0.02), size, 200, 0.05, 0.05, rng)
    promoted = simulated(helpful(cells, 0.05, 0.02), size, 200, 0.05, 0.05, rng)
    assert (refused == RESULTS.index("REFUSE")).sum() >= 190
    assert (promoted == RESULTS.index("PROMOTE")).sum() >= 160
    fewer = simulated(harmful(cells, 0.05, 0.02), size // 3, 200, 0.05, 0.05, rng)
    assert (fewer == RESULTS.index("PROMOTE")).sum() <= 20
    assert (fewer == RESULTS.index("INSUFFICIENT")).sum() >= 50  # with too few nothing is promoted in their place


def test_requirements_enter_the_simulation() -> None:
    """A champion at .97 and a bound of .99: the challenger FAILs, whatever it gains."""
    stated = {
        "name": "o",
        "purpose": "p",
        "classes": ["a", "b"],
        "attributes": {"colour": {"levels": ["red", "blue", "green", "grey"]}},
        "requirements": [{"metric": "accuracy", "bound": 0.99}, {"metric": "reliance", "cue": "colour", "bound": 0.1}],
    }
    world = helpful(8, 0.05, 0.02)
    args = (500, 200, 0.05, 0.05, np.random.default_rng(0))
    free = simulated(world, *args, None)
    held = simulated(world, *args, Grid(Objective.from_config(stated), "colour"))
    assert (free == RESULTS.index("PROMOTE")).mean() > 0.8
    assert (held == RESULTS.index("REFUSE")).mean() > 0.95
