"""`evensight update action=plan`. If this fails, annotators look at the wrong images, or at none."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import made_update
import numpy as np
import pytest

from evensight.cli import main
from evensight.data.annotations.label_studio_images import links
from evensight.errors import UserError
from evensight.objective import verdict_file
from evensight.objective.evidence import Counts, Evidence, Paired, judge
from evensight.objective.verdict_file import VerdictFile
from evensight.records.traffic import read_traffic
from evensight.update import choosing
from evensight.update.plan import Plan, plan

if TYPE_CHECKING:
    from made_update import Place


def verdict(
    place: Place, per_cell: dict[tuple[int, int], tuple[int, int]], reliance: tuple[int, int, int]
) -> VerdictFile:
    """A monitor's verdict: right and wrong answers by (class, level), reliance on colour as paired counts."""
    table = np.zeros((3, 3, 3), np.int64)
    for (label, level), (right, wrong) in per_cell.items():
        table[level, label, label], table[level, label, (label + 1) % 3] = right, wrong
    first, second, n = (np.array(value) for value in reliance)
    evidence = Evidence(Counts(table.sum(axis=0), {"colour": table}), {}, {"colour": {"hue": Paired(first, second, n)}})
    decision = judge(place.objective, "monitor", evidence)
    return verdict_file.verdict_file(place.objective, "monitor", decision, "0" * 64, place.artifact.identity)


def everywhere(right: int, wrong: int = 0) -> dict[tuple[int, int], tuple[int, int]]:
    return {(label, level): (right, wrong) for label in range(3) for level in range(3)}


def test_plan_writes_a_table_tasks_and_reasons(place: Place, traffic: Path, tmp_path: Path) -> None:
    made = plan(place.artifact, traffic, tmp_path / "update", budget=40, seed=5)
    value = json.loads((made.folder / "plan.json").read_text())
    assert (value["schema_version"], value["artifact"]) == (1, place.artifact.identity)
    assert value["traffic"]["images_kept"] == 90
    assert sum(made.by_reason.values()) == 40 == len({one.id for one in made.asked})
    rows = read_traffic(traffic).predictions
    order = choosing.keyed(rows["id"].to_list(), 5)
    control = {one.id for one in made.asked if one.reason == "control"}
    assert control == {rows["id"][int(at)] for at in np.argsort(order)[: len(control)]}
    assert len(control) >= 16
    with made.table.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", "path", "reason", "predicted", "confidence", "label", "colour"]
    assert {(row["label"], row["colour"]) for row in table} == {("", "")}
    assert all((traffic.parent / row["path"]).is_file() for row in table)
    # The network says the colour.
    said = dict(zip(made_update.COLOURS, made_update.CLASSES, strict=True))
    assert all(row["predicted"] == said[made_update.truth(int(row["id"], 16))[1]] for row in table)
    tasks = json.loads((made.folder / "label_studio.json").read_text())
    assert [task["data"]["id"] for task in tasks] == [row["id"] for row in table]
    assert all(links(task["data"]["image"]) == [row["path"]] for task, row in zip(tasks, table, strict=True))
    assert {task["data"]["reason"] for task in tasks} <= set(choosing.REASONS)
    assert Plan.open(made.folder) == made
    # nine cells, and what the rule takes for them
    assert value["decide"]["cells"] == 9
    assert 400 < value["decide"]["images_a_cell"] < 550


def test_images_that_a_transplant_moved_come_first(place: Place, traffic: Path, tmp_path: Path) -> None:
    found = read_traffic(traffic)
    moved = found.outcomes.filter(found.outcomes["transplant"] & ~found.outcomes["placebo"])["id"].to_list()
    assert len(moved) > 10  # it decides by colour alone
    made = plan(place.artifact, traffic, tmp_path, budget=20)
    picked = [one.id for one in made.asked if one.reason == "cue_conflict"]
    assert picked
    assert set(picked) <= set(moved)


def test_a_failing_reliance_is_answered_by_a_focus_and_open_cells_by_images(
    place: Place, traffic: Path, tmp_path: Path
) -> None:
    open_cells = everywhere(30) | {(0, 2): (4, 0), (1, 1): (3, 0)}  # of 30 right ones .5 passes, of 4 it does not
    monitored = verdict(place, open_cells, (180, 2, 250))
    made = plan(place.artifact, traffic, tmp_path, budget=40, monitor_verdict=monitored)
    assert made.focus == ("colour",)
    assert made.value["recommends"]["setting"] == "focus=colour_off"
    assert "reliance on colour FAILs at the stage monitor: 0.712" in made.value["recommends"]["because"][0]
    assert [cell["name"] for cell in made.value["cells"]] == ["square x green", "circle x blue"]
    picked = {(one.predicted, one.attributes["colour"]) for one in made.asked if one.reason == "cell"}
    assert picked == {("square", "green")}  # blue is never called a circle by this model
    for lines in (open_cells, everywhere(30)):
        sound = verdict(place, lines, (1, 1, 250))
        assert plan(place.artifact, traffic, tmp_path, 5, monitor_verdict=sound).focus == ()
    (tmp_path / "monitor.json").write_text(monitored.model_dump_json())
    assert plan(place.artifact, traffic, tmp_path, 5, monitor_verdict=tmp_path / "monitor.json").focus == ("colour",)
    other = monitored.model_copy(update={"artifact": "f" * 64})
    assert plan(place.artifact, traffic, tmp_path, 5, monitor_verdict=other).focus == ()


def test_the_next_plan_asks_for_no_image_again(place: Place, traffic: Path, tmp_path: Path) -> None:
    first = plan(place.artifact, traffic, tmp_path, budget=30)
    second = plan(place.artifact, traffic, tmp_path, budget=30)
    assert second.folder.name == "plan-2"
    assert second.value["traffic"]["asked_before"] == 30
    before = {one.id for one in first.asked if one.reason == "control"}
    assert not before & {one.id for one in second.asked}
    again = {one.id for one in first.asked} & {one.id for one in second.asked}
    # Only the control sample, which has to be uniform over all images, may come upon one that was picked before.
    assert all(one.reason == "control" for one in second.asked if one.id in again)


def test_labelled_images_are_asked_for_by_the_control_sample_alone(place: Place, tmp_path: Path) -> None:
    from evensight.records.prediction_log import PredictionLog

    path = made_update.write_log(tmp_path / "log.sqlite", made_update.entries(place.artifact, tmp_path, 30))
    log = PredictionLog(path, made_update.CLASSES)
    for number in range(0, 30, 2):
        assert log.feedback(f"{number:032x}", "star", 1.8e9).result(timeout=60) == "joined"
    log.close()
    made = plan(place.artifact, path, tmp_path / "update", budget=20)
    assert {int(one.id, 16) % 2 for one in made.asked if one.reason != "control"} == {1}
    assert {int(one.id, 16) % 2 for one in made.asked if one.reason == "control"} == {0, 1}


def test_equal_images_are_picked_once(place: Place, tmp_path: Path) -> None:
    made = made_update.entries(place.artifact, tmp_path, 40)
    for entry in made[1:]:
        (tmp_path / str(entry.image)).write_bytes((tmp_path / str(made[0].image)).read_bytes())
    log = made_update.write_log(tmp_path / "log.sqlite", made)
    found = plan(place.artifact, log, tmp_path / "update", budget=10)
    assert found.by_reason == {"control": 10, "cell": 0, "cue_conflict": 0, "uncertain": 0}


def test_no_images_no_traffic_and_wrong_numbers_are_said(place: Place, traffic: Path, tmp_path: Path, copied) -> None:
    bare = made_update.write_log(tmp_path / "bare.sqlite", made_update.entries(place.artifact, tmp_path, 3, kept=False))
    with pytest.raises(UserError, match=r"kept none of the images.*serve with keep_images=true"):
        plan(place.artifact, bare, tmp_path)
    gone = made_update.write_log(tmp_path / "gone.sqlite", made_update.entries(place.artifact, tmp_path / "x", 3))
    with pytest.raises(UserError, match=r"3 images it names are gone.*keep_images"):
        plan(place.artifact, gone, tmp_path)
    with pytest.raises(UserError, match=f"no prediction of this artifact.*{place.artifact.identity[:12]} \\(90\\)"):
        plan(copied(), traffic, tmp_path)
    with pytest.raises(UserError, match="no prediction log"):
        plan(place.artifact, tmp_path / "none.sqlite", tmp_path)
    with pytest.raises(UserError, match="budget"):
        plan(place.artifact, traffic, tmp_path, budget=0)
    with pytest.raises(UserError, match="control"):
        plan(place.artifact, traffic, tmp_path, control=0.0)
    with pytest.raises(UserError, match=r"plan\.json: there is no plan; write one"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text('{"schema_version": 1}')
    with pytest.raises(UserError, match=r"cannot be read as a plan \(it lacks 'images'"):
        Plan.open(tmp_path)


def test_command(place: Place, traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"artifact={place.artifact.folder}", f"log={traffic}", f"out={tmp_path}", "budget=10"]
    assert main(["update", "action=plan", *words]) == 0
    told = capsys.readouterr()
    assert "10 images to annotate" in told.out
    assert "9 cells takes" in told.out
    assert main(["update", "action=plan", *words[:1]]) == 2
    assert main(["update", "action=plna", *words]) == 2
    assert main(["update"]) == 2
    told = capsys.readouterr()
    assert "log: a value is needed" in told.err
    assert "Did you mean 'plan'" in told.err
    assert "action: a value is needed" in told.err
