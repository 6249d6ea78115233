"""What ranks an epoch: requirements met by estimates on enough images, then the primary metric."""

from __future__ import annotations

import numpy as np
import pytest

from evensight.objective.objective import Objective
from evensight.training.callbacks.best_checkpoint import is_better
from evensight.training.requirements import evidence_of_counts, out_of_reach, standing

USUAL = {"colour": (0, 1)}


def objective(*requirements: dict[str, object]) -> Objective:
    return Objective.from_config(
        {
            "name": "o",
            "purpose": "p",
            "classes": ["x", "y"],
            "attributes": {"colour": {"levels": ["red", "green"]}},
            "requirements": list(requirements),
            "primary": {"metric": "accuracy", "scope": "conflicting", "attribute": "colour"},
        }
    )


def counts(cells: dict[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """Counts `[L, K, K]` from (level, class): (right, wrong)."""
    table = np.zeros((2, 2, 2), int)
    for (level, label), (right, wrong) in cells.items():
        table[level, label, label], table[level, label, 1 - label] = right, wrong
    return table


ALL = (
    {"metric": "accuracy", "bound": 0.8},
    {"metric": "recall", "scope": "each_class", "bound": 0.85},
    {"metric": "accuracy", "scope": "each_cell", "attribute": "colour", "bound": 0.8},
    {"metric": "accuracy", "scope": "gap", "attribute": "colour", "bound": 0.05},
    {"metric": "advantage", "over": ["majority"], "bound": 0.3},
    {"metric": "reliance", "cue": "colour", "bound": 0.05},
)


def test_counts_what_the_estimates_meet() -> None:
    # Accuracy 90/110 in red, 91/110 in green; the conflicting cells have 10 images, and 5 right, each.
    table = counts({(0, 0): (85, 15), (1, 1): (86, 14), (0, 1): (5, 5), (1, 0): (5, 5)})
    evidence = evidence_of_counts(table.sum(axis=0), {"colour": table}, USUAL, class_counts=[60, 40])
    found = standing(objective(*ALL), evidence)
    # Accuracy .823 meets .8; recall 90/110 misses .85; the cells on fewer than 30 images do not count, the others meet;
    # the gap of .009 meets; the majority class is right on 110 of 220, so the advantage is .323. Reliance is not known.
    assert (found.num_met, found.num_measured) == (4, 5)
    assert (found.primary, found.primary_n) == (0.5, 20)
    assert found.rank == (4, float("-inf"))  # 20 images are too few to choose by


def test_primary_ranks_where_it_has_images() -> None:
    table = counts({(0, 1): (20, 20), (0, 0): (40, 0), (1, 1): (40, 0)})
    evidence = evidence_of_counts(table.sum(axis=0), {"colour": table}, USUAL)
    assert standing(objective(), evidence).rank == (0, 0.5)


def test_out_of_reach_needs_the_figures_to_deny_the_bound() -> None:
    stated = objective({"metric": "accuracy", "bound": 0.9})
    near = counts({(0, 0): (85, 15), (1, 1): (85, 15)})
    far = counts({(0, 0): (60, 40), (1, 1): (60, 40)})
    for table, expected in ((near, 0), (far, 1)):
        evidence = evidence_of_counts(table.sum(axis=0), {"colour": table}, USUAL)
        assert len(out_of_reach(stated, evidence, 0.05 / 20)) == expected


@pytest.mark.parametrize(
    ("key", "than", "better"),
    [
        ((5.0, 0.1, -0.9), (4.0, 0.9, -0.1), True),  # requirements first
        ((5.0, 0.9, -0.9), (5.0, 0.8, -0.1), True),  # then the primary metric
        ((5.0, float("-inf"), -0.2), (5.0, float("-inf"), -0.3), True),  # then the loss
        ((5.0, 0.9, -0.9), (5.0, 0.9, -0.9), False),  # the earlier of two alike
        ((5.0, 0.9, float("nan")), None, False),
        ((9.0, 0.9, float("nan")), (1.0, 0.1, -2.0), False),
        ((5.0, 0.9, -0.9), None, True),
        (None, None, True),  # never validated: the last epoch is the best
        (None, (1.0, 0.1, -2.0), False),
    ],
)
def test_better_epochs(key: tuple[float, ...] | None, than: tuple[float, ...] | None, better: bool) -> None:
    assert is_better(key, than) is better
