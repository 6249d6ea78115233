"""Which images are chosen. If this fails, the control sample is not uniform, or a budget is spent twice."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evensight.update import choosing

IDS = [f"{number:032x}" for number in range(300)]


def ranked(**parts: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(positions, dtype=np.int64) for name, positions in parts.items()}


def by_definition(seed: int) -> list[int]:
    """The order of the control sample, written out: SHA-256 of seed and id, read as a number."""
    texts = [f"evensight update {seed}:{name}".encode() for name in IDS]
    keys = [int.from_bytes(hashlib.sha256(text).digest()[:8], "little") for text in texts]
    return sorted(range(len(IDS)), key=keys.__getitem__)


def test_budget_is_divided_without_rest() -> None:
    parts = choosing.budgets(200, 0.4)
    assert parts == {"control": 80, "cell": 42, "cue_conflict": 48, "uncertain": 30}
    for total in range(1, 60):
        parts = choosing.budgets(total, 0.4)
        assert sum(parts.values()) == total
        assert abs(parts["control"] - 0.4 * total) < 1
    assert choosing.budgets(7, 1.0) == {"control": 7, "cell": 0, "cue_conflict": 0, "uncertain": 0}


@pytest.mark.parametrize("seed", [0, 1])
def test_control_sample_is_the_images_of_the_smallest_hashes_whatever_else_is_asked_for(seed: int) -> None:
    order, expected = choosing.keyed(IDS, seed), by_definition(seed)
    wanted = ranked(cell=expected[:90], cue_conflict=expected[::-1], uncertain=list(range(300)))
    kept, alone = np.ones(300, np.bool_), np.arange(300)
    chosen = choosing.choose(order, kept, wanted, choosing.budgets(100, 0.4), alone)
    assert [at for at, reason in chosen.items() if reason == "control"] == expected[:40]
    assert len(chosen) == 100


def test_what_no_reason_uses_goes_to_the_control_sample_which_stays_uniform() -> None:
    order, expected = choosing.keyed(IDS, 0), by_definition(0)
    kept, alone = np.ones(300, np.bool_), np.arange(300)
    wanted = ranked(uncertain=expected[40:60])  # images that the larger control sample has, too
    chosen = choosing.choose(order, kept, wanted, choosing.budgets(100, 0.4), alone)
    control = [at for at, reason in chosen.items() if reason == "control"]
    assert control == expected[: len(control)]
    assert len(chosen) == 100
    few = choosing.choose(order, np.arange(300) < 30, ranked(), choosing.budgets(100, 0.4), alone)
    assert sorted(few) == list(range(30))


def test_every_image_is_as_likely_as_any_other() -> None:
    drawn = np.zeros(300)
    for seed in range(400):
        order = choosing.keyed(IDS, seed)
        wanted = ranked(uncertain=list(range(30)))
        found = choosing.choose(order, np.ones(300, np.bool_), wanted, choosing.budgets(50, 0.4), np.arange(300))
        for at, reason in found.items():
            drawn[at] += reason == "control"
    share = drawn.sum() / drawn.size / 400
    # 299 degrees of freedom: beyond 388 once in 3,000 times
    assert ((drawn - 400 * share) ** 2 / (400 * share * (1 - share))).sum() < 388
    assert abs(drawn[:30].mean() - drawn[30:].mean()) < 5 * np.sqrt(400 * share * (1 - share) / 30)


def test_near_duplicates_are_picked_once() -> None:
    order = choosing.keyed(IDS, 0)
    alike = np.arange(300) // 3
    wanted = ranked(uncertain=list(range(300)), cell=[], cue_conflict=[])
    chosen = choosing.choose(order, np.zeros(300, np.bool_), wanted, choosing.budgets(200, 0.4), alike)
    assert len({int(alike[at]) for at in chosen}) == len(chosen) == 30


def test_ranks_take_turns() -> None:
    parts = [np.array([5, 1]), np.array([], dtype=np.int64), np.array([1, 7, 9])]
    assert choosing.in_turns(parts).tolist() == [5, 1, 7, 9]
    order = np.arange(10, dtype=np.uint64)[::-1]
    cells = [np.arange(10) < 2, np.arange(10) >= 8]
    assert choosing.of_cells(cells, order).tolist() == [1, 9, 0, 8]
    moved, at_odds = [np.arange(10) == 4], [(np.arange(10) == 4) | (np.arange(10) == 6)]
    assert choosing.of_cues(moved, at_odds, order).tolist() == [4, 6]
    assert choosing.in_turns([]).size == 0


def test_the_smallest_margin_is_the_least_certain() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.5, 0.0, 0.5]])
    assert choosing.of_margins(probabilities).tolist() == [2, 1, 0]
    assert choosing.of_margins(np.zeros((0, 3))).size == 0


@given(st.integers(1, 40), st.floats(0.05, 1.0), st.integers(0, 30), st.data())
def test_no_image_is_chosen_twice_and_no_budget_is_passed(total: int, share: float, count: int, data) -> None:
    order = choosing.keyed(IDS[:count], 3)
    part = st.lists(st.integers(0, max(count - 1, 0)), unique=True, max_size=count if count else 0)
    wanted = ranked(**{name: data.draw(part) for name in choosing.REASONS[1:]})
    parts = choosing.budgets(total, share)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.bool_)
    chosen = choosing.choose(order, kept, wanted, parts, np.arange(count))
    assert len(chosen) <= total
    assert all(kept[at] for at, reason in chosen.items() if reason == "control")
    for name in choosing.REASONS[1:]:
        own = [at for at, reason in chosen.items() if reason == name]
        assert len(own) <= parts[name]
        assert set(own) <= set(wanted[name].tolist())
