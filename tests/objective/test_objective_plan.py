"""If these fail, a plan promises what the verdict will not keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from evensight.metrics.planning import rate_power
from evensight.objective.objective import Objective
from evensight.objective.plan import fails_beyond, gap_n, paired_n, plan, smallest_n
from evensight.objective.simulate import (
    Looks,
    Truth,
    rival_rates,
    simulate,
    strata_of_images,
    strata_of_table,
    true_rates,
)
from evensight.objective.verdict import Comparisons, decide_draws


def objective(*requirements: dict[str, Any], confidence: float = 0.95) -> Objective:
    config = {
        "name": "two",
        "purpose": "Tell two apart.",
        "classes": ["cat", "dog", "owl"],
        "attributes": {"colour": {"levels": ["red", "blue"]}, "size": {"levels": ["small", "large"]}},
        "requirements": list(requirements),
        "confidence": confidence,
    }
    return Objective.from_config(config)


TABLE = np.array([[40, 10], [10, 40], [30, 20]])
LOOKS = Looks(
    usual={"colour": [0, 1, 0]}, operators={"colour": ["hue", "luma"]}, rivals=["majority", "colour", "texture"]
)


# Figures of the planning table: the least n on a coarse ladder with chance .8.


@pytest.mark.parametrize(
    ("bound", "likely", "stated", "step_before"),
    [
        (0.05, 0.985, 300, 200),
        (0.05, 0.97, 500, 400),
        (0.05, 0.95, 800, 600),
        (0.05, 0.90, 1500, 1200),
        (0.10, 0.95, 200, 150),
        (0.10, 0.90, 400, 300),
        (0.10, 0.60, 1000, 800),
    ],
)
def test_gap_of_eight_groups(bound: float, likely: float, stated: int, step_before: int) -> None:
    found = gap_n(bound, likely, groups=8)
    assert found is not None and step_before < found <= stated


@pytest.mark.parametrize(
    ("bound", "pull", "placebo", "stated"),
    [
        (0.05, 0.02, 0.01, 220),
        (0.05, 0.03, 0.01, 420),
        (0.05, 0.04, 0.01, 960),
        (0.10, 0.03, 0.01, 100),
        (0.10, 0.06, 0.02, 200),
    ],
)
def test_reliance(bound: float, pull: float, placebo: float, stated: int) -> None:
    assert paired_n(bound, pull, placebo) == pytest.approx(stated, rel=0.03)


def test_smallest_n_can_pass_and_less_cannot() -> None:
    for n in (28, 29):
        row = Comparisons("rate", ("a",), np.array([n]), np.array([n]), 0.9, "at_least")
        assert (n >= (smallest_n(row, 0.05) or 0)) == (decide_draws([row], 0.05)[1] == 0)
    gap = Comparisons("gap", ("a", "b"), np.array([59, 59]), np.array([59, 59]), 0.05, "at_most")
    assert smallest_n(gap, 0.05) == 59
    assert decide_draws([gap], 0.05)[1] == 0
    size = Comparisons("value", ("a",), np.array([5.0]), np.ones(1), 9.0, "at_most")
    assert smallest_n(size, 0.05) is None


# Simulated test sets


def test_strata_of_images_counts_them() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2])
    colour, size = np.array([0, 0, 1, -1, 1, 0]), np.array([0, 1, 0, 0, 0, 1])
    strata = strata_of_images(labels, {"colour": colour, "size": size}, 3, {"colour": 2, "size": 2})
    assert strata.n.sum() == 6
    alone = strata.only(["colour"])
    assert list(alone.levels) == ["colour"]
    found = {
        (int(k), int(level)): int(n) for k, level, n in zip(alone.classes, alone.levels["colour"], alone.n, strict=True)
    }
    assert found == {(0, 0): 2, (1, 1): 2, (1, -1): 1, (2, 0): 1}


def test_counts_add_up_to_the_sizes() -> None:
    evidence = simulate(strata_of_table(TABLE, "colour"), Truth(0.8, 0.5), LOOKS, 50, np.random.default_rng(0))
    assert evidence.counts is not None
    by_colour = evidence.counts.by_attribute["colour"]
    assert by_colour.shape == (50, 2, 3, 3)
    assert np.array_equal(by_colour.sum(axis=-1), np.broadcast_to(TABLE.T, (50, 2, 3)))
    assert np.array_equal(by_colour.sum(axis=1), evidence.counts.overall)
    right = np.trace(evidence.counts.overall, axis1=1, axis2=2).mean() / 150
    assert right == pytest.approx(0.8, abs=0.02)
    off_diagonal = evidence.counts.overall.sum(axis=0)[~np.eye(3, dtype=bool)].reshape(3, 2)
    assert np.allclose(off_diagonal / off_diagonal.sum(axis=1, keepdims=True), 0.5, atol=0.1)


def test_unknown_levels_are_only_in_overall() -> None:
    strata = strata_of_images(np.array([0, 1, 2, 2]), {"colour": np.array([0, -1, 1, -1])}, 3, {"colour": 2})
    counts = simulate(strata, Truth(), Looks(), 3, np.random.default_rng(0)).counts
    assert counts is not None
    assert (counts.overall.sum(axis=(1, 2)) == 4).all()
    assert (counts.by_attribute["colour"].sum(axis=(1, 2, 3)) == 2).all()


def test_uneven_truth_keeps_its_mean_and_its_spread() -> None:
    strata = strata_of_table(np.full((8, 8), 94), "colour")
    rates = true_rates(strata, Truth(0.97, 0.3), 4_000, np.random.default_rng(0))
    assert np.allclose(rates.mean(axis=1), 0.97, atol=1e-9)
    logits = np.log(rates / (1 - rates)).reshape(-1, 8, 8)
    # What two cells of one draw differ by: twice the variances of class, group and cell.
    difference = np.var(logits[:, 0, 0] - logits[:, 1, 1])
    assert difference == pytest.approx(2 * (0.09 + 0.09 + 0.0225), rel=0.08)
    same_class = np.var(logits[:, 0, 0] - logits[:, 0, 1])
    assert same_class == pytest.approx(2 * (0.09 + 0.0225), rel=0.08)
    even = true_rates(strata, Truth(0.97, 0.0), 5, np.random.default_rng(0))
    assert (even == 0.97).all()


def test_rivals() -> None:
    strata = strata_of_table(TABLE, "colour")
    largest = strata_of_table(TABLE + np.array([[1, 0], [0, 0], [0, 0]]), "colour")
    assert list(rival_rates(largest, "majority", LOOKS)) == [1, 1, 0, 0, 0, 0]
    assert list(rival_rates(strata, "colour", LOOKS)) == [1, 0, 0, 1, 1, 0]
    assert np.allclose(rival_rates(strata, "texture", LOOKS), 1 / 3)


def test_pulls_and_advantages_have_their_means() -> None:
    strata = strata_of_table(TABLE * 10, "colour")
    evidence = simulate(strata, Truth(0.9, 0.0, 0.3, 0.1), LOOKS, 2_000, np.random.default_rng(0))
    hue = evidence.reliance["colour"]["hue"]
    assert (hue.n == 1500).all()
    assert hue.first.mean() == pytest.approx(1500 * 0.3 * 0.9, rel=0.01)
    assert hue.second.mean() == pytest.approx(1500 * 0.1 * 0.7, rel=0.01)
    beats = evidence.advantage["colour"]  # right on 1,100 of 1,500
    assert beats.first.mean() == pytest.approx(400 * 0.9, rel=0.01)
    assert beats.second.mean() == pytest.approx(1100 * 0.1, rel=0.01)


# Plans


def test_plan_of_one_rate_is_its_exact_power() -> None:
    found = plan(
        objective({"metric": "accuracy", "bound": 0.8}),
        "test",
        strata_of_table(TABLE, "colour"),
        Truth(0.88, 0.0),
        Looks(),
    )
    row = found.rows[0]
    assert (row.n, row.least_n, row.fails) == (150, 14, pytest.approx(0.0, abs=0.002))
    assert row.passes == pytest.approx(float(rate_power(150, 0.8, 0.88, 0.05)), abs=0.025)
    assert found.verdicts["PASS"] == row.passes
    assert sum(found.verdicts.values()) == pytest.approx(1.0)


def test_plan_judges_the_stage_and_says_what_it_cannot() -> None:
    two = objective(
        {"metric": "accuracy", "bound": 0.8, "stages": ["test"]},
        {"metric": "recall", "scope": "each_class", "bound": 0.5},
        {"metric": "accuracy", "scope": "each_group", "attribute": "size", "bound": 0.5},
        {"metric": "reliance", "cue": "colour", "bound": None},
    )
    strata = strata_of_table(TABLE, "colour")
    found = plan(two, "validation", strata, Truth(), LOOKS, draws=200)
    assert [row.label for row in found.rows] == ["recall of each class", "accuracy of each size", "reliance on colour"]
    assert found.verdicts["NOT_MEASURED"] == 1.0
    assert found.rows[1].reason == "size is not known of any image"
    assert found.rows[2].passes is None and found.rows[2].n == 150


def test_same_seed_same_plan() -> None:
    two = objective({"metric": "accuracy", "bound": 0.95})
    strata = strata_of_table(TABLE, "colour")
    plans = [plan(two, "test", strata, Truth(), Looks(), draws=300, seed=seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_fails_beyond_mirrors_the_margin() -> None:
    """One cell of 200 at .97 against .90 is put at .83: an exact binomial says how often that FAILs alone."""
    x = np.random.default_rng(0).binomial(200, 0.97, size=(4_000, 1))
    row = Comparisons("rate", ("a",), x, np.array([200]), 0.9, "at_least")
    critical = stats.binom.ppf(0.05, 200, 0.9) - 1
    assert fails_beyond(row, 1, 0.05) == pytest.approx(stats.binom.cdf(critical, 200, 0.83), abs=0.03)
    below = Comparisons("rate", ("a",), x - 30, np.array([200]), 0.9, "at_least")
    assert fails_beyond(below, 1, 0.05) is None


@pytest.mark.slow
def test_many_classes_stay_in_memory() -> None:
    """A hundred classes and ten groups: drawn in batches."""
    config = {
        "name": "many",
        "purpose": "Tell many apart.",
        "classes": [f"class {k:03}" for k in range(100)],
        "attributes": {"source": {"levels": [f"source {i}" for i in range(10)]}},
        "requirements": [{"metric": "precision", "scope": "each_class", "bound": 0.5}],
    }
    strata = strata_of_table(np.full((100, 10), 5), "source")
    found = plan(Objective.from_config(config), "test", strata, Truth(), Looks())
    assert found.draws == 4_000
    assert found.rows[0].passes is not None
