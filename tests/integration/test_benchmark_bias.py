"""The table of bias: what it runs, that it goes on where it was, and what it makes of its runs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from evensight.compose import compose

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmark"))

import bias
from bias_table import digits, figures, jobs, page, rates, record, summary
from bias_table.jobs import Commands, Job
from bias_table.published import digits as published_digits
from bias_table.row import CUE, KINDS, LAST_EPOCH, NOTHING, Row, Target
from bias_table.selection import ROWS, chosen, plan

TINY = (
    *("experiment=shapes", "data.num_train=64", "data.num_validation=32", "data.num_test=64"),
    *("trainer.max_epochs=1", "reliance.max_images=32"),
)


def tiny(name="tiny", **given):
    """A row like those of the table, which takes seconds."""
    return Row(name, "Tiny", "tiny shapes", NOTHING, TINY, seeds=2, minutes=0.1, priority=1, **given)


# What it runs


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
def test_every_command_composes_and_one_that_takes_its_last_epoch_validates_after_it_alone(quick):
    """A renamed key would be found hours into the table; and validation figures of groups, which a row says it was not
    told, would choose its checkpoint."""
    for row in [row for row in ROWS if "quick" in row.sets or not quick]:
        for command, arguments in Job(row, 1, Path("runs"), quick).steps():
            config = compose(arguments)
            if command == "train" and row.selection == LAST_EPOCH and not row.refused:
                assert config.trainer.check_val_every_n_epoch == config.trainer.max_epochs, row.name


@pytest.mark.slow
def test_a_table_on_a_gpu_has_the_settings_of_the_same_rows_but_for_the_device(tmp_path, monkeypatch):
    recorded = []
    monkeypatch.setattr(bias, "run_all", lambda left, *_: recorded.extend(left) or [])
    monkeypatch.setattr(jobs, "KEPT", ())
    for flags in ([], ["--trainer", "gpu"]):
        flags = ["--rows", "irm-colour-off,composite-95-erm,shapes-95-shape", "--seeds", "1", *flags]
        assert bias.main([*flags, "--runs-dir", str(tmp_path), "--out", str(tmp_path / "bias.json")]) == 0
    for own, other in zip(recorded[:3], recorded[3:], strict=True):
        one, two = (compose(job.overrides) for job in (own, other))
        assert two.trainer.accelerator == "gpu"
        assert two.trainer.precision == "bf16-mixed"
        two.trainer.accelerator, two.trainer.precision = one.trainer.accelerator, one.trainer.precision
        assert one == two


def test_seconds_of_a_machine_that_many_runs_share_are_no_figure():
    run = {"cue": "colour", "seconds": {"train": 100.0}, "training": {"epoch_seconds": 2.0}}
    for at_once, expected in ((None, 100.0), (2, 100.0), (15, None)):
        made_on = {} if at_once is None else {"made_on": {"at_once": at_once}}
        assert summary.value({**run, **made_on}, "command_seconds") == expected
        assert (summary.value({**run, **made_on}, "epoch_seconds") is None) == (expected is None)


def test_rows_that_are_told_nothing_have_an_audit_that_is_told_nothing():
    """An objective that bounds reliance on colour, or test labels, would name the cue to the audit."""
    row = next(row for row in ROWS if row.name == "mnist-cnn-0.5-audit-groups")
    (first, arguments), (second, trained) = Job(row, 1, Path("runs")).steps()
    config = compose(arguments)
    assert (first, second) == ("audit", "train")
    assert "colour" not in json.dumps(config.objective.requirements)
    assert config.audit.open_test is False
    assert compose(trained).datasets_dir == config.datasets_dir  # it finds what the audit left
    assert compose(trained).data == config.data


def test_names_and_baselines_are_of_the_table():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert {row.baseline for row in ROWS if row.baseline} <= set(names)
    assert all(row.told in KINDS for row in ROWS)


def test_rows_are_asked_for_by_name_pattern_and_set_and_run_by_priority():
    rows = [tiny("a-1", sets=("one",)), replace(tiny("a-2"), priority=0), tiny("b", sets=("more",))]
    assert [row.name for row in chosen(["a-*"], rows)] == ["a-2", "a-1"]
    assert [row.name for row in chosen(["one", "b"], rows)] == ["a-1", "b"]
    assert [row.name for row in chosen([], rows)] == ["a-2", "a-1"]  # `more` is asked for
    with pytest.raises(SystemExit, match="'c' names no row; allowed: more, one, all, and names: a-1, a-2, b"):
        chosen(["c"], rows)


def test_the_plan_counts_hours_of_all_processes():
    rows = [replace(tiny("first"), seeds=3, minutes=20.0), replace(tiny("second"), seeds=5, minutes=30.0)]
    assert "| second | nothing | 5 | 30.0 | 1.8 |" in plan(rows, None, 2)  # (3 x 20 + 5 x 30) / 2 / 60
    assert "| second | nothing | 1 | 30.0 | 0.8 |" in plan(rows, 1, 1)


def test_learning_rates_are_tried_without_the_test_split_and_with_a_seed_of_no_row():
    row = next(row for row in ROWS if row.name == "mnist-cnn-0.5-erm")
    configs = [compose(job.overrides) for job in rates.candidates(row, Path("runs"))]
    assert [config.optimizer.lr for config in configs] == [1.0e-3, 3.0e-3, 6.0e-3]
    assert not any(config.test for config in configs)
    assert min(config.seed for config in configs) > max(row.seeds for row in ROWS)


def test_the_attribute_of_a_row_that_is_told_nothing_is_the_one_that_the_audit_names_first():
    """Else the table would know what the audit did not say."""
    row = next(row for row in ROWS if row.name == "mnist-cnn-0.5-audit-groups")
    job = Job(row, 1, Path("runs"))
    jobs._check_named(job, {"shortcuts": [{"cue": "colour"}, {"cue": "texture"}]})
    with pytest.raises(RuntimeError, match="the audit names texture first, not colour"):
        jobs._check_named(job, {"shortcuts": [{"cue": "texture"}, {"cue": "colour"}]})


def test_how_learning_rates_were_chosen_is_only_said_where_they_were(tmp_path, monkeypatch):
    Recorded(monkeypatch)
    rows = [tiny()]
    assert bias.main(arguments_of(tmp_path), rows) == 0
    assert "was not tried" in record.record(rows, tmp_path / "runs", False, "")["selection"]
    assert bias.main([*arguments_of(tmp_path), "--select", "tiny"], rows) == 0
    found = record.record(rows, tmp_path / "runs", False, "")
    assert "best worst class on validation images" in found["selection"]
    assert [one["lr"] for one in found["learning_rates"]["tiny"]] == [1.0e-3, 3.0e-3, 6.0e-3]


# That it goes on where it was


class Recorded:
    """Stands for the command: writes the figures of a run and counts how often each was asked for."""

    def __init__(self, monkeypatch, break_at=None, failing=None):
        self.asked: list[str] = []
        self.break_at, self.failing = break_at, failing
        monkeypatch.setattr(jobs.Commands, "run", lambda commands, *given: self.run(commands, *given))
        monkeypatch.setattr(jobs.figures, "of_run", lambda folder, conflicting, stage: made_run())

    def run(self, commands, arguments, log):
        if commands.stopped.is_set():
            raise InterruptedError
        name = next(one for one in arguments if one.startswith("experiment_name="))
        self.asked.append(name)
        if len(self.asked) == self.break_at:
            os.kill(os.getpid(), signal.SIGINT)
            commands.stopped.wait(timeout=60)
            raise InterruptedError
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("done\n", encoding="utf-8")
        return 4 if name == self.failing else 0


def made_run(accuracy=0.9, n=1000):
    rate = {"estimate": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01, "n": n}
    training = {"epochs": 1, "seconds": 2.0, "epoch_seconds": 2.0, "images_per_second": 100.0}
    return {
        "accuracy": rate,
        "conflicting": rate,
        "worst_class": {**rate, "class": "star"},
        "reliance": {"colour": {"hue": {**rate, "estimate": 0.01}, "hue_luma": {**rate, "estimate": 0.02}}},
        "redraw": {"colour": {**rate, "estimate": 0.03}},
        "test": {"verdict": "PASS", "not_passed": []},
        "training": training,
    }


def arguments_of(tmp_path):
    return ["--jobs", "1", "--runs-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "bias.json")]


@pytest.fixture
def interruptible():
    """SIGINT interrupts; a shell has it ignored by what it begins in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_rerun_after_an_interruption_runs_only_what_is_left(tmp_path, monkeypatch, interruptible):
    first = Recorded(monkeypatch, break_at=3)
    rows = [tiny("one"), tiny("two")]
    assert bias.main(arguments_of(tmp_path), rows) == 130
    assert len(first.asked) == 3
    again = Recorded(monkeypatch)
    assert bias.main(arguments_of(tmp_path), rows) == 0
    assert again.asked == ["experiment_name=bias_two_1", "experiment_name=bias_two_2"]
    found = json.loads((tmp_path / "bias.json").read_text(encoding="utf-8"))
    assert [(row["name"], [run["seed"] for run in row["runs"]]) for row in found["rows"]] == [
        ("one", [1, 2]),
        ("two", [1, 2]),
    ]
    assert found["quick"] is False


def test_a_row_whose_command_has_changed_runs_again(tmp_path, monkeypatch):
    """Else figures of the old command would stand under the new one."""
    Recorded(monkeypatch)
    assert bias.main(arguments_of(tmp_path), [tiny()]) == 0
    changed = replace(tiny(), overrides=(*TINY, "optimizer.lr=1.0e-3"))
    assert not record.record([changed], tmp_path / "runs", False, "")["rows"]
    again = Recorded(monkeypatch)
    assert bias.main(arguments_of(tmp_path), [changed]) == 0
    assert len(again.asked) == 2


def test_a_command_that_fails_stores_nothing_and_the_others_run(tmp_path, monkeypatch, capsys):
    Recorded(monkeypatch, failing="experiment_name=bias_one_1")
    assert bias.main(arguments_of(tmp_path), [tiny("one"), tiny("two")]) == 1
    assert "failed: one, seed 1: train ended with status 4: done" in capsys.readouterr().out
    stored = sorted(str(path.relative_to(tmp_path / "runs" / "results")) for path in tmp_path.rglob("results/*/*.json"))
    assert stored == ["one/2.json", "two/1.json", "two/2.json"]


def test_stopping_ends_the_process_that_runs_and_stores_nothing(tmp_path, monkeypatch):
    """An orphan would go on training for minutes, beside the rerun of the same seed."""
    os.mkfifo(tmp_path / "begun")
    script = "import os, pathlib, signal; pathlib.Path(os.environ['BEGUN']).write_text('x'); signal.pause()"
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c", script))
    commands, job, raised = Commands(), Job(tiny(), 1, tmp_path / "runs"), []

    def work():
        try:
            jobs.perform(job, commands)
        except InterruptedError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert (tmp_path / "begun").read_text(encoding="utf-8") == "x"  # it runs
    commands.stop()
    thread.join(timeout=60)
    assert raised
    assert job.stored() is None
    with pytest.raises(InterruptedError):  # nothing else begins
        commands.run(["train"], tmp_path / "log")


def test_a_refused_command_is_recorded_with_its_sentence(tmp_path, monkeypatch):
    sentence = "focus.keep: the label is the colour: .9999 falls to .13."
    monkeypatch.setattr(jobs, "PROGRAM", (sys.executable, "-c", f"print({sentence!r}); raise SystemExit(2)"))
    result = jobs.perform(Job(tiny(refused=True), 1, tmp_path), Commands())
    assert (result["refused"], result["status"], result["sentence"]) == (True, 2, sentence)


@pytest.mark.slow
def test_the_real_command_gives_the_figures_of_its_own_verdict(tmp_path):
    row = tiny()
    job = Job(row, 1, tmp_path)
    result = jobs.perform(job, Commands())
    verdict = json.loads(
        (tmp_path / "runs" / job.name / "latest" / "verdicts" / "test.json").read_text(encoding="utf-8")
    )
    rows = {one["label"]: one for one in verdict["requirements"]}
    for figure, label in (
        ("accuracy", "accuracy"),
        ("conflicting", "accuracy of conflicting images (colour)"),
        ("worst_class", "recall of each class"),
    ):
        assert (result[figure]["estimate"], result[figure]["n"]) == (rows[label]["estimate"], rows[label]["n"])
    operators = {one["name"]: one["estimate"] for one in rows["reliance on colour"]["comparisons"]}
    assert {name: one["estimate"] for name, one in result["reliance"]["colour"].items()} == operators
    assert result["redraw"]["colour"]["estimate"] == verdict["extra"]["truth"]["colour"]["share"]
    assert result["test"]["verdict"] == verdict["verdict"]
    assert result["training"]["epochs"] == 1
    assert job.stored() == json.loads(json.dumps(result))


# What it makes of its runs


def test_figures_of_a_run_are_those_counted_by_hand(tmp_path):
    """Twelve images, one of which was not decoded and one of which has no known colour."""
    (tmp_path / "artifact").mkdir()
    (tmp_path / "predictions").mkdir()
    contract = {
        "classes": ["star", "heart"],
        "attributes": {"colour": ["red", "blue", "green"]},
        "usual": {"colour": [2, 0]},
    }
    (tmp_path / "artifact" / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    columns = {
        "label": [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
        "prediction": [0, 0, 1, 1, 0, None, 1, 1, 1, 0, 0, 0],
        "attribute:colour": [2, 2, 0, 1, 0, 0, 0, 0, 0, 1, 2, -1],
        "reliance:colour:hue:transplant": [True, True, False, False, None, None, *[True] * 4, False, False],
        "reliance:colour:hue:placebo": [False, True, True, False, None, None, *[False] * 6],
        "truth:colour": [True, False, None, None, None, None, *[None] * 6],
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "predictions" / "test.parquet")
    lines = [
        {"seconds": 5.0, "metrics": {"train/images_per_second": 50.0}},
        {"seconds": 7.0, "metrics": {"train/images_per_second": 90.0}},
        {"seconds": 9.5, "metrics": {"train/images_per_second": 80.0}},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = figures.of_run(tmp_path, "colour")
    assert (found["accuracy"]["estimate"], found["accuracy"]["n"]) == (6 / 11, 11)
    # Conflicting: stars in red and blue (right: 1 of 3), hearts in blue and green (0 of 2); unknown is in neither.
    assert (found["conflicting"]["estimate"], found["conflicting"]["n"]) == (1 / 5, 5)
    assert (found["worst_class"]["class"], found["worst_class"]["estimate"]) == ("heart", 0.5)
    # Alone moved: by the transplant image 1 and four hearts, by the placebo image 3; ten images were asked.
    assert found["reliance"]["colour"]["hue"]["estimate"] == pytest.approx((5 - 1) / 10)
    assert (found["redraw"]["colour"]["estimate"], found["redraw"]["colour"]["n"]) == (0.5, 2)
    exact = stats.binomtest(6, 11).proportion_ci(0.95, method="exact")
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == pytest.approx((exact.low, exact.high))
    assert found["training"] == {"epochs": 3, "seconds": 21.5, "epoch_seconds": 7.0, "images_per_second": 80.0}


def test_mean_and_interval_over_seeds_are_those_of_scipy():
    values = [0.981, 0.986, 0.984, 0.990, 0.979]
    found = summary.over_seeds(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert summary.over_seeds([0.5])["low"] is None


def test_the_sampling_interval_is_the_exact_one_of_one_test_set():
    runs = [{"seed": seed, "cue": "colour", **made_run(accuracy)} for seed, accuracy in ((1, 0.90), (2, 0.94))]
    exact = stats.binomtest(920, 1000).proportion_ci(0.95, method="exact")
    found = summary.sampling(runs, "accuracy")
    assert (found["low"], found["high"], found["n"]) == (pytest.approx(exact.low), pytest.approx(exact.high), 1000)


def test_a_gain_is_taken_seed_by_seed():
    """Of means it would carry what seeds have in common, such as the images."""
    own = {1: 0.95, 2: 0.91, 3: 0.97, 5: 0.2}
    other = {1: 0.90, 2: 0.88, 3: 0.93, 4: 0.1}
    runs, baseline = (
        [{"seed": seed, "cue": "colour", **made_run(one)} for seed, one in each.items()] for each in (own, other)
    )
    gain = summary.against(runs, baseline, "accuracy")["gain"]
    expected = stats.ttest_rel([0.95, 0.91, 0.97], [0.90, 0.88, 0.93]).confidence_interval(0.95)
    assert gain["mean"] == pytest.approx(0.04)
    assert (gain["low"], gain["high"]) == pytest.approx((expected.low, expected.high))


def judged_row(accuracies, *targets, **given):
    row = tiny(targets=targets, **given)
    runs = [{"seed": seed, "cue": "colour", **made_run(one)} for seed, one in enumerate(accuracies, 1)]
    return summary.of_row(row, runs, [])


def test_a_target_of_every_seed_is_not_met_by_the_mean():
    mean, every = (judged_row([0.97, 0.93], Target("accuracy", 0.94, every=one))["targets"][0] for one in (False, True))
    assert (mean["met"], mean["reached"]) == (True, pytest.approx(0.95))
    assert mean["sure"] is False  # two seeds so far apart leave the mean open
    assert (every["met"], every["reached"]) == (False, 0.93)


def test_reliance_is_that_of_the_operator_that_says_most():
    found = judged_row([0.9, 0.9], Target("reliance", 0.015, at_least=False))
    assert found["targets"][0]["met"] is False  # .01 by one operator, .02 by the other
    assert found["figures"]["reliance"]["mean"] == pytest.approx(0.02)


def test_a_target_without_runs_is_not_measured():
    assert summary.of_row(tiny(targets=(Target("gain", 0.0),)), [], [])["targets"][0]["met"] is None


def test_published_figures_are_compared_with_what_was_told_the_same():
    """A method that is told the cue must not be set beside label-free ones."""
    told = judged_row([0.99, 0.99], published=published_digits(0.005))
    assert told["published"]["best"]["method"] == "FG-CCDB"
    assert told["published"]["margin"] == pytest.approx(99.0 - 89.0)
    row = replace(tiny(published=published_digits(0.005)), told=CUE)
    found = summary.published(row, {"mean": 0.99})
    assert [one["method"] for one in found["like"]] == ["ReBias"]
    assert found["margin"] == pytest.approx(99.0 - 70.5)
    assert {"GroupDRO", "FG-CCDB"} <= {one["method"] for one in found["other"]}


def test_published_figures_are_those_of_the_papers():
    """Spot checks against "Learning from Failure" (GroupDRO by DisEnt), DeNetDM and FG-CCDB."""
    at = {ratio: {one.method: one.value for one in published_digits(ratio)} for ratio in (0.005, 0.01, 0.02, 0.05)}
    assert at[0.005]["GroupDRO"] == 59.7
    assert at[0.005]["FG-CCDB"] == 89.0
    assert at[0.05]["DeNetDM"] == 93.5
    assert "uLA" not in at[0.01]
    assert [one.value for one in published_digits(0.0)] == [13.5]


def test_the_file_holds_every_run_and_stays_small(tmp_path, monkeypatch):
    """Files of the repository are 500 kB at most; the table has about 180 runs of some 55 rows."""
    Recorded(monkeypatch)
    rows = [replace(tiny(f"row-{number}", published=published_digits(0.005)), seeds=4) for number in range(10)]
    assert bias.main(arguments_of(tmp_path), rows) == 0
    found = json.loads((tmp_path / "bias.json").read_text(encoding="utf-8"))
    assert [len(row["runs"]) for row in found["rows"]] == [4] * 10
    assert found["rows"][0]["runs"][0]["accuracy"] == made_run()["accuracy"]
    assert (tmp_path / "bias.json").stat().st_size / 10 < 500_000 / 55
    assert (tmp_path / "bias.html").stat().st_size / 10 < 500_000 / 55


# The page


def made_record(tmp_path, monkeypatch, quick=False):
    Recorded(monkeypatch)
    one = tiny("one", targets=(Target("accuracy", 0.95),), published=published_digits(0.005))
    rows = [
        one,
        replace(one, name="two", told=CUE, baseline="one", targets=(Target("accuracy", 0.8),), sets=("quick",)),
    ]
    flags = ["--quick", "--seeds", "2", "--rows", "all"] if quick else []
    assert bias.main([*arguments_of(tmp_path), *flags], rows) == 0
    return json.loads((tmp_path / "bias.json").read_text(encoding="utf-8")), (tmp_path / "bias.html").read_text(
        encoding="utf-8"
    )


def test_the_page_is_self_contained_and_says_what_each_method_was_told(tmp_path, monkeypatch):
    found, html = made_record(tmp_path, monkeypatch)
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert html.count("told: nothing") == 1
    assert html.count("told: the cue&#39;s name") == 1
    first, second = html.split('id="two"')
    assert "told the cue as well:</b> ReBias 70.5" in second
    assert "label-free as well:</b> FG-CCDB 89" in first
    assert re.search(r"so not a comparison: .*FG-CCDB 89 ± 0.5 \(told nothing\)", second)
    assert "1 met" in html
    assert "1 missed" in html
    assert str(tmp_path) not in json.dumps(found["rows"])  # nothing of this machine's folders
    assert "host" not in found["environment"]


def test_a_quick_record_says_so(tmp_path, monkeypatch):
    found, html = made_record(tmp_path, monkeypatch, quick=True)
    assert found["quick"] is True
    assert not any(row["targets"] for row in found["rows"])
    assert "stand for nothing" in html
    assert "stand for nothing" not in page.page({**found, "quick": False})


def test_shown_commands_are_what_a_user_types():
    row = next(row for row in ROWS if row.name == "mnist-cnn-0.5-shape")
    shown = record._row(row, [{"seed": 1, "quick": False, "seconds": {}, "cue": "colour", **made_run()}], [])["command"]
    assert shown.startswith("evensight train experiment=coloured_mnist")
    assert shown.endswith("focus=shape trainer.check_val_every_n_epoch=10")
    assert digits.AFFINE not in shown
