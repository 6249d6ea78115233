"""If these fail, `evensight objective` misreads an objective or promises another chance than the verdict gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from evensight.objective.command import likely_truth, objective_command, strata_of_counts, usual_in_training
from evensight.objective.objective import Objective
from evensight.objective.simulate import Truth

CONFIGS = Path(__file__).parents[2] / "configs" / "objective"


def configured(name: str) -> Objective:
    return Objective.from_config(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))


def split(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Counts of a split as a manifest gives them, of its classes and colours alone."""
    other = np.zeros((8, 3), dtype=np.int64)
    return {"overall": table.sum(1), "colour": table, "background": other, "size": other}


EVEN = np.full((8, 8), 94)
CORRELATED = np.full((8, 8), 2) + 234 * np.eye(8, dtype=np.int64)
SHAPES = {"train": split(4 * CORRELATED), "validation": split(CORRELATED), "test": split(EVEN)}


def row(text: str, label: str, splits: int = 2) -> list[str]:
    """The figures of a requirement's line: least n, then n and PASS of each split, then FAIL beyond."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return line.replace("> .", ">.").replace("< .", "<.").split()[-2 - 2 * splits :]


def test_shapes_is_read_back_with_its_evidence() -> None:
    text = objective_command(configured("shapes"), SHAPES, draws=1000)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Tell eight shapes apart by their shape, whatever their colour." in text
    assert "- The recall of every class is at least 0.900." in text
    # ln(.05) / ln(bound): least n 59 at .95, 29 at .90, 14 at .80; 94 a cell, 752 a class, 5,264 conflicting of 6,016.
    assert row(text, "accuracy  ")[:2] == ["59", "2000"] and row(text, "accuracy  ")[3] == "6016"
    assert row(text, "recall of each class")[0::3] == ["29", "752"]
    assert row(text, "accuracy of each class x colour")[:4] == ["14", "2", "<.001", "94"]
    assert row(text, "accuracy of conflicting images")[3] == "5264"
    assert row(text, "advantage over majority, colour")[1:3] == ["-", "-"], "not judged on validation"
    assert row(text, "artifact size") == ["-"] * 6
    # An uneven model at .97 passes .645 of the time; 1,000 sets have a standard error of .015.
    whole = next(line for line in text.splitlines() if line.startswith("The whole objective on test"))
    assert float(whole.split("PASS ")[1].split(",")[0]) == pytest.approx(0.645, abs=0.05)


def test_another_truth_gives_another_chance() -> None:
    counts = {"test": split(EVEN)}
    usual = {"colour": tuple(range(8))}
    broken = Truth(accuracy=0.90, spread=0.0, pull=0.12, placebo=0.01)
    text = objective_command(configured("shapes"), counts, usual=usual, truth=broken, draws=200)
    assert "The whole objective on test: FAIL > .999" in text
    assert "accuracy 0.900" in text and "pulls 0.120" in text


def test_without_a_usual_level_it_is_said_what_cannot_be_measured() -> None:
    text = objective_command(configured("shapes"), {"train": split(EVEN), "test": split(EVEN)}, draws=200)
    assert "NOT_MEASURED > .999" in text
    assert "no class has a usual colour in training" in text


def test_without_data_the_words_come_alone() -> None:
    text = objective_command(configured("default"))
    assert "Classes: whatever the data holds." in text
    assert "once the data is prepared" in text and "PASS\n" not in text


def test_a_users_own_images_are_planned_by_class_alone() -> None:
    objective = configured("default").resolve(["cat", "dog", "owl"], {})
    n = np.array([40, 30, 2])
    text = objective_command(objective, {"train": {"overall": 4 * n}, "test": {"overall": n}}, draws=200)
    assert "at least 0.333" in text
    # ln(.05) / ln(1/3) = 2.7; the smallest class has 2 images and cannot pass.
    assert row(text, "recall of each class", splits=1)[:3] == ["3", "2", "<.001"]


def test_notes_are_printed() -> None:
    objective = Objective.from_config({"name": "a", "purpose": "b", "classes": ["c", "d"]})
    assert "Note: No requirement has a bound" in objective_command(objective)


def test_the_assumed_model_is_two_fifths_better_than_its_bounds() -> None:
    shapes = likely_truth(configured("shapes"), split(EVEN))
    assert shapes.accuracy == pytest.approx(0.97)
    assert (shapes.pull, shapes.placebo) == pytest.approx((0.03, 0.01))
    bar = configured("bar")
    n = np.array([105, 159, 42, 131, 132, 85])
    # The largest class, 159 of 654, and .10 more are less than the accuracy asked for, .35.
    assert likely_truth(bar, {"overall": n}).accuracy == pytest.approx(0.35 + 0.4 * 0.65)
    assert likely_truth(bar, {"overall": n}).pull == pytest.approx(0.06)


def test_usual_levels_come_from_training() -> None:
    assert usual_in_training(SHAPES["train"]) == {"colour": tuple(range(8))}


def test_strata_keep_every_image() -> None:
    random = np.random.default_rng(0)
    table = random.integers(0, 9, (3, 4))
    overall = table.sum(1) + np.array([5, 0, 2])
    one = strata_of_counts({"overall": overall, "colour": table}, ["colour"])
    for k in range(3):
        for level in range(-1, 4):
            at = (one.classes == k) & (one.levels["colour"] == level)
            assert one.n[at].sum() == (table[k, level] if level >= 0 else overall[k] - table[k].sum())
    other = np.stack([overall - 1, np.ones(3, dtype=np.int64)], axis=1)
    two = strata_of_counts({"overall": overall, "colour": table, "camera": other}, ["colour", "camera"])
    assert [two.n[two.classes == k].sum() for k in range(3)] == overall.tolist()
    assert (two.n >= 0).all()
    none = strata_of_counts({"overall": overall}, [])
    assert none.n.tolist() == overall.tolist() and none.levels == {}
