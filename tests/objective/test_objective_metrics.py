"""If these fail, a metric is judged on the wrong side or where it cannot be, or a new one takes more than one file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evensight import names
from evensight.errors import UserError
from evensight.objective.evidence import Counts, Evidence, Paired, comparisons, judge
from evensight.objective.metrics.base import SCOPES, STAGES
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement, metric_named
from evensight.objective.verdict import Comparisons
from evensight.objective.words import bound_words, sentence


def objective_of(**requirement: object) -> Objective:
    return Objective.from_config(
        {"name": "a", "purpose": "b", "classes": ["c", "d"], "requirements": [dict(requirement)]}
    )


def measured(objective: Objective, evidence: Evidence) -> Comparisons:
    found = comparisons(objective.requirements[0], objective, evidence)
    assert isinstance(found, Comparisons)
    return found


@pytest.mark.parametrize("name", names.METRICS)
def test_every_metric_says_what_it_needs_and_who_can_judge_it(name: str) -> None:
    metric = metric_named(name)
    assert metric.words and metric.explanation
    assert metric.needs and set(metric.needs) <= {"counts", "scores", "interventions", "environment", "data"}
    assert metric.direction in ("at_least", "at_most")
    assert metric.stages and set(metric.stages) <= set(STAGES)
    assert metric.scopes and set(metric.scopes) <= set(SCOPES)
    assert set(metric.use_instead).isdisjoint(metric.scopes)
    assert metric.bounds[0] < metric.bounds[1]
    low, high = metric.bounds
    inside = 0.5 if high <= 1 else low + 1e6
    assert metric.show(inside)


def test_reliance_is_a_comparison_an_operator_and_each_must_pass() -> None:
    few, many = Paired(*np.array([3, 1, 1000])), Paired(*np.array([80, 2, 1000]))
    objective = objective_of(metric="reliance", cue="colour", bound=0.05)
    found = measured(objective, Evidence(reliance={"colour": {"hue": few, "luma": many}}))
    assert (found.kind, found.names, found.direction) == ("paired", ("hue", "luma"), "at_most")
    assert found.y is not None
    assert (found.x.tolist(), found.y.tolist(), found.n.tolist()) == ([3, 80], [1, 2], [1000, 1000])
    decision = judge(objective, "test", Evidence(reliance={"colour": {"hue": few, "luma": many}}))
    assert (decision.verdict, decision.rows[0].worst) == ("FAIL", "luma")
    assert judge(objective, "test", Evidence(reliance={"colour": {"hue": few, "luma": few}})).verdict == "PASS"


def test_advantage_must_hold_over_every_rival_and_is_called_by_it() -> None:
    objective = objective_of(metric="advantage", over=["colour", "majority"], bound=0.1)
    rivals = {"majority": Paired(*np.array([500, 20, 1000])), "colour": Paired(*np.array([120, 60, 1000]))}
    found = measured(objective, Evidence(advantage=rivals))
    assert (found.names, found.direction, found.kind) == (("colour", "majority"), "at_least", "paired")
    assert found.x.tolist() == [120, 500]
    decision = judge(objective, "test", Evidence(advantage=rivals))
    assert (decision.verdict, decision.rows[0].worst) != ("PASS", "majority")
    assert decision.rows[0].estimate == pytest.approx(0.06)


def test_an_advantage_of_nothing_still_needs_evidence() -> None:
    """The default objective asks for more than the largest class beyond chance: equal is not enough."""
    objective = objective_of(metric="advantage", over=["majority"], bound=0.0)
    verdicts = [
        judge(objective, "test", Evidence(advantage={"majority": Paired(*np.array(pair))})).verdict
        for pair in ([60, 20, 200], [22, 20, 200], [20, 60, 200])
    ]
    assert verdicts == ["PASS", "INSUFFICIENT", "FAIL"]


def test_artifact_size_is_decided_by_one_number() -> None:
    objective = objective_of(metric="artifact_size", bound=1_000_000)
    sizes = [999_999, 1_000_000, 1_000_001]
    found = [judge(objective, "test", Evidence(environment={"artifact_bytes": size})).verdict for size in sizes]
    assert found == ["PASS", "PASS", "FAIL"]
    assert bound_words(objective.requirements[0]) == "at most 1.00 MB"
    assert bound_words(Requirement(metric="artifact_size", bound=1500)) == "at most 1.5 kB"


def test_sentences_read_as_plain_words() -> None:
    gap = Requirement(metric="accuracy", scope="gap", attribute="colour", bound=0.05)
    assert sentence(gap) == "The difference in accuracy between any two levels of colour is at most 0.050."
    recall = Requirement(metric="recall", scope="each_class", bound="above_chance")
    assert sentence(recall) == "The recall of every class is at least one over the number of classes."
    shown = Requirement(metric="reliance", cue="colour")
    assert sentence(shown).endswith("less a placebo's share, is shown, not judged.")


SECOND = '''
import numpy as np

from evensight.objective.metrics.base import Metric
from evensight.objective.verdict import Comparisons


class ErrorShare(Metric):
    """Share of images given another class."""

    words = "error share"
    explanation = "images given another class / all images"
    needs = ("counts",)
    direction = "at_most"
    stages = ("test",)

    def comparisons(self, requirement, objective, evidence):
        confusion = evidence.counts.overall
        n = confusion.sum((-1, -2))[..., None]
        wrong = n - np.trace(confusion, axis1=-2, axis2=-1)[..., None]
        return Comparisons("rate", ("all images",), wrong, n, requirement.bound, requirement.direction)
'''


def test_a_metric_is_added_by_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_error_share.py").write_text(SECOND)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(names.METRICS, "error_share", "my_error_share:ErrorShare")
    objective = objective_of(metric="error_share", bound=0.1)
    requirement = objective.requirements[0]
    assert (requirement.label, requirement.direction, requirement.stages) == ("error share", "at_most", ("test",))
    assert sentence(requirement) == "The error share over all images is at most 0.100."
    counts = Counts(np.array([[495, 5], [6, 494]]))
    decision = judge(objective, "test", Evidence(counts))
    assert (decision.verdict, decision.rows[0].estimate, decision.rows[0].n) == ("PASS", 0.011, 1000)
    assert judge(objective, "test", Evidence(Counts(np.array([[300, 200], [6, 494]])))).verdict == "FAIL"
    with pytest.raises(UserError, match="validation cannot judge error_share; allowed: test"):
        objective_of(metric="error_share", bound=0.1, stages=["validation"])
    with pytest.raises(UserError, match="Did you mean 'error_share'"):
        objective_of(metric="error_shear")


def test_an_objective_is_read_without_torch() -> None:
    """`evensight objective` answers in about a second; torch alone takes two to six."""
    code = (
        "import sys; from evensight import names; from evensight.objective import command, verdict_file\n"
        "from evensight.objective.requirement import metric_named\n"
        "[metric_named(name) for name in names.METRICS]\n"
        "print([name for name in ('torch', 'lightning', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
