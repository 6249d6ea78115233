"""What ranks an epoch: requirements met by estimates on enough images, then the primary metric."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from training_places import Workplace

from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.training.callbacks.best_checkpoint import is_better
from evensight.training.callbacks.metrics_file import read_lines
from evensight.training.record import Record
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
    assert found.rank == (0, 4, float("-inf"))  # 20 images are too few to choose by


def test_primary_ranks_where_it_has_images() -> None:
    table = counts({(0, 1): (20, 20), (0, 0): (40, 0), (1, 1): (40, 0)})
    evidence = evidence_of_counts(table.sum(axis=0), {"colour": table}, USUAL)
    assert standing(objective(), evidence).rank == (0, 0, 0.5)


def test_reliance_of_the_epoch_counts_among_the_requirements() -> None:
    table = counts({(0, 0): (90, 10), (1, 1): (90, 10)})
    evidence = evidence_of_counts(table.sum(axis=0), {"colour": table}, USUAL)
    stated = objective({"metric": "accuracy", "bound": 0.8}, {"metric": "reliance", "cue": "colour", "bound": 0.05})
    for value, n, met in ((0.05, 100, 2), (0.06, 100, 1), (-0.2, 100, 2), (0.0, 20, 1)):
        record = Record()
        record.add("val/reliance/colour/hue", 0.5, (0.4, 0.6, 100))  # an operator alone is no figure of the cue
        record.add("val/reliance/colour", value, (value - 0.03, value + 0.03, n))
        found = standing(stated, evidence, record)
        assert (found.num_met, found.num_measured) == (met, 2 if n >= 30 else 1)
    assert standing(stated, evidence, Record()).num_measured == 1


def test_fit_counts_reliance_only_where_every_epoch_measures_it(place: Workplace) -> None:
    bounded = Requirement(metric="reliance", cue="colour", bound=0.99)
    stated = dataclasses.replace(place, objective=place.objective.model_copy(update={"requirements": (bounded,)}))
    for every, met in ((1, [1.0, 1.0]), (2, [0.0, 0.0])):
        fitted = stated.fit(f"reliance.every_n_epochs={every}", f"experiment_name=every{every}")
        lines = read_lines(fitted.run.metrics_file)
        assert [line["metrics"]["val/requirements_met"] for line in lines] == met


def test_a_bound_that_is_steered_by_comes_before_accuracy() -> None:
    stated = objective({"metric": "accuracy", "bound": 0.95}, {"metric": "reliance", "cue": "colour", "bound": 0.05})

    def rank(right: int, reliance: float) -> tuple[float, float, float]:
        table = counts({(0, 0): (right, 100 - right), (1, 1): (right, 100 - right)})
        record = Record()
        record.add("val/reliance/colour", reliance, (reliance - 0.02, reliance + 0.02, 1000))
        return standing(stated, evidence_of_counts(table.sum(axis=0), {}, USUAL), record, {"colour": 0.05}).rank

    # Validation images that carry the shortcut flatter a network that takes it; so do estimates just below the bound.
    assert rank(60, 0.01) > rank(99, 0.7)
    assert rank(60, 0.01) > rank(99, 0.04)
    assert rank(99, 0.04) > rank(99, 0.06)
    assert rank(70, 0.01)[0] == rank(60, 0.03)[0] == 1


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
