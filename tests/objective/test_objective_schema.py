"""If these fail, a mistake in an objective is answered wrongly or not at all, or its identity is not its meaning."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from evensight.errors import UserError
from evensight.objective.objective import Objective

CONFIGS = Path(__file__).parents[2] / "configs" / "objective"
COLOUR = {"metric": "accuracy", "attribute": "colour"}


def plain(**changes: Any) -> dict[str, Any]:
    """A small valid objective as plain values."""
    value: dict[str, Any] = {
        "name": "signs",
        "purpose": "Tell signs apart.",
        "classes": ["stop", "yield", "speed limit"],
        "attributes": {"colour": {"levels": ["red", "blue"]}, "camera": {"levels": ["front", "rear"]}},
        "requirements": [
            {"metric": "accuracy", "bound": 0.9},
            {"metric": "recall", "scope": "each_class", "bound": "above_chance"},
        ],
        "primary": {"metric": "accuracy"},
    }
    return value | changes


def stated(*requirements: dict[str, Any], **changes: Any) -> Objective:
    return Objective.from_config(plain(requirements=list(requirements), **changes))


# What was written, and what the one sentence must name: the key, what was found, what is allowed or the way out.
MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown metric": ({"metric": "acuracy"}, ["requirements[0].metric", "'acuracy'", "Did you mean 'accuracy'"]),
    "unknown scope": ({"metric": "accuracy", "scope": "each_grop"}, ["[0].scope", "'each_grop'", "'each_group'"]),
    "unknown cue": ({"metric": "reliance", "cue": "color"}, ["[0].cue", "'color'", "Did you mean 'colour'"]),
    "unknown attribute": (
        {"metric": "accuracy", "scope": "each_group", "attribute": "camra"},
        ["[0].attribute", "'camra'", "Did you mean 'camera'"],
    ),
    "unknown rival": ({"metric": "advantage", "over": ["majorty"]}, ["[0].over", "Did you mean 'majority'"]),
    "unknown stage": ({"metric": "accuracy", "stages": ["tset"]}, ["[0].stages", "Did you mean 'test'"]),
    "wrong stage": ({"metric": "accuracy", "stages": ["audit"]}, ["[0].stages", "audit", "validation, test"]),
    "unknown key": (
        {"metric": "accuracy", "bond": 0.9},
        ["objective.requirements[0].bond'", "Did you mean 'objective.requirements[0].bound'"],
    ),
    "no metric": ({"bound": 0.9}, ["requirements[0].metric", "a value is needed"]),
    "no attribute": ({"metric": "accuracy", "scope": "gap"}, ["[0].attribute", "missing", "camera, colour"]),
    "no cue": ({"metric": "reliance"}, ["[0].cue", "missing", "colour"]),
    "no rival": ({"metric": "advantage"}, ["[0].over", "missing", "majority"]),
    "cue on accuracy": ({"metric": "accuracy", "cue": "colour"}, ["[0].cue", "accuracy takes no cue", "reliance"]),
    "rivals on accuracy": ({"metric": "accuracy", "over": ["majority"]}, ["[0].over", "takes no over", "advantage"]),
    "attribute on all images": (dict(COLOUR), ["[0].attribute", "takes no attribute", "each_group"]),
    "scope of another metric": (
        {"metric": "accuracy", "scope": "each_class"},
        ["[0].scope", "'each_class'", "metric: recall"],
    ),
    "above one": ({"metric": "accuracy", "bound": 1.2}, ["[0].bound", "1.2", "between 0 and 1"]),
    "never reached": ({"metric": "accuracy", "bound": 1.0}, ["[0].bound", "ends excluded"]),
    "not a number": ({"metric": "accuracy", "bound": float("nan")}, ["[0].bound", "nan"]),
    "percent": ({"metric": "accuracy", "bound": "90%"}, ["[0].bound", "'90%'", "above_chance"]),
    "yes": ({"metric": "accuracy", "bound": True}, ["[0].bound", "true is no bound"]),
    "no size": ({"metric": "artifact_size", "bound": -1}, ["[0].bound", "above 0"]),
    "chance of a gap": (COLOUR | {"scope": "gap", "bound": "above_chance"}, ["[0].bound", "no chance level"]),
    "chance of a precision": (
        {"metric": "precision", "scope": "each_class", "bound": "above_chance"},
        ["[0].bound", "no chance level"],
    ),
    "stages in words": ({"metric": "accuracy", "stages": "test"}, ["[0].stages", "'test'", "[test]"]),
    "stage twice": ({"metric": "accuracy", "stages": ["test", "test"]}, ["[0].stages", "'test'", "twice"]),
}


@pytest.mark.parametrize("requirement, parts", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_requirement_is_one_sentence(requirement: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        stated(requirement)
    sentence = str(caught.value)
    assert all(part in sentence for part in parts), sentence
    assert "\n" not in sentence and "pydantic" not in sentence.lower()


WRONG_ROOTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"requirments": []}, ["'objective.requirments'", "Did you mean 'objective.requirements'"]),
    "unknown key of an attribute": (
        {"attributes": {"colour": {"level": ["a"]}}},
        ["'objective.attributes.colour.level'", "Did you mean 'objective.attributes.colour.levels'"],
    ),
    "class twice": ({"classes": ["a", "b", "a"]}, ["objective.classes", "'a'", "twice"]),
    "one class": ({"classes": ["a"]}, ["objective.classes", "at least 2"]),
    "classes in words": ({"classes": "from_date"}, ["objective.classes", "Did you mean 'from_data'"]),
    "a class YAML reads as false": ({"classes": ["yes", False]}, ["objective.classes", "False", "quotes"]),
    "a class YAML reads as a number": ({"classes": [0, 1]}, ["objective.classes", "a number", '"0"']),
    "a class with a space": ({"classes": ["a", "b "]}, ["objective.classes", "'b '", "spaces"]),
    "level twice": ({"attributes": {"colour": {"levels": ["a", "a"]}}}, ["attributes.colour.levels", "twice"]),
    "a class with a line break": ({"classes": ["a", "b\nc"]}, ["objective.classes", "line break", "'b\\nc'"]),
    "one class in two forms of Unicode": (
        {"classes": ["caf\u00e9", "cafe\u0301"]},
        ["objective.classes", "'caf\\xe9'", "'cafe\\u0301'", "the same letters"],
    ),
    "attributes in words": ({"attributes": "colour"}, ["objective.attributes", "found 'colour'", "a mapping"]),
    "no level": ({"attributes": {"colour": {"levels": []}}}, ["attributes.colour.levels", "empty"]),
    "a taken name": ({"attributes": {"label": {"levels": ["a"]}}}, ["attributes.label", "taken"]),
    "a name with a slash": ({"attributes": {"a/b": {"levels": ["a"]}}}, ["attributes.a/b", "no name"]),
    "confidence": ({"confidence": 95}, ["objective.confidence", "95", "between 0.5 and 1"]),
    "no name": ({"name": ""}, ["objective.name", "empty"]),
    "purpose is a number": ({"purpose": 3}, ["objective.purpose", "3"]),
    "requirements in words": ({"requirements": "accuracy"}, ["objective.requirements", "found 'accuracy'", "a list"]),
    "a bounded primary": ({"primary": {"metric": "accuracy", "bound": 0.9}}, ["objective.primary.bound"]),
    "a primary at one stage": ({"primary": {"metric": "accuracy", "stages": ["test"]}}, ["objective.primary.stages"]),
    "a primary to minimise": ({"primary": {"metric": "reliance", "cue": "colour"}}, ["objective.primary", "lower"]),
    "an unknown primary": ({"primary": {"metric": "f1"}}, ["objective.primary.metric", "'f1'"]),
}


@pytest.mark.parametrize("changes, parts", WRONG_ROOTS.values(), ids=WRONG_ROOTS.keys())
def test_a_mistake_in_an_objective_is_one_sentence(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Objective.from_config(plain(**changes))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_requirement_stated_twice_is_refused_unless_for_other_stages() -> None:
    first = {"metric": "advantage", "over": ["majority", "colour"], "bound": 0.1}
    again = {"metric": "advantage", "over": ["colour", "majority"], "bound": 0.2}
    with pytest.raises(UserError, match=r"requirements\[1\]: advantage over colour, majority is stated already"):
        stated(first, again | {"bound": 0.1})
    with pytest.raises(UserError, match=r"requirements\[1\]\.bound: .* at least 0\.2 here and at least 0\.1"):
        stated(first, again)
    apart = stated(first | {"stages": ["validation"]}, again | {"stages": ["test"]})
    assert [r.bound for r in apart.judged_at("validation")] == [0.1]
    assert [r.bound for r in apart.judged_at("test")] == [0.2]


def test_a_gap_needs_two_levels() -> None:
    with pytest.raises(UserError, match="one level"):
        stated(COLOUR | {"scope": "gap", "bound": 0.1}, attributes={"colour": {"levels": ["red"]}})


def test_a_missing_key_names_it() -> None:
    value = plain()
    del value["purpose"]
    with pytest.raises(UserError, match=re.escape("objective.purpose: a value is needed")):
        Objective.from_config(value)


def test_names_are_looked_up_with_the_nearest() -> None:
    objective = Objective.from_config(plain())
    assert objective.class_index("yield") == 1
    assert objective.level_index("camera", "rear") == 1
    with pytest.raises(UserError, match="Did you mean 'speed limit'"):
        objective.class_index("speed_limit")
    with pytest.raises(UserError, match="Did you mean 'front'"):
        objective.level_index("camera", "Front")
    with pytest.raises(UserError, match="Did you mean 'camera'"):
        objective.level_index("cameras", "front")
    with pytest.raises(UserError, match="Did you mean 'validation'"):
        objective.judged_at("validate")


def test_what_the_data_decides_is_filled_in_before_any_digest() -> None:
    objective = Objective.from_config(
        plain(
            classes="from_data",
            attributes={"camera": {"levels": "from_data"}, "colour": {"levels": ["red", "blue"]}},
        )
    )
    assert not objective.resolved
    with pytest.raises(ValueError, match="resolve"):
        _ = objective.class_names
    resolved = objective.resolve(["é", "b", "a", "B", "b"], {"camera": ["z", "y"], "colour": ["green"]})
    assert resolved.resolved
    assert resolved.class_names == ("B", "a", "b", "é")
    assert resolved.levels == {"camera": ("y", "z"), "colour": ("red", "blue")}
    assert resolved.requirements[1].bound == 0.25
    assert resolved.resolve(["x", "y"], {}) == resolved
    assert resolved.digest() != objective.digest()


def test_data_that_cannot_be_classified_is_refused() -> None:
    objective = Objective.from_config(plain(classes="from_data", attributes={"camera": {"levels": "from_data"}}))
    with pytest.raises(UserError, match=r"objective.classes: the data has 1 \(a\)"):
        objective.resolve(["a", "a"], {"camera": ["y"]})
    with pytest.raises(UserError, match=r"objective.attributes.camera: the data has no value of it"):
        objective.resolve(["a", "b"], {})


def test_the_digest_is_of_the_meaning() -> None:
    objective = Objective.from_config(plain())
    same = plain(confidence=0.95)
    same["attributes"] = dict(reversed(same["attributes"].items()))
    same["requirements"][0] |= {"scope": "overall", "stages": ["test", "validation", "monitor", "pilot"]}
    assert Objective.from_config(same).digest() == objective.digest()
    changed = copy.deepcopy(same)
    changed["classes"] = ["yield", "stop", "speed limit"]
    assert Objective.from_config(changed).digest() != objective.digest()


def test_json_gives_the_same_objective_back() -> None:
    objective = Objective.from_config(plain()).resolve([], {})
    assert Objective.from_json(objective.to_json()) == objective
    assert json.loads(objective.to_json())["schema_version"] == 1
    with pytest.raises(UserError, match="schema_version is 7"):
        Objective.from_json(json.dumps({**objective.canonical(), "schema_version": 7}))
    for text in ("{", "[]"):
        with pytest.raises(UserError, match=r"objective\.json"):
            Objective.from_json(text)


def test_an_objective_does_not_change() -> None:
    objective = Objective.from_config(plain())
    with pytest.raises(ValidationError, match="frozen"):
        objective.confidence = 0.9
    assert objective.alpha == 0.05


def test_what_decides_less_than_it_seems_is_said() -> None:
    reliance = {"metric": "reliance", "cue": "colour", "bound": 0.05}
    conflicting = COLOUR | {"scope": "conflicting", "bound": 0.9}
    gap = COLOUR | {"scope": "gap", "bound": 0.05}
    level = COLOUR | {"scope": "each_group", "bound": 0.9}
    assert ["conflicting images of colour" in note for note in stated(reliance).notes()] == [True]
    assert ["without a level" in note for note in stated(gap).notes()] == [True]
    assert stated(reliance, conflicting).notes() == stated(gap, level).notes() == []
    # One judged at another stage does not stand beside it, nor does one that is only shown.
    assert len(stated(reliance, conflicting | {"stages": ["pilot"]}).notes()) == 0
    assert len(stated(reliance | {"stages": ["test"]}, conflicting | {"stages": ["pilot"]}).notes()) == 1
    assert len(stated(gap, level | {"bound": None}).notes()) == 1
    assert "NOT_MEASURED" in stated(reliance | {"bound": None}).notes()[0]


def test_labels_are_fixed() -> None:
    objective = stated(
        {"metric": "accuracy"},
        {"metric": "recall", "scope": "each_class"},
        COLOUR | {"scope": "each_group"},
        COLOUR | {"scope": "each_cell"},
        COLOUR | {"scope": "conflicting"},
        COLOUR | {"scope": "gap"},
        {"metric": "reliance", "cue": "colour"},
        {"metric": "advantage", "over": ["majority", "colour"]},
        {"metric": "artifact_size"},
    )
    assert [requirement.label for requirement in objective.requirements] == [
        "accuracy",
        "recall of each class",
        "accuracy of each colour",
        "accuracy of each class x colour",
        "accuracy of conflicting images (colour)",
        "accuracy gap over colour",
        "reliance on colour",
        "advantage over majority, colour",
        "artifact size",
    ]
    directions = [requirement.direction for requirement in objective.requirements]
    assert directions == [*["at_least"] * 5, "at_most", "at_most", "at_least", "at_most"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_objective_of_ours_is_valid_and_decides_what_it_says(path: Path) -> None:
    objective = Objective.from_config(yaml.safe_load(path.read_text()))
    assert objective.name == path.stem
    assert objective.notes() == []


def test_shapes_states_its_eight_requirements_and_two_of_the_data() -> None:
    objective = Objective.from_config(yaml.safe_load((CONFIGS / "shapes.yaml").read_text()))
    bounds = {requirement.label: requirement.bound for requirement in objective.requirements}
    assert bounds == {
        "accuracy": 0.95,
        "recall of each class": 0.90,
        "accuracy of each colour": 0.90,
        "accuracy of each class x colour": 0.80,
        "accuracy of conflicting images (colour)": 0.95,
        "accuracy gap over colour": 0.05,
        "reliance on colour": 0.05,
        "advantage over majority, colour": 0.50,
        "artifact size": None,
        "leakage": 0.0,
        "unreadable": 0.0,
    }
    assert [row.label for row in objective.judged_at("audit")] == ["leakage", "unreadable"]
    assert objective.primary.label == "accuracy of conflicting images (colour)"
