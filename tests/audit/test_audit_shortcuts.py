"""The chapter of shortcuts: what raises an alarm, what does not, and which images it names."""

from __future__ import annotations

import numpy as np
import pytest
from made_data import cue, data_of, objective_of

from evensight.audit import shortcuts
from evensight.audit.chapter import AuditFinding, Chapter
from evensight.audit.cue_evidence import explained
from evensight.config import AuditConfig
from evensight.errors import UserError
from evensight.progress import silent

NAMED = {"requirements": [{"metric": "reliance", "cue": "colour", "bound": 0.05}]}


def noise(num: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((num, 4)).astype(np.float32)


def looked(data: object, **settings: object) -> Chapter:
    return shortcuts.chapter(data, AuditConfig(**settings), silent)


def of(chapter: Chapter, name: str) -> AuditFinding | None:
    return next((each for each in chapter.findings if each.evidence["cue"] == name), None)


@pytest.mark.parametrize("correlation", [0.9, 1.0])
def test_a_strong_shortcut_is_an_alarm_whether_or_not_the_objective_names_it(correlation: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 5
    features = {"colour": cue(labels, correlation, rng), "border": noise(1000, rng)}
    for keys in ({}, NAMED):
        chapter = looked(data_of(labels, features, objective=objective_of(5, **keys)))
        found = of(chapter, "colour")
        assert found is not None
        assert (found.severity, found.code) == ("alarm", "shortcut")
        truth = correlation + (1 - correlation) / 5
        assert found.evidence["low"] <= truth <= found.evidence["high"]
        assert of(chapter, "border") is None


def test_a_weak_one_is_an_alarm_only_where_the_objective_bounds_the_cue() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(2000) % 5
    features = {"colour": cue(labels, 0.35, rng)}
    assert of(looked(data_of(labels, features)), "colour").severity == "warning"
    assert of(looked(data_of(labels, features, objective=objective_of(5, **NAMED))), "colour").severity == "alarm"


def test_what_the_classes_are_made_of_is_told_apart() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(500) % 4
    data = data_of(labels, {"colour": cue(labels, 1.0, rng)}, objective=objective_of(4, essential_cues=["colour"]))
    found = of(looked(data), "colour")
    assert (found.severity, found.evidence["why"]) == ("note", "essential")
    with pytest.raises(UserError, match=r"essential_cues.*'colour' is what the classes are made of"):
        objective_of(4, essential_cues=["colour"], **NAMED)
    with pytest.raises(UserError, match=r"essential_cues: 'color' is not known.*Did you mean 'colour'"):
        objective_of(4, essential_cues=["color"])


def test_a_cue_that_does_not_carry_over_is_an_alarm_and_one_that_does_is_not() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(2400) % 4
    splits = np.where(np.arange(2400) < 1600, "train", "test")
    shifted = np.where(splits == "test", rng.integers(0, 4, 2400), labels)
    features = {"border": cue(shifted, 0.4, rng), "texture": cue(labels, 0.4, rng)}
    chapter = looked(data_of(labels, features, splits), transfer="test")
    border, texture = of(chapter, "border"), of(chapter, "texture")
    assert (border.severity, border.evidence["why"]) == ("alarm", "elsewhere")
    assert texture.severity == "warning"
    there = border.evidence["elsewhere"][0]
    assert there["place"] == "test"
    assert there["low"] <= 0.25 <= there["high"]


def test_each_level_of_a_source_is_left_out_in_turn() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(1200) % 3
    source = (np.arange(1200) // 3 % 3 == 2).astype(np.int64)
    # What the cue says is turned round in the second source.
    said = np.where(source == 1, (labels + 1) % 3, labels)
    data = data_of(labels, {"border": cue(said, 0.9, rng)}, attributes={"source": source})
    found = of(looked(data, transfer="source"), "border")
    assert [part["place"] for part in found.evidence["elsewhere"]] == ["source=l0", "source=l1"]
    assert found is not None
    assert all(part["accuracy"] < 0.2 for part in found.evidence["elsewhere"])


def test_a_cue_that_mirrors_a_stronger_one_raises_no_alarm_of_its_own() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(1500) % 5
    said = np.where(rng.random(1500) < 0.9, labels, rng.integers(0, 5, 1500))
    features = {"colour": cue(said, 1.0, rng), "surround": cue(said, 0.9, rng), "border": cue(labels, 0.8, rng)}
    chapter = looked(data_of(labels, features))
    assert of(chapter, "colour").severity == "alarm"
    assert of(chapter, "surround").severity == "warning"
    assert of(chapter, "surround").evidence["goes_with"] == "colour"
    assert of(chapter, "border").severity == "alarm"  # by itself, not by way of the colour


def test_the_side_table_says_what_the_cue_says_out_of_fold() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(800) % 4
    said = np.where(rng.random(800) < 0.9, labels, rng.integers(0, 4, 800))
    data = data_of(labels, {"colour": cue(said, 1.0, rng)})
    chapter = looked(data)
    table = chapter.tables["cues"]
    assert table.columns == ["row_id", "colour_says"]
    assert table["row_id"].to_list() == data.row_ids
    agree = np.mean([text == f"c{k}" for text, k in zip(table["colour_says"], said, strict=True)])
    assert agree > 0.97
    contradicting = np.flatnonzero(said != labels)
    named = of(chapter, "colour").rows
    assert len(set(named) & set(contradicting)) > 0.9 * len(contradicting)


def test_no_alarm_where_there_is_nothing() -> None:
    alarms = 0
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        labels = rng.integers(0, 4, 300)
        features = {name: noise(300, rng) for name in ("colour", "border", "brightness", "surround")}
        chapter = looked(data_of(labels, features, objective=objective_of(4, **NAMED)))
        alarms += any(each.severity != "note" for each in chapter.findings)
    assert alarms == 0


def test_closed_test_labels_are_not_asked_for() -> None:
    rng = np.random.default_rng(7)
    labels = np.arange(300) % 3
    with pytest.raises(UserError, match=r"audit\.transfer: the test split is sealed"):
        looked(data_of(labels, {"colour": noise(300, rng)}, open_test=False), transfer="test")
    with pytest.raises(UserError, match=r"audit\.transfer: 'tset' is not known.*Did you mean 'test'"):
        looked(data_of(labels, {"colour": noise(300, rng)}), transfer="tset")


def test_too_few_images_are_said_to_be() -> None:
    labels = np.arange(12) % 3
    chapter = looked(data_of(labels, {"colour": np.zeros((12, 4), np.float32)}))
    assert "fewer than two classes of ten images" in chapter.skipped


def test_the_explained_share() -> None:
    assert explained(0.95, 0.75) == pytest.approx(0.8)
    assert explained(0.5, 0.75) == 0.0
    assert explained(1.0, 1.0) == 0.0
