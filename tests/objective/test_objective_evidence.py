"""If these fail, a verdict is about other images than it says, or the plan simulates other figures than it judges."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from evensight.errors import UserError
from evensight.objective.evidence import Counts, Evidence, Paired, comparisons, judge, primary_value
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.verdict import Comparisons, NotMeasured

K, LEVELS = 4, ("red", "green", "blue", "never")
CLASSES = ("circle", "square", "star", "absent")
USUAL = (1, 0, 2, 1)


def objective_of(*requirements: dict[str, Any], **changes: Any) -> Objective:
    plain = {
        "name": "random",
        "purpose": "Tell things apart.",
        "classes": list(CLASSES),
        "attributes": {"colour": {"levels": list(LEVELS)}, "camera": {"levels": ["front", "rear"]}},
        "requirements": list(requirements),
    }
    return Objective.from_config(plain | changes)


def colour(scope: str, **more: Any) -> dict[str, Any]:
    return {"metric": "accuracy", "scope": scope, "attribute": "colour", "bound": 0.5, **more}


class Images:
    """Random images: a level without any, a class without any, unknown levels, and a group of one image."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, 3, 200)
        self.levels = random.integers(-1, 2, 200)
        self.levels[17] = 2
        self.predictions = np.where(random.random(200) < 0.6, self.labels, random.integers(0, 3, 200))

    def counts(self) -> Counts:
        """Counted by a plain loop."""
        overall = np.zeros((K, K), dtype=np.int64)
        by_level = np.zeros((len(LEVELS), K, K), dtype=np.int64)
        for label, level, prediction in zip(self.labels, self.levels, self.predictions, strict=True):
            overall[label, prediction] += 1
            if level >= 0:
                by_level[level, label, prediction] += 1
        return Counts(overall, {"colour": by_level, "camera": np.zeros((2, K, K), dtype=np.int64)})


def measured(requirement: dict[str, Any], evidence: Evidence) -> Comparisons:
    objective = objective_of(requirement)
    found = comparisons(objective.requirements[0], objective, evidence)
    assert isinstance(found, Comparisons)
    return found


@pytest.fixture(params=[1, 2, 3])
def images(request: pytest.FixtureRequest) -> Images:
    return Images(request.param)


def test_accuracy_recall_and_precision_equal_scikit_learn(images: Images) -> None:
    evidence = Evidence(images.counts())
    y, p = images.labels, images.predictions
    assert np.array_equal(images.counts().overall, confusion_matrix(y, p, labels=range(K)))
    overall = measured({"metric": "accuracy", "bound": 0.5}, evidence)
    assert overall.x / overall.n == pytest.approx([accuracy_score(y, p)])
    recall = measured({"metric": "recall", "scope": "each_class", "bound": 0.5}, evidence)
    assert recall.names == CLASSES
    assert recall.n.tolist() == [(y == k).sum() for k in range(K)]
    assert recall.n[3] == 0, "a class without images stays, with n = 0"
    expected = recall_score(y, p, labels=range(3), average=None)
    assert recall.x[:3] / recall.n[:3] == pytest.approx(expected)
    precision = measured({"metric": "precision", "scope": "each_class", "bound": 0.5}, evidence)
    assert precision.n.tolist() == [(p == k).sum() for k in range(K)]
    assert precision.x[:3] / precision.n[:3] == pytest.approx(precision_score(y, p, labels=range(3), average=None))


def test_groups_cells_and_conflicting_images_equal_a_plain_selection(images: Images) -> None:
    evidence = Evidence(images.counts(), usual={"colour": USUAL})
    right = images.labels == images.predictions
    groups = measured(colour("each_group"), evidence)
    assert groups.names == LEVELS
    for level, (x, n) in enumerate(zip(groups.x, groups.n, strict=True)):
        assert (x, n) == (right[images.levels == level].sum(), (images.levels == level).sum())
    assert groups.n[2:].tolist() == [1, 0], "a group of one image and a level without any both stay"

    cells = measured(colour("each_cell"), evidence)
    wanted = [(k, level) for k in range(K) for level in range(len(LEVELS))]
    assert cells.names == tuple(f"{CLASSES[k]} x {LEVELS[level]}" for k, level in wanted)
    for (k, level), x, n in zip(wanted, cells.x, cells.n, strict=True):
        inside = (images.labels == k) & (images.levels == level)
        assert (x, n) == (right[inside].sum(), inside.sum())

    conflicting = measured(colour("conflicting"), evidence)
    against = (images.levels >= 0) & (images.levels != np.array(USUAL)[images.labels])
    assert (conflicting.x.tolist(), conflicting.n.tolist()) == ([right[against].sum()], [against.sum()])

    gap = measured(colour("gap"), evidence)
    assert gap.kind == "gap" and gap.direction == "at_most"
    assert np.array_equal(gap.x, groups.x) and np.array_equal(gap.n, groups.n)


def test_the_images_of_a_group_are_given_by_class_for_the_floor(images: Images) -> None:
    groups = measured(colour("each_group"), Evidence(images.counts()))
    assert groups.by_class is not None
    x, n = groups.by_class
    assert x.shape == n.shape == (K, len(LEVELS))
    assert np.array_equal(x.sum(0), groups.x) and np.array_equal(n.sum(0), groups.n)
    assert n[1, 0] == ((images.labels == 1) & (images.levels == 0)).sum()


def test_a_class_without_a_usual_level_has_no_conflicting_images(images: Images) -> None:
    usual = (1, -1, 2, 1)
    found = measured(colour("conflicting"), Evidence(images.counts(), usual={"colour": usual}))
    against = (images.levels >= 0) & (images.labels != 1) & (images.levels != np.array(usual)[images.labels])
    assert found.n.tolist() == [against.sum()]


STATED = [
    {"metric": "accuracy", "bound": 0.5},
    {"metric": "recall", "scope": "each_class", "bound": 0.5},
    {"metric": "precision", "scope": "each_class", "bound": 0.5},
    colour("each_group"),
    colour("each_cell"),
    colour("conflicting"),
    colour("gap", bound=0.3),
    {"metric": "reliance", "cue": "colour", "bound": 0.1},
    {"metric": "advantage", "over": ["majority", "colour"], "bound": 0.1},
    {"metric": "artifact_size", "bound": 1e6},
]


def full(counts: Counts, pairs: NDArray[Any]) -> Evidence:
    """Evidence of every kind; `pairs` [..., 2] holds the discordant counts of every paired figure."""
    pair = Paired(pairs[..., 0], pairs[..., 1], np.full(pairs.shape[:-1], 200))
    return Evidence(
        counts=counts,
        usual={"colour": USUAL},
        reliance={"colour": {"hue": pair, "luma": pair}},
        advantage={"majority": pair, "colour": pair},
        environment={"artifact_bytes": 5e5},
    )


@pytest.mark.parametrize("requirement", STATED, ids=lambda stated: f"{stated['metric']}-{stated.get('scope', '')}")
def test_draws_are_each_what_they_would_be_alone(requirement: dict[str, Any]) -> None:
    sets = [Images(seed).counts() for seed in range(6)]
    pairs = np.random.default_rng(0).integers(0, 30, (6, 2))
    stacked = Counts(
        np.stack([one.overall for one in sets]).reshape(2, 3, K, K),
        {"colour": np.stack([one.by_attribute["colour"] for one in sets]).reshape(2, 3, len(LEVELS), K, K)},
    )
    together = measured(requirement, full(stacked, pairs.reshape(2, 3, 2)))
    for draw in range(6):
        alone = measured(requirement, full(sets[draw], pairs[draw]))
        for name in ("x", "n", "y"):
            mine, theirs = getattr(alone, name), getattr(together, name)
            if mine is None or requirement["metric"] == "artifact_size":
                continue
            assert np.array_equal(mine, theirs[draw // 3, draw % 3]), name


def test_what_is_absent_is_not_measured_and_says_why() -> None:
    counts = Images(1).counts()
    cases: list[tuple[dict[str, Any], Evidence, str]] = [
        ({"metric": "accuracy", "bound": 0.5}, Evidence(), "no labelled image"),
        ({"metric": "accuracy", "bound": 0.5}, Evidence(missing={"counts": "all files broke"}), "files broke"),
        (colour("conflicting"), Evidence(counts), "no class has a usual colour in training"),
        (colour("each_group", attribute="camera"), Evidence(counts), "camera is not known of any image"),
        (colour("gap"), Evidence(Counts(counts.overall)), "colour is not known of any image"),
        (STATED[7], Evidence(counts, missing={"reliance/colour": "the bank has one class"}), "the bank has one class"),
        (STATED[7], Evidence(counts, missing={"reliance": "nothing was transplanted"}), "nothing was transplanted"),
        (STATED[8], Evidence(advantage={"majority": Paired(*np.array([3, 1, 9]))}), "what colour alone would score"),
        (STATED[9], Evidence(counts), "nothing was exported"),
    ]
    for requirement, evidence, reason in cases:
        objective = objective_of(requirement)
        found = comparisons(objective.requirements[0], objective, evidence)
        assert isinstance(found, NotMeasured) and reason in found.reason, requirement
        assert found.bound == objective.requirements[0].bound


def test_a_gap_over_one_level_found_in_the_data_is_refused() -> None:
    objective = objective_of(colour("gap"), attributes={"colour": {"levels": "from_data"}})
    with pytest.raises(UserError, match="one level"):
        objective.resolve([], {"colour": ["red"]})


def test_an_objective_that_still_needs_the_data_decides_nothing() -> None:
    objective = objective_of({"metric": "recall", "scope": "each_class", "bound": "above_chance"})
    with pytest.raises(ValueError, match=r"resolve\(\)"):
        comparisons(objective.requirements[0], objective, Evidence(Images(1).counts()))


def test_a_stage_decides_its_own_requirements_and_shows_the_others() -> None:
    objective = objective_of(
        {"metric": "accuracy", "bound": 0.01, "stages": ["validation", "test"]},
        {"metric": "recall", "scope": "each_class", "bound": 0.99, "stages": ["pilot"]},
        {"metric": "reliance", "cue": "colour", "bound": None},
    )
    decision = judge(objective, "test", Evidence(Images(1).counts()))
    assert decision.verdict == "PASS"
    assert [row.verdict for row in decision.rows] == ["PASS", None, None]
    assert len(decision.rows[1].comparisons) == K, "shown with its figures"
    pilot = judge(objective, "pilot", Evidence(Images(1).counts()))
    assert pilot.rows[0].verdict is None and pilot.rows[1].verdict is not None


def test_primary_is_the_worst_of_its_comparisons(images: Images) -> None:
    evidence = Evidence(images.counts(), usual={"colour": USUAL})
    right = images.labels == images.predictions
    objective = objective_of(primary={"metric": "accuracy", "scope": "conflicting", "attribute": "colour"})
    against = (images.levels >= 0) & (images.levels != np.array(USUAL)[images.labels])
    assert primary_value(objective, evidence) == pytest.approx((right[against].mean(), against.sum()))
    recall = objective_of(primary={"metric": "recall", "scope": "each_class"})
    assert primary_value(recall, evidence) is None, "one class has no image"
    assert primary_value(objective, Evidence(images.counts())) is None
    ahead = objective_of(primary={"metric": "advantage", "over": ["majority", "colour"]})
    pairs = {"majority": Paired(*np.array([90, 10, 200])), "colour": Paired(*np.array([60, 10, 200]))}
    assert primary_value(ahead, Evidence(advantage=pairs)) == (0.25, 200)


def test_requirement_names_what_it_was_given() -> None:
    requirement = Requirement(metric="advantage", over=("majority",), bound=0.1)
    assert requirement.parameters == {"over": ["majority"]}
    assert Requirement(metric="accuracy", scope="gap", attribute="colour").parameters == {"attribute": "colour"}
