"""The sections on cues and on focus: if these fail, a reader is shown another figure than the run measured."""

from __future__ import annotations

import json
import re

import pytest
from made_cues import cue_metrics

from evensight.report.cues import cues_of, cues_view
from evensight.report.focus import focus_view
from evensight.report.folder import read_folder
from evensight.report.report import write_report


def text_of(folder) -> str:
    page = write_report(folder).read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_every_cue_has_a_line_with_its_intervals(make_run):
    run = read_folder(make_run())
    assert cues_of(run) == ["colour", "brightness", "texture", "background", "border", "surround"]
    overview = cues_view(run)["charts"][0]
    assert [line.name for line in overview.lines] == cues_of(run)
    assert len({line.style for line in overview.lines}) == 6
    assert all(line.band for line in overview.lines if line.name != "colour")
    assert [words for _, words in overview.rules] == ["reliance on colour ≤ 0.05"]
    assert overview.lines[1].last == "0.010 (-0.040 to 0.060, n 64)"


def test_the_last_look_is_shown_by_class_and_group_beside_accuracy(make_run):
    view = cues_view(read_folder(make_run()))
    assert (view["epoch"], view["largest"]) == (6, "colour")
    charts = {chart.title: chart for chart in view["bars"]}
    parts = charts["Reliance on colour by class and group"]
    assert [bar.name for bar in parts.bars] == [
        *("cat <b>&amp;", "dog", "Rindfleischetikettierungsueberwachung", "colour red", "colour green", "colour blue"),
    ]
    assert parts.bound == 0.05
    decided = {bar.name: bar.estimate for bar in charts["How images are decided whose cue contradicts the label"].bars}
    expected = cue_metrics(5)
    assert decided["colour: as it says"] == expected["val/decided_by/colour"]
    assert decided["colour: right"] == expected["val/accuracy_against/colour"]
    without = [bar.name for bar in charts["Accuracy without a cue"].bars]
    assert without == ["images as they are", "without colour"]


def test_accuracy_of_the_same_class_and_group_stands_beside(make_run):
    folder = make_run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().split("\n")[:-1]]
    lines[-1]["metrics"] |= {"val/recall/dog": 0.25, "val/group_accuracy/colour/red": 0.75}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (parts,) = [chart for chart in cues_view(read_folder(folder))["bars"] if "class and group" in chart.title]
    notes = {bar.name: bar.note for bar in parts.bars}
    assert (notes["dog"], notes["colour red"], notes["colour blue"]) == ("accuracy 0.250", "accuracy 0.750", "")


def test_a_run_that_measured_nothing_has_no_section(make_run):
    folder = make_run(num_epochs=2)  # reliance is in every third epoch
    assert cues_view(read_folder(folder)) is None
    assert focus_view(read_folder(folder)) is None
    text = text_of(folder)
    assert "Cues in training" not in text
    assert "What the network saw" not in text


def test_focus_shows_what_was_turned_off_moves_and_the_trial(make_run):
    text = text_of(make_run(focus=True))
    for part in (
        "Turned off: colour, border, strength 0.5",
        "What the network saw: colour &lt;all&gt;",
        "grey alone gives &lt;nothing&gt; away",
        "after epoch 2 colour: 0.25 to 0.5 (reliance 0.400, bound 0.050): it is &lt;above&gt;",
        "expected loss 0.012 (0.010 to 0.020, n 1,234)",
        "accuracy, with it 0.988",
        "needed no",
    ):
        assert part in text, part


def test_a_move_takes_hold_in_the_epoch_after_it(make_run):
    chart = focus_view(read_folder(make_run(focus=True)))["chart"]
    colour, border = chart.lines
    assert [said.split()[-1] for _, _, said in colour.dots] == ["0.250", "0.250", "0.500", "0.500", "1.000", "1.000"]
    assert {said.split()[-1] for _, _, said in border.dots} == {"0.500"}


@pytest.mark.parametrize("absent", ["sees", "moves", "trial", "notes", "by", "cues"])
def test_a_part_that_the_record_lacks_is_left_out(make_run, absent):
    folder = make_run(focus=True)
    record = json.loads((folder / "focus.json").read_text())
    del record[absent]
    (folder / "focus.json").write_text(json.dumps(record))
    assert "Focus" in text_of(folder)


def test_a_lost_picture_leaves_a_blank(make_run):
    folder = make_run(focus=True)
    (folder / "pictures" / "focus" / "after_3.png").unlink()
    pairs = focus_view(read_folder(folder))["sees"][0]["pairs"]
    assert [pair["after"] is None for pair in pairs] == [number == 3 for number in range(8)]
    write_report(folder)
