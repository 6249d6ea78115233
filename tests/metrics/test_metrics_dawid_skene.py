"""If these fail, the consensus of annotators is not what their labels say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evensight.metrics.dawid_skene import dawid_skene

# Dawid and Skene (1979), table 1: 45 patients; the first observer saw each form three times, the others once.
PATIENTS = """
111 1 1 1 1/333 4 3 3 4/112 2 1 2 2/222 3 1 2 1/222 3 2 2 2/222 3 3 2 2/122 2 1 1 1/333 3 4 3 3/222 2 2 2 3
232 2 2 2 3/444 4 4 4 4/222 3 3 4 3/111 1 1 1 1/222 3 2 1 2/121 1 1 1 1/111 2 1 1 1/111 1 1 1 1/111 1 1 1 1
222 2 2 2 1/222 1 3 2 2/222 2 2 2 2/222 2 2 2 1/222 3 2 2 2/221 2 2 2 2/111 1 1 1 1/111 1 1 1 1/232 2 2 2 2
111 1 1 1 1/111 1 1 1 1/112 1 1 2 1/111 1 1 1 1/333 3 2 3 3/111 1 1 1 1/222 2 2 2 2/222 3 2 3 2/433 4 3 4 3
221 2 2 3 2/232 3 2 3 3/333 3 4 3 2/111 1 1 1 1/111 1 1 1 1/121 2 1 1 1/232 2 2 2 2/121 1 1 1 1/222 2 2 2 2
"""


def anaesthetists() -> tuple[list[int], list[int], list[int]]:
    items, observers, labels = [], [], []
    for item, row in enumerate(PATIENTS.replace("\n", "/").strip("/").split("/")):
        for observer, given in enumerate(row.split()):
            for label in given:
                items.append(item)
                observers.append(observer)
                labels.append(int(label) - 1)
    assert (len(set(items)), len(labels)) == (45, 315)
    return items, observers, labels


def by_the_paper(
    counts: NDArray[Any], rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Equations 2.3 to 2.5 in plain loops; counts: item x observer x label."""
    num_items, num_observers, num_classes = counts.shape
    truth = counts.sum(axis=1) / counts.sum(axis=(1, 2))[:, None]
    for _ in range(rounds):
        prior = truth.sum(axis=0) / num_items
        rates = np.zeros((num_observers, num_classes, num_classes))
        for k in range(num_observers):
            for j in range(num_classes):
                row = truth[:, j] @ counts[:, k]
                rates[k, j] = row / row.sum()
        truth = np.array(
            [[prior[j] * np.prod(rates[:, j] ** counts[i]) for j in range(num_classes)] for i in range(num_items)]
        )
        truth /= truth.sum(axis=1, keepdims=True)
    return truth, rates, prior


def test_the_anaesthetists_of_the_paper() -> None:
    """Marginals and the first observer's rates as printed, all else by the paper's equations in loops."""
    items, observers, labels = anaesthetists()
    found = dawid_skene(items, observers, labels, 45, 4, tol=1e-12, max_iter=1000, prior_strength=0)
    assert found.converged
    np.testing.assert_allclose(found.prior.round(2), [0.40, 0.42, 0.11, 0.07])
    np.testing.assert_allclose(
        found.confusion[0, :3].round(2), [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0]]
    )
    counts = np.zeros((45, 5, 4))
    np.add.at(counts, (items, observers, labels), 1)
    truth, rates, prior = by_the_paper(counts, 200)
    np.testing.assert_allclose(found.posterior, truth, atol=1e-9)
    np.testing.assert_allclose(found.confusion, rates, atol=1e-9)
    np.testing.assert_allclose(found.prior, prior, atol=1e-9)


def crowd(seed: int, num_items: int = 3000, each: int = 3) -> tuple[NDArray[Any], ...]:
    """Six annotators: two good, three poor, one who calls class 0 class 1; each item gets some of them."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, num_items, p=[0.5, 0.3, 0.2])
    confusion = np.stack([np.eye(3) * s + (1 - s) / 3 for s in (0.95, 0.9, 0.2, 0.2, 0.2, 0.9)])
    confusion[5, 0] = [0.1, 0.85, 0.05]
    items = np.repeat(np.arange(num_items), each)
    annotators = np.concatenate([rng.choice(6, each, replace=False) for _ in range(num_items)])
    cumulated = confusion[annotators, truth[items]].cumsum(axis=1)
    labels = (rng.random(items.size)[:, None] > cumulated).sum(axis=1)
    return truth, confusion, items, annotators, labels


@pytest.mark.parametrize("seed", range(3))
def test_it_beats_the_majority_and_finds_who_errs(seed: int) -> None:
    truth, confusion, items, annotators, labels = crowd(seed, 10_000, each=5)
    found = dawid_skene(items, annotators, labels, 10_000, 3)
    votes = np.zeros((10_000, 3))
    np.add.at(votes, (items, labels), 1)
    majority = (votes.argmax(axis=1) == truth).mean()
    consensus = (found.consensus == truth).mean()
    assert found.converged
    assert consensus > majority + 0.05
    np.testing.assert_allclose(found.confusion, confusion, atol=0.08)
    np.testing.assert_allclose(found.prior, [0.5, 0.3, 0.2], atol=0.05)


def test_a_posterior_is_as_often_right_as_it_says() -> None:
    truth, _, items, annotators, labels = crowd(9, 20_000)
    posterior = dawid_skene(items, annotators, labels, 20_000, 3).posterior
    stated = posterior.max(axis=1)
    right = posterior.argmax(axis=1) == truth
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        share = (stated >= low) & (stated < high)
        assert share.sum() > 300
        assert abs(right[share].mean() - stated[share].mean()) < 0.03


def test_an_item_without_labels_gets_the_prior_and_no_label_gets_an_even_one() -> None:
    found = dawid_skene([0, 0, 2, 2, 4], [0, 1, 0, 1, 0], [1, 1, 0, 0, 1], 5, 2)
    for empty in (1, 3):
        np.testing.assert_array_equal(found.posterior[empty], found.prior)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)
    nothing = dawid_skene([], [], [], 3, 4)
    np.testing.assert_allclose(nothing.posterior, 0.25)
    assert nothing.converged


def test_order_does_not_matter_and_names_of_annotators_do_not() -> None:
    _, _, items, annotators, labels = crowd(4, 500)
    first = dawid_skene(items, annotators, labels, 500, 3)
    order = np.random.default_rng(0).permutation(items.size)
    renamed = np.array([3, 5, 0, 1, 2, 4])
    again = dawid_skene(items[order], renamed[annotators[order]], labels[order], 500, 3)
    np.testing.assert_allclose(again.posterior, first.posterior, atol=1e-9)
    np.testing.assert_allclose(again.confusion[renamed], first.confusion, atol=1e-9)


def test_an_annotator_with_one_label_is_judged_like_the_rest() -> None:
    """Unsmoothed, one wrong label says "always wrong"; the prior keeps such a one near the others."""
    _, _, items, annotators, labels = crowd(2, 1000, each=2)
    items, annotators, labels = np.append(items, 0), np.append(annotators, 6), np.append(labels, 2)
    smooth = dawid_skene(items, annotators, labels, 1000, 3).confusion[6]
    plain = dawid_skene(items, annotators, labels, 1000, 3, prior_strength=0).confusion[6]
    assert plain.max() == pytest.approx(1.0)
    assert smooth.max() < 0.95


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (([0, 1], [0], [0, 0]), "allowed: as many"),
        (([0], [0], [2]), "labels: found 2"),
        (([3], [0], [0]), "items: found 3"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: tuple[list[int], ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dawid_skene(*columns, num_items=3, num_classes=2)
