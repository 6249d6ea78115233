"""If these fail, INSUFFICIENT sends people after the wrong images, or too few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evensight.metrics.intervals import clopper_pearson_lower
from evensight.objective.need import need, shrunk
from evensight.objective.verdict import Comparisons, decide, decide_draws


def rate(x: Any, n: Any, bound: float, direction: str = "at_least") -> Comparisons:
    x, n = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(n))
    return Comparisons("rate", tuple("abcdefgh"[: x.size]), x, n, bound, direction)  # type: ignore[arg-type]


def test_shrinks_as_far_as_chance_explains() -> None:
    # Rates that differ less than chance makes them differ: all at the mean.
    assert np.allclose(shrunk(np.array([95, 96, 94]), np.full(3, 100)), 0.95)
    # By hand: mean .8, var .02 (n - 1), noise .16/1000, so w = (.02 - .00016)/.02.
    assert np.allclose(shrunk(np.array([700, 900]), np.full(2, 1000)), 0.8 + np.array([-0.1, 0.1]) * 0.992)
    # Without an image: the mean.
    assert shrunk(np.array([700, 900, 0]), np.array([1000, 1000, 0]))[2] == pytest.approx(0.8)


def test_one_rate_has_the_power_it_promises() -> None:
    row = rate(186, 200, 0.9)
    found = need(row, 0.05)
    assert found is not None and found.images is not None
    assert found.of == "a"
    rng = np.random.default_rng(0)
    for more, enough in ((found.images, True), (found.images // 2, False)):
        x = 186 + rng.binomial(more, 0.93, size=20_000)
        power = (clopper_pearson_lower(x, 200 + more, 0.05) >= 0.9).mean()
        assert (power >= 0.79) == enough


def test_open_cells_share_the_chance() -> None:
    row = rate([93, 94, 99, 100], 100, 0.9)
    found = need(row, 0.05)
    assert found is not None and found.images is not None
    assert found.note.startswith("2 are open; ")
    alone = need(rate([93, 100, 99, 100], 100, 0.9), 0.05)
    assert alone is not None and alone.images is not None and alone.note == ""
    assert alone.images < found.images  # .8 for one is less to ask than .8 for both


def test_near_or_below_the_bound_has_no_number() -> None:
    found = need(rate(904, 1000, 0.9), 0.05)
    assert found is not None
    assert (found.images, found.note) == (None, "more images would more likely fail it")


def test_at_most_is_the_mirror_image() -> None:
    assert need(rate(14, 200, 0.1, "at_most"), 0.05) == need(rate(186, 200, 0.9), 0.05)


def test_no_image_at_all_asks_for_the_least_that_can_pass() -> None:
    found = need(rate([0, 0], 0, 0.9), 0.05)
    assert found is not None and found.images == 29


def test_gap_has_the_power_it_promises() -> None:
    x, n = np.array([96, 97, 98]), np.full(3, 100)
    found = need(Comparisons("gap", ("a", "b", "c"), x, n, 0.05, "at_most"), 0.05)
    assert found is not None and found.images is not None
    size = 100 + found.images // 3
    more = np.random.default_rng(1).binomial(size - 100, 0.97, size=(5_000, 3))
    codes, _ = decide_draws([Comparisons("gap", ("a", "b", "c"), x + more, np.full(3, size), 0.05, "at_most")], 0.05)
    assert 0.77 <= (codes == 0).mean() <= 0.87


def test_gap_beyond_the_bound_has_no_number() -> None:
    row = Comparisons("gap", ("a", "b"), np.array([990, 930]), np.full(2, 1000), 0.05, "at_most")
    found = need(row, 0.05)
    assert found is not None
    assert (found.images, found.of) == (None, "a > b")


@pytest.mark.parametrize("direction", ["at_least", "at_most"])
def test_paired_has_the_power_it_promises(direction: Any) -> None:
    def row(b: Any, c: Any, n: int) -> Comparisons:
        first, second = (np.atleast_1d(b)[..., None], np.atleast_1d(c)[..., None])
        if direction == "at_least":
            first, second = second, first
        bound = 0.05 if direction == "at_most" else -0.05
        return Comparisons("paired", ("one",), first, np.array([n]), bound, direction, y=second)

    seen = row(12, 2, 300)
    found = need(Comparisons("paired", ("one",), seen.x[0], seen.n, seen.bound, direction, y=seen.y[0]), 0.05)  # type: ignore[index]
    assert found is not None and found.images is not None
    drawn = np.random.default_rng(2).multinomial(found.images, [12 / 300, 2 / 300, 286 / 300], size=10_000)
    codes, _ = decide_draws([row(12 + drawn[:, 0], 2 + drawn[:, 1], 300 + found.images)], 0.05)
    assert 0.77 <= (codes == 0).mean() <= 0.87


def test_only_what_is_insufficient_has_a_need() -> None:
    rows = decide([rate(100, 100, 0.9), rate(50, 100, 0.9), rate(93, 100, 0.9)], 0.05).rows
    assert [row.verdict for row in rows] == ["PASS", "FAIL", "INSUFFICIENT"]
    assert [row.need is None for row in rows] == [True, True, False]
