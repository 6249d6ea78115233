"""Figures of an epoch equal independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta, binomtest
from sklearn.metrics import precision_recall_fscore_support

from evensight.metrics.group_confusion import GroupConfusion
from evensight.training.figures import conflicting_counts, figures, parts_behind
from evensight.training.record import Record

CLASSES = ("ant", "bee", "cat")
LEVELS = {"colour": ("red", "green", "blue"), "site": ("north", "south")}
USUAL = {"colour": (0, 1, 2)}


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """No image is blue, one is of the north, 20 are of unknown colour; cat is never predicted."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 400)
    colour = rng.integers(0, 2, 400)
    colour[:20] = -1
    site = np.ones(400, int)
    site[5] = 0
    preds = np.where(rng.random(400) < 0.7, labels, 0)
    return {"labels": labels, "preds": np.where(preds == 2, 1, preds), "attributes": np.stack([colour, site], axis=1)}


@pytest.fixture(scope="module")
def counts(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    metric = GroupConfusion(3, {name: len(levels) for name, levels in LEVELS.items()})
    metric.update(*(torch.from_numpy(images[name]) for name in ("preds", "labels", "attributes")))
    return {name: table.numpy() for name, table in metric.compute().items()}


@pytest.fixture(scope="module")
def record(counts: dict[str, np.ndarray]) -> Record:
    by_attribute = {name: counts[name] for name in LEVELS}
    return figures(counts["overall"], by_attribute, CLASSES, LEVELS, USUAL)


def test_classes_equal_scikit_learn(record: Record, images: dict[str, np.ndarray]) -> None:
    found = precision_recall_fscore_support(images["labels"], images["preds"], labels=range(3), zero_division=0)
    for k, name in enumerate(CLASSES):
        assert record.metrics[f"val/recall/{name}"] == pytest.approx(found[1][k])
        assert record.metrics[f"val/f1/{name}"] == pytest.approx(found[2][k])
        assert record.intervals[f"val/recall/{name}"][2] == found[3][k]
    assert record.metrics["val/precision/ant"] == pytest.approx(found[0][0])
    assert "val/precision/cat" not in record.metrics  # no image was predicted so
    assert record.metrics["val/worst_class_recall"] == pytest.approx(found[1].min())


def test_groups_equal_numpy(record: Record, images: dict[str, np.ndarray]) -> None:
    right = images["labels"] == images["preds"]
    colour, _ = images["attributes"].T
    assert record.metrics["val/accuracy"] == pytest.approx(right.mean())
    groups = {name: right[colour == i].mean() for i, name in enumerate(("red", "green"))}
    for name, accuracy in groups.items():
        assert record.metrics[f"val/group_accuracy/colour/{name}"] == pytest.approx(accuracy)
    assert "val/group_accuracy/colour/blue" not in record.metrics
    assert record.metrics["val/worst_group_accuracy/colour"] == pytest.approx(min(groups.values()))
    assert record.metrics["val/gap/colour"] == pytest.approx(abs(groups["red"] - groups["green"]))
    cells = [right[(colour == i) & (images["labels"] == k)].mean() for i in range(2) for k in range(3)]
    assert record.metrics["val/worst_cell_accuracy/colour"] == pytest.approx(min(cells))
    conflicting = (colour >= 0) & (colour != images["labels"])
    assert record.metrics["val/conflicting_accuracy/colour"] == pytest.approx(right[conflicting].mean())
    assert record.intervals["val/conflicting_accuracy/colour"][2] == conflicting.sum()
    assert record.intervals["val/group_accuracy/site/north"][2] == 1
    assert "val/conflicting_accuracy/site" not in record.metrics


def test_intervals_are_two_sided_clopper_pearson(record: Record, images: dict[str, np.ndarray]) -> None:
    right = images["labels"] == images["preds"]
    low, high, n = record.intervals["val/accuracy"]
    expected = binomtest(int(right.sum()), n).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high))
    # F1 = 2J/(1+J) with J = TP/(TP+FP+FN) a rate.
    tp = int((right & (images["labels"] == 0)).sum())
    union = int(((images["labels"] == 0) | (images["preds"] == 0)).sum())
    bounds = beta.ppf([0.025, 0.975], [tp, tp + 1], [union - tp + 1, union - tp])
    assert record.intervals["val/f1/ant"][:2] == pytest.approx(tuple(2 * bounds / (1 + bounds)))
    assert record.intervals["val/f1/ant"][2] == union


def test_worst_and_gap_stand_beside_what_chance_gives(record: Record) -> None:
    for name in ("val/worst_class_recall", "val/worst_cell_accuracy/colour", "val/worst_group_accuracy/colour"):
        assert 0 <= record.floors[name]["quantile"] <= record.floors[name]["mean"] <= 1
    assert record.floors["val/gap/colour"]["mean"] <= record.floors["val/gap/colour"]["quantile"]


def test_floor_of_even_groups_is_that_of_the_statistics_page() -> None:
    # 100 groups of 100 images at .972: expected worst .923, expected gap .076.
    table = np.zeros((100, 2, 2), int)
    table[:, 0, 0], table[:, 0, 1] = 97, 3
    table[:20, 0, 0], table[:20, 0, 1] = 98, 2
    levels = {"a": [str(i) for i in range(100)]}
    found = figures(table.sum(axis=0), {"a": table}, ("x", "y"), levels, {})
    assert found.floors["val/worst_group_accuracy/a"]["mean"] == pytest.approx(0.923, abs=0.005)
    assert found.floors["val/gap/a"]["mean"] == pytest.approx(0.076, abs=0.005)


def test_a_broken_group_is_named_and_even_ones_are_not() -> None:
    table = np.zeros((4, 2, 2), int)
    table[:, 0, 0], table[:, 0, 1] = 90, 10
    levels = {"colour": ("a", "b", "c", "d")}
    assert parts_behind(table.sum(axis=0), {"colour": table}, ("x", "y"), levels, 0.05) == []
    table[2, 0] = (50, 50)
    found = parts_behind(table.sum(axis=0), {"colour": table}, ("x", "y"), levels, 0.05)
    assert found == [("colour=c", "colour=c, accuracy 0.500 (n = 100), the rest 0.900")]


def test_nothing_is_said_of_no_image() -> None:
    empty = figures(
        np.zeros((2, 2), int), {"a": np.zeros((2, 2, 2), int)}, ("x", "y"), {"a": ("p", "q")}, {"a": (0, 1)}
    )
    assert empty.metrics == empty.intervals == empty.floors == {}
    assert conflicting_counts(np.zeros((2, 2, 2), int), (0, 1)) == (0, 0)


def test_numbers_json_has_no_word_for_become_null() -> None:
    assert Record({"train/loss": float("nan")}).to_json()["metrics"] == {"train/loss": None}
