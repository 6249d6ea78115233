"""If these fail, images are called conflicting by chance, or a model's use of an attribute is overstated."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from evensight.objective.conflicting import association_p, conflicts, decided_by_attribute, usual_levels


def test_the_most_frequent_level_is_usual_where_class_and_level_go_together() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    levels = np.where(random.random(300) < 0.5, (labels + 1) % 3, random.integers(0, 3, 300))
    levels[:20] = -1
    expected = [np.bincount(levels[(labels == k) & (levels >= 0)], minlength=3).argmax() for k in range(3)]
    assert usual_levels(labels, levels, 3, 3) == tuple(expected) == (1, 2, 0)


def test_ties_go_to_the_first_level_and_an_unseen_class_has_none() -> None:
    labels = np.repeat([0, 1], 60)
    levels = np.concatenate([np.repeat([1, 2], 30), np.zeros(60, dtype=int)])
    assert usual_levels(labels, levels, 3, 3) == (1, 0, -1)


def test_what_the_data_set_declares_wins() -> None:
    labels, levels = np.repeat([0, 1], 50), np.repeat([0, 1], 50)
    assert usual_levels(labels, levels, 2, 2, declared=(1, 0)) == (1, 0)
    assert usual_levels(labels, levels, 2, 2) == (0, 1)
    with pytest.raises(ValueError, match="one of 2 levels for 2 classes"):
        usual_levels(labels, levels, 2, 2, declared=(1, 2))
    with pytest.raises(ValueError, match="2 classes"):
        usual_levels(labels, levels, 2, 2, declared=(1,))


def test_without_association_nothing_is_usual() -> None:
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        found.append(usual_levels(random.integers(0, 4, 400), random.integers(0, 4, 400), 4, 4, seed=seed))
    # Each is called associated with chance .01: four or more of 60 happen once in 300.
    assert sum(table is not None for table in found) <= 3
    assert usual_levels(np.zeros(50, int), np.arange(50) % 2, 2, 2) is None, "one class alone goes with nothing"
    assert usual_levels(np.arange(50) % 2, np.full(50, -1), 2, 2) is None, "no level is known"


def test_the_p_value_is_that_of_permuted_images() -> None:
    random = np.random.default_rng(3)
    labels, levels = random.integers(0, 3, 60), random.integers(0, 2, 60)
    table = np.zeros((3, 2), dtype=int)
    np.add.at(table, (labels, levels), 1)
    observed = chi2_contingency(table, correction=False).statistic
    reached = 0
    for _ in range(2000):
        shuffled = np.zeros((3, 2), dtype=int)
        np.add.at(shuffled, (labels, random.permutation(levels)), 1)
        reached += chi2_contingency(shuffled, correction=False).statistic >= observed - 1e-9
    # Two Monte Carlo estimates, of 999 and 2,000 draws.
    assert association_p(table) == pytest.approx(reached / 2000, abs=0.07)
    assert association_p(table, seed=5) == association_p(table, seed=5)


def test_conflicting_images_are_those_that_carry_another_level() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    levels = np.array([0, 1, -1, 1, 2, 0])
    assert conflicts(levels, labels, (0, 1, -1)).tolist() == [False, True, False, False, True, False]


def test_images_decided_by_their_attribute_are_counted_one_by_one() -> None:
    random = np.random.default_rng(1)
    usual = np.array([2, 0, 0, 1])  # two classes share level 0; level 3 is nobody's
    labels, levels, predictions = (random.integers(0, 4, 500) for _ in range(3))
    histogram = np.zeros((4, 4, 4), dtype=np.int64)
    np.add.at(histogram, (levels, labels, predictions), 1)
    against = levels != usual[labels]
    followed = against & (usual[predictions] == levels)
    x, n = decided_by_attribute(histogram, tuple(usual))
    assert (int(x), int(n)) == (followed.sum(), against.sum())
    doubled_x, doubled_n = decided_by_attribute(np.stack([histogram, 2 * histogram]), tuple(usual))
    assert doubled_x.tolist() == [x, 2 * x] and doubled_n.tolist() == [n, 2 * n]
