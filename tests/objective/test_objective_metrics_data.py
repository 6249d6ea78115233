"""If these fail, the audit passes data with leaks or holes, or a bound on data disturbs the verdict on a model."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from evensight.errors import UserError
from evensight.objective.command import likely_truth, objective_command
from evensight.objective.evidence import Counts, DataFigures, Evidence, judge
from evensight.objective.metrics.base import STAGES
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.words import bound_words, sentence

IMAGES = {"overall": np.array([30, 12]), "colour": np.array([[20, 10, 0], [4, 4, 3]])}  # one dog of unknown colour
NAMES = ("unreadable", "leakage", "agreement", "evidence")


def objective_of(*requirements: dict[str, Any]) -> Objective:
    return Objective.from_config(
        {
            "name": "a",
            "purpose": "b",
            "classes": ["cat", "dog"],
            "attributes": {"colour": {"levels": ["red", "blue", "grey"]}},
            "requirements": list(requirements),
        }
    )


def verdict(data: DataFigures | None, **requirement: Any) -> str:
    return judge(objective_of(requirement), "audit", Evidence(data=data)).verdict


def test_a_known_share_is_decided_by_itself_and_none_at_all_can_be_asked() -> None:
    for metric in ("unreadable", "leakage"):
        for (x, n), bound, expected in [
            ((0, 500), 0.0, "PASS"),
            ((1, 10_000_000), 0.0, "FAIL"),
            ((5, 1000), 0.005, "PASS"),
            ((6, 1000), 0.005, "FAIL"),
            ((0, 0), 0.0, "NOT_MEASURED"),
        ]:
            figures = DataFigures(**{metric: (x, n)})
            assert verdict(figures, metric=metric, bound=bound) == expected, (metric, x, n, bound)


def test_a_known_share_is_shown_with_the_images_it_is_of() -> None:
    objective = objective_of({"metric": "leakage", "bound": 0.0})
    row = judge(objective, "audit", Evidence(data=DataFigures(leakage=(3, 800)))).rows[0]
    assert (row.verdict, row.estimate, row.low, row.high, row.n, row.p) == ("FAIL", 3 / 800, 3 / 800, 3 / 800, 800, 0.0)
    assert row.need is None
    assert bound_words(objective.requirements[0]) == "at most 0"


@pytest.mark.parametrize(("x", "n"), [(180, 200), (191, 200), (195, 200), (160, 200)])
def test_agreement_is_a_rate_with_its_interval(x: int, n: int) -> None:
    row = judge(
        objective_of({"metric": "agreement", "bound": 0.9}), "audit", Evidence(data=DataFigures(agreement=(x, n)))
    ).rows[0]
    exact = stats.binomtest(x, n)
    low = exact.proportion_ci(0.9, "exact").low  # 5 % on its side
    assert (row.estimate, row.n) == (x / n, n)
    assert row.low == pytest.approx(low, abs=1e-9)
    below = stats.binom.cdf(x, n, 0.9) <= 0.05
    assert row.verdict == ("PASS" if low >= 0.9 else "FAIL" if below else "INSUFFICIENT")


def test_agreement_says_why_it_was_not_measured() -> None:
    objective = objective_of({"metric": "agreement", "bound": 0.9})
    reasons = [
        judge(objective, "audit", Evidence(data=data)).rows[0].reason
        for data in (None, DataFigures(), DataFigures(agreement=(0, 0)))
    ]
    assert reasons == [
        "the audit measures it",
        "the data names no annotators",
        "no image was labelled by two annotators",
    ]
    stated = Evidence(data=DataFigures(agreement=(9, 10)), missing={"agreement": "the chapter was skipped"})
    assert judge(objective, "audit", stated).rows[0].reason == "the chapter was skipped"


def test_evidence_counts_test_images_of_every_scope_and_keeps_empty_cells() -> None:
    data = DataFigures(images=IMAGES)
    scopes: list[tuple[dict[str, str], int, int, str]] = [
        ({"scope": "overall"}, 42, 1, "all images"),
        ({"scope": "each_class"}, 12, 2, "dog"),
        ({"scope": "each_group", "attribute": "colour"}, 3, 3, "grey"),
        ({"scope": "each_cell", "attribute": "colour"}, 0, 6, "cat x grey"),
    ]
    for scope, least, number, worst in scopes:
        enough = judge(
            objective_of({"metric": "evidence", "bound": max(least, 0.5), **scope}), "audit", Evidence(data=data)
        )
        short = judge(objective_of({"metric": "evidence", "bound": least + 1, **scope}), "audit", Evidence(data=data))
        assert enough.verdict == ("PASS" if least else "FAIL")
        row = short.rows[0]
        assert (short.verdict, row.estimate, row.worst, len(row.comparisons)) == ("FAIL", least, worst, number)


def test_evidence_without_a_test_split_or_a_known_level_is_not_measured() -> None:
    of_colour = {"metric": "evidence", "scope": "each_group", "attribute": "colour", "bound": 1}
    assert verdict(DataFigures(), metric="evidence", bound=1) == "NOT_MEASURED"
    assert verdict(DataFigures(images={"overall": np.array([1, 2])}), **of_colour) == "NOT_MEASURED"


@pytest.mark.parametrize("name", NAMES)
def test_other_stages_show_it_as_not_theirs(name: str) -> None:
    """Perfect accuracy passes, whatever is asked of the data, and the row says who measures it."""
    objective = objective_of({"metric": "accuracy", "bound": 0.9}, {"metric": name, "bound": 0.5})
    perfect = Evidence(Counts(np.array([[500, 0], [0, 500]])))
    for stage in ("validation", "test", "pilot", "monitor"):
        decision = judge(objective, stage, perfect)
        assert decision.verdict == "PASS"
        assert (decision.rows[1].verdict, decision.rows[1].reason) == (None, "the audit measures it")
    assert objective.requirements[1].stages == ("audit",)
    with pytest.raises(UserError, match=f"test cannot judge {name}; allowed: audit"):
        objective_of({"metric": name, "bound": 0.5, "stages": ["test"]})


def test_the_audit_shows_the_requirements_of_other_stages() -> None:
    objective = objective_of({"metric": "accuracy", "bound": 0.9}, {"metric": "leakage", "bound": 0.0})
    decision = judge(objective, "audit", Evidence(data=DataFigures(leakage=(0, 10)), missing={"counts": "no model"}))
    assert decision.verdict == "PASS"
    assert (decision.rows[0].verdict, decision.rows[0].reason) == (None, "no model")
    assert "audit" in STAGES


def test_bounds_on_data_do_not_change_what_is_assumed_of_the_model() -> None:
    """A bound of 50 images, or of .99 agreement, is no bound on accuracy."""
    counts = {"overall": np.array([500, 500]), "colour": np.full((2, 3), 100)}
    of_model = {"metric": "accuracy", "bound": 0.9}
    of_data = [
        {"metric": "evidence", "scope": "each_cell", "attribute": "colour", "bound": 50},
        {"metric": "agreement", "bound": 0.99},
        {"metric": "leakage", "bound": 0.0},
    ]
    assert likely_truth(objective_of(of_model, *of_data), counts) == likely_truth(objective_of(of_model), counts)
    words = objective_command(objective_of(of_model, *of_data), {"test": counts, "validation": counts}, draws=200)
    assert "The number of test images of every class within every colour is at least 50." in words
    assert "NOT_MEASURED" not in words
    alone, beside = (
        [
            line
            for line in objective_command(each, {"test": counts}, draws=200).splitlines()
            if "whole objective" in line
        ]
        for each in (objective_of(of_model), objective_of(of_model, *of_data))
    )
    assert alone == beside and alone


def test_bounds_out_of_range_are_refused() -> None:
    for metric, bound in (("leakage", -0.1), ("leakage", 1.0), ("agreement", 0.0), ("agreement", 1.0), ("evidence", 0)):
        with pytest.raises(UserError, match=r"objective\.requirements\[0\]\.bound"):
            objective_of({"metric": metric, "bound": bound})
    with pytest.raises(UserError, match="allowed: between 0 and 1, 1 excluded"):
        objective_of({"metric": "unreadable", "bound": 1.5})
    with pytest.raises(UserError, match="unreadable has no scope 'each_class'"):
        objective_of({"metric": "unreadable", "scope": "each_class", "bound": 0.1})


@pytest.mark.parametrize("name", ["agreement", "evidence"])
def test_data_is_not_maximised(name: str) -> None:
    with pytest.raises(UserError, match=r"objective\.primary: .* says nothing of a model"):
        Objective.from_config({"name": "a", "purpose": "b", "classes": ["c", "d"], "primary": {"metric": name}})


def test_sentences() -> None:
    assert sentence(Requirement(metric="unreadable", bound=0.001)) == (
        "The share of images that cannot be read is at most 0.0010."
    )
    assert sentence(Requirement(metric="evidence", scope="each_class", bound=1500)) == (
        "The number of test images of every class is at least 1,500."
    )
    assert sentence(Requirement(metric="evidence", bound=10)) == ("The number of test images is at least 10.")
