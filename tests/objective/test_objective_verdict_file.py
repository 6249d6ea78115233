"""If these fail, what a stage decided is lost, or cannot be read by the next stage or by a colleague's tool."""

import json
from pathlib import Path

import numpy as np
import pytest

from evensight.errors import UserError
from evensight.objective.evidence import Counts, Evidence, judge
from evensight.objective.objective import Objective
from evensight.objective.verdict_file import VerdictFile, read, verdict_file, write

OBJECTIVE = Objective.from_config(
    {
        "name": "signs",
        "purpose": "Tell signs apart.",
        "classes": ["stop", "yield", "absent"],
        "attributes": {"colour": {"levels": ["red", "blue"]}},
        "requirements": [
            {"metric": "accuracy", "bound": 0.8},
            {"metric": "recall", "scope": "each_class", "bound": 0.8},
            {"metric": "accuracy", "scope": "gap", "attribute": "colour", "bound": 0.2},
            {"metric": "reliance", "cue": "colour", "bound": 0.05},
            {"metric": "artifact_size", "bound": None},
            {"metric": "accuracy", "scope": "each_group", "attribute": "colour", "bound": 0.8, "stages": ["pilot"]},
        ],
    }
)


def built() -> VerdictFile:
    table = np.zeros((2, 3, 3), dtype=np.int64)
    table[:, 0, 0], table[:, 0, 1], table[:, 1, 1] = 95, 5, 50
    evidence = Evidence(
        counts=Counts(table.sum(0), {"colour": table}),
        environment={"artifact_bytes": 400_000},
        missing={"reliance/colour": "the bank has one class"},
    )
    decision = judge(OBJECTIVE, "test", evidence)
    return verdict_file(
        OBJECTIVE,
        "test",
        decision,
        "d" * 64,
        "a" * 64,
        {"decided_by/colour": 0.7},
        side_tables={"hue": "e" * 64},
        sealed=True,
        openings=2,
    )


def test_the_file_names_what_was_judged_and_comes_back_the_same(tmp_path: Path) -> None:
    verdict = built()
    write(tmp_path / "verdicts" / "test.json", verdict)
    assert read(tmp_path / "verdicts" / "test.json") == verdict
    plain = json.loads((tmp_path / "verdicts" / "test.json").read_text())
    assert plain["schema_version"] == 1
    assert (plain["objective"], plain["objective_name"]) == (OBJECTIVE.digest(), "signs")
    assert (plain["data"], plain["artifact"], plain["stage"]) == ("d" * 64, "a" * 64, "test")
    assert (plain["sealed"], plain["openings"], plain["side_tables"]) == (True, 2, {"hue": "e" * 64})
    assert plain["extra"] == {"decided_by/colour": 0.7}
    assert plain["verdict"] == "NOT_MEASURED", "reliance could not be measured"


def test_a_row_holds_its_worst_comparison_and_all_of_them() -> None:
    verdict = built()
    recall = verdict.row("recall of each class")
    assert (recall.metric, recall.scope, recall.parameters, recall.bound) == ("recall", "each_class", {}, 0.8)
    assert (recall.worst, recall.n, recall.estimate) == ("absent", 0, None)
    assert recall.verdict == "INSUFFICIENT" and recall.need is not None
    figures = {one.name: (one.estimate, one.n) for one in recall.comparisons}
    assert figures == {"stop": (0.95, 200), "yield": (1.0, 100), "absent": (None, 0)}
    overall = verdict.row("accuracy")
    assert overall.estimate == pytest.approx(290 / 300)
    # scipy.stats.beta.ppf(.05, 290, 11): the bound that PASS goes by.
    assert overall.low == pytest.approx(0.944115, abs=1e-6)
    gap = verdict.row("accuracy gap over colour")
    assert (gap.direction, gap.parameters, gap.estimate) == ("at_most", {"attribute": "colour"}, 0.0)


def test_rows_without_a_verdict_say_why() -> None:
    verdict = built()
    assert (verdict.row("reliance on colour").verdict, verdict.row("reliance on colour").reason) == (
        "NOT_MEASURED",
        "the bank has one class",
    )
    assert verdict.row("reliance on colour").parameters == {"cue": "colour"}
    size = verdict.row("artifact size")
    assert (size.verdict, size.bound, size.estimate) == (None, None, 400_000.0)
    pilot = verdict.row("accuracy of each colour")
    assert (pilot.verdict, pilot.stages) == (None, ["pilot"])
    assert pilot.estimate == pytest.approx(145 / 150)
    with pytest.raises(KeyError):
        verdict.row("recall")


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    with pytest.raises(UserError, match="there is no verdict file"):
        read(path)
    for text in ("{", "[]", '{"schema_version": 2}', json.dumps({**built().model_dump(mode="json"), "verdict": "OK"})):
        path.write_text(text)
        with pytest.raises(UserError, match="not a verdict file of version 1"):
            read(path)
