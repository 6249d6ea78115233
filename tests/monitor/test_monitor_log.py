"""If these fail, the monitor says something else than the log of the served model holds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import logged
import pytest

import made_artifact
from evensight.cli import main
from evensight.errors import UserError
from evensight.interruption import interruptible
from evensight.monitor.alarms import Alarm
from evensight.monitor.monitor import Monitored, monitor, watch
from evensight.objective import verdict_file
from evensight.records.artifact import Artifact
from evensight.records.prediction_log import Entry, PredictionLog
from evensight.run import Run
from evensight.testing.evaluate import Evaluation, evaluate


@pytest.fixture(scope="module")
def tested(made: made_artifact.Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Evaluation]:
    """A copy of the artifact that was tested, with its verdict."""
    folder = tmp_path_factory.mktemp("tested")
    shutil.copytree(made.artifact.folder, folder / "artifact")
    shutil.rmtree(folder / "artifact" / "attached", ignore_errors=True)
    artifact = Artifact.open(folder / "artifact")
    return artifact, evaluate(artifact, made.manifest, "test", Run(folder / "run"))


@pytest.fixture(scope="module")
def entries(made: made_artifact.Made) -> list[Entry]:
    return logged.answers(made.artifact, made.manifest)


def look(artifact: Artifact, folder: Path, **settings: Any) -> Monitored:
    found = monitor(artifact, folder / "log.sqlite", folder / "monitor", **settings)
    text = (folder / "monitor" / "verdicts" / "monitor.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text
    assert verdict_file.read(folder / "monitor" / "verdicts" / "monitor.json") == found.verdict
    return found


def test_figures_of_the_test_images_are_those_of_the_test(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], made: made_artifact.Made, tmp_path: Path
) -> None:
    """Served and logged, the very images of the test give the test's own counts: reliance to the image."""
    logged.write(tmp_path / "log.sqlite", entries, logged.truth(made.manifest)).close()
    artifact, evaluation = tested
    found = look(artifact, tmp_path).verdict
    assert found.stage == "monitor"
    assert (found.objective, found.artifact) == (evaluation.file.objective, artifact.identity)
    compared = 0
    for then, now in zip(evaluation.file.requirements, found.requirements, strict=True):
        assert (then.label, then.bound, then.direction, then.parameters) == (
            now.label,
            now.bound,
            now.direction,
            now.parameters,
        )
        if "monitor" in now.stages:
            compared += 1
            assert {one.name: one for one in now.comparisons} == {one.name: one for one in then.comparisons}
    assert compared == 4
    reference = json.loads((artifact.folder / "attached" / "reference.json").read_text(encoding="utf-8"))
    assert found.extra["at_test"]["reliance"] == reference["reliance"]


def test_a_model_that_follows_colour_is_alarmed_and_named(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    logged.write(tmp_path / "log.sqlite", list(logged.again(entries, 5))).close()
    found = look(tested[0], tmp_path)
    assert {(one.kind, one.label) for one in found.alarms} == {("requirement", "reliance on colour")}
    assert (found.status, found.verdict.verdict) == (1, "FAIL")
    row = found.verdict.row("reliance on colour")
    assert (row.verdict, row.estimate) == ("FAIL", 1.0)
    assert found.verdict.row("accuracy").verdict == "NOT_MEASURED"
    first = found.alarms[0]
    assert first.time == logged.START + first.request - 1


def test_labels_late_doubled_in_conflict_and_of_unknown_ids(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], made: made_artifact.Made, tmp_path: Path
) -> None:
    truth = logged.truth(made.manifest)
    log = logged.write(tmp_path / "log.sqlite", entries, dict(list(truth.items())[:10]))
    log.feedback(entries[0].id, truth[0], logged.START + 2e6)  # again
    log.feedback(entries[1].id, "star" if truth[1] != "star" else "circle", logged.START + 2e6)  # another
    log.feedback("f" * 32, "star", logged.START)  # of no image
    log.swap(logged.START + 3e6, "e" * 64)
    log.feedback(entries[12].id, truth[12], logged.START + 4e6)  # when another model serves
    log.close()
    found = look(tested[0], tmp_path).verdict
    assert found.extra["labels"] == {
        "labelled": 10,  # ten given, one of them in conflict, one more that came late
        "conflicting": 1,
        "repeated": 1,
        "late": 1,
        "of_unknown_ids": 1,
    }
    assert found.row("accuracy").n == 10


def test_labels_enter_by_the_time_of_the_image(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], made: made_artifact.Made, tmp_path: Path
) -> None:
    """Whenever they come: the last labels first, or the first ones first, the same images alarm."""
    many, truth = list(logged.again(entries, 8)), logged.truth(made.manifest)
    labels = {number: truth[number % len(entries)] for number in range(len(many))}
    found = []
    for name, order in (("forward", list(labels)), ("backward", list(labels)[::-1])):
        (tmp_path / name).mkdir()
        logged.write(tmp_path / name / "log.sqlite", many, {number: labels[number] for number in order}).close()
        found.append(look(tested[0], tmp_path / name))
    assert found[0].alarms == found[1].alarms
    assert any(one.label == "accuracy" for one in found[0].alarms)


def test_an_empty_log_and_one_of_one_class(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    log = PredictionLog(tmp_path / "log.sqlite", made_artifact.CLASSES)
    log.swap(logged.START, tested[0].identity)
    log.flush()
    found = look(tested[0], tmp_path)
    assert (found.verdict.verdict, found.alarms, found.status) == ("NOT_MEASURED", [], 0)
    for entry in entries[:3]:
        log.add(dataclasses.replace(entry, sampled=False, outcomes=()))
        log.feedback(entry.id, "circle", logged.START)
    log.close()
    found = look(tested[0], tmp_path)
    assert found.verdict.row("accuracy").n == 3
    assert found.verdict.row("reliance on colour").verdict == "NOT_MEASURED"


def test_a_log_that_was_cut_short_is_read_as_far_as_it_is_whole(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    logged.write(tmp_path / "whole.sqlite", list(logged.again(entries, 30))).close()
    content = (tmp_path / "whole.sqlite").read_bytes()
    (tmp_path / "log.sqlite").write_bytes(content[: len(content) // 2])
    found = look(tested[0], tmp_path)
    assert 0 < found.verdict.extra["num_images"] < 30 * len(entries)
    assert "cut short" in found.verdict.extra["cut"]
    (tmp_path / "log.sqlite").write_bytes(content[:100])
    with pytest.raises(UserError, match="log"):
        look(tested[0], tmp_path)


def test_other_identities_are_counted_and_not_judged(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    others = [dataclasses.replace(entry, id=entry.id[::-1] + "0", identity="d" * 64) for entry in entries[:4]]
    logged.write(tmp_path / "log.sqlite", entries).close()
    alone = look(tested[0], tmp_path)
    log = PredictionLog(tmp_path / "log.sqlite", made_artifact.CLASSES)
    for entry in others:
        log.add(entry)
    log.close()
    mixed = look(tested[0], tmp_path)
    assert mixed.verdict.extra["identities"] == {tested[0].identity: len(entries), "d" * 64: 4}
    assert mixed.verdict.requirements == alone.verdict.requirements
    assert mixed.verdict.data == alone.verdict.data  # the ids that were judged


def test_rejected_requests_are_counted_by_code_and_alarm_where_there_are_many(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    log = logged.write(tmp_path / "log.sqlite", list(logged.again(entries, 20)))
    log.reject(logged.START + 0.5, "too_large")
    log.flush()
    few = look(tested[0], tmp_path)
    assert few.verdict.extra["volume"]["rejected"] == {"too_large": 1}
    assert not [one for one in few.alarms if one.kind == "rejected"]
    for number in range(200):
        log.reject(logged.START + number + 0.5, "not_an_image")
    log.close()
    many = look(tested[0], tmp_path)
    assert [one.kind for one in many.alarms if one.kind == "rejected"] == ["rejected"]
    bins = many.verdict.extra["volume"]["bins"]
    assert sum(one["predicted"] for one in bins) == 20 * len(entries)
    assert sum(one["rejected"] for one in bins) == 201


def test_estimated_accuracy_is_confidence_less_the_gap_of_the_test(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    """On the test's own images the gap takes confidence back to the accuracy there was: 6 of 18."""
    logged.write(tmp_path / "log.sqlite", entries).close()
    found = look(tested[0], tmp_path).verdict.extra
    assert found["estimated"]["estimate"] == pytest.approx(6 / 18, abs=1e-6)
    assert found["estimated"]["low"] < 6 / 18 < found["estimated"]["high"]
    assert "calibrated here as it was on the test" in found["estimated"]["assumption"]
    assert [one["n"] for one in found["groups"]["colour"]] == [6, 6, 6]


def test_an_artifact_that_was_never_tested_says_what_is_missing(
    copied: Callable[[], Artifact], entries: list[Entry], tmp_path: Path
) -> None:
    logged.write(tmp_path / "log.sqlite", entries).close()
    found = look(copied(), tmp_path).verdict.extra
    assert found["shift"]["compared"] == []
    assert "evensight test" in found["shift"]["missing"]
    assert "no reference figures" in found["estimated"]["assumption"]


def test_a_shift_is_shown_and_fails_nothing(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    """Only red images come, to a model whose test had a hundred times as many images of every colour."""
    shutil.copytree(tested[0].folder, tmp_path / "artifact")
    path = tmp_path / "artifact" / "attached" / "reference.json"
    reference = json.loads(path.read_text(encoding="utf-8"))
    reference["predictions"] = [100 * count for count in reference["predictions"]]
    path.write_text(json.dumps(reference), encoding="utf-8")
    red = [entry for entry in entries if entry.attributes["colour"] == "red"]
    unsampled = [dataclasses.replace(entry, sampled=False, outcomes=()) for entry in red]
    logged.write(tmp_path / "log.sqlite", list(logged.again(unsampled, 40))).close()
    found = look(Artifact.open(tmp_path / "artifact"), tmp_path)
    assert {(one.kind, one.label) for one in found.alarms} == {("shift", "predicted classes")}
    assert found.status == 1
    assert found.verdict.verdict == "NOT_MEASURED"
    shown = found.verdict.extra["shift"]["compared"][0]
    assert (shown["label"], shown["alarmed"], shown["now"]) == ("predicted classes", True, [1.0, 0.0, 0.0])


def test_another_look_at_the_same_log_says_the_same(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    logged.write(tmp_path / "log.sqlite", list(logged.again(entries, 4))).close()
    first = look(tested[0], tmp_path)
    assert look(Artifact.open(tested[0].folder), tmp_path) == first


def test_a_log_of_other_classes_is_refused(tested: tuple[Artifact, Evaluation], tmp_path: Path) -> None:
    PredictionLog(tmp_path / "log.sqlite", ("cat", "dog")).close()
    with pytest.raises(UserError, match=r"log: its classes are cat, dog; the artifact's are circle, square, star\."):
        look(tested[0], tmp_path)


@pytest.mark.parametrize(("key", "value"), [("alpha", 0.0), ("alpha", 1.0), ("most_rejected", math.nan)])
def test_settings_that_mean_nothing_are_refused(
    tested: tuple[Artifact, Evaluation], tmp_path: Path, key: str, value: float
) -> None:
    with pytest.raises(UserError, match=f"{key}: found"):
        look(tested[0], tmp_path, **{key: value})


def test_command_says_the_verdict_and_exits_1_on_an_alarm(
    tested: tuple[Artifact, Evaluation],
    entries: list[Entry],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged.write(tmp_path / "log.sqlite", list(logged.again(entries, 5))).close()
    arguments = [f"artifact={tested[0].folder}", f"log={tmp_path / 'log.sqlite'}"]
    assert main(["monitor", *arguments]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("monitor: FAIL  (")
    assert any(line.startswith("alarm     after ") and "reliance on colour" in line for line in said)
    assert said[-1].startswith("report    ")
    assert (tmp_path / "monitor" / "report.html").is_file()
    assert main(["monitor", arguments[0], f"log={tmp_path / 'none.sqlite'}"]) == 2
    assert main(["monitor", *arguments, "every_s=0"]) == 2


def test_a_signal_while_alarms_are_said_leaves_none_out() -> None:
    alarms = [Alarm("requirement", f"recall {k}", "", f"alarm {k}", 0.0, k, 10) for k in range(3)]
    said: list[str] = []

    def say(text: str) -> None:
        if not said:
            os.kill(os.getpid(), signal.SIGINT)
        said.append(text)

    with interruptible():
        found = watch(lambda: Monitored(None, alarms), 60.0, say)
    assert found.alarms == alarms
    assert [text.rpartition(": ")[2] for text in said] == ["alarm 0", "alarm 1", "alarm 2"]


def test_watching_says_each_alarm_once_and_ends_with_its_status(
    tested: tuple[Artifact, Evaluation], entries: list[Entry], tmp_path: Path
) -> None:
    """A real process: a quiet log, then the entries that alarm, then SIGINT."""
    path = tmp_path / "log.sqlite"
    log = logged.write(path, [dataclasses.replace(entry, sampled=False, outcomes=()) for entry in entries])
    command = [sys.executable, "-m", "evensight", "monitor", f"artifact={tested[0].folder}", f"log={path}"]
    told = tmp_path / "told.txt"
    with told.open("w") as out:
        process = subprocess.Popen(
            [*command, "watch=true", "every_s=0.05"], stdout=out, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        try:
            until(lambda: (tmp_path / "monitor" / "report.html").is_file(), process)
            for entry in list(logged.again(entries, 5))[len(entries) :]:
                log.add(entry)
            log.close()
            until(lambda: "requirement alarm" in told.read_text(), process)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 1
        finally:
            process.kill()
    lines = told.read_text().splitlines()
    alarms = [line for line in lines if "requirement alarm: reliance on colour" in line]
    assert len(alarms) == len(set(alarms)) == 3  # one an operator
    assert lines[-1].startswith("report    ")


def until(true: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Waits until something is so; fails when the process ends or that takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
