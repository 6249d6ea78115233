"""If these fail, a user is not told that the model looks at a cue, is told so of a model that does not, or of another.

Networks that read one thing alone have known figures: see `oracles`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from oracles import COLOURS, ByColour, ByPlace, bank, classifier, sample, trainer
from torch import nn
from training_places import Workplace

import evensight.training.callbacks.reliance_monitor as monitoring
from evensight.compose import compose
from evensight.cues import build_cue
from evensight.cues.named import named_cues
from evensight.data.manifest import Manifest
from evensight.objective.conflicting import conflicts, decided_by_attribute
from evensight.objective.objective import Objective
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.callbacks.progress import cue_line, epoch_line
from evensight.training.callbacks.reliance_monitor import RelianceMonitor, Watched
from evensight.training.cue_figures import CueCounts, setting, wins
from evensight.training.cue_says import by_attribute, by_probe, cue_says
from evensight.training.donors import Sample, measured_cues, validation_sample
from evensight.training.watching import levels_of, parts_of

MONITOR = "evensight.training.callbacks.reliance_monitor"
ALL = ["colour", "brightness", "texture", "background", "border"]


def watched(found: Sample, **values: Any) -> Watched:
    """All that training watches of a sample whose usual colours are red, green, blue."""
    says = {"colour": by_attribute(found.attributes[:, 0], found.labels, (0, 1, 2))}
    parts = {f"class={k}": found.labels == k for k in range(3)}
    parts |= {f"colour={name}": found.attributes[:, 0] == level for level, name in enumerate(COLOURS)}
    usual = {"closely": ("colour",), "says": says, "parts": parts, "levels": {"colour": 0.1}}
    return Watched(**{**usual, **values})


def monitor(found: Sample, cues: tuple[str, ...] = ("colour",), **values: Any) -> RelianceMonitor:
    return RelianceMonitor(
        [build_cue(cue) for cue in cues], bank(), found, 0, 1, 0.95, watched(found, **values), batch_size=32
    )


def figures(network: nn.Module, found: Sample, **values: Any) -> dict[str, float]:
    measuring = monitor(found, **values)
    measuring.on_validation_epoch_end(trainer(), classifier(network))
    return measuring.record.metrics


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING and record.name == MONITOR]


def test_a_network_that_reads_the_colour() -> None:
    measured = figures(ByColour(), sample(4))
    assert measured["val/reliance/colour"] == 1.0
    for part in ("class=0", "class=1", "class=2", "colour=red", "colour=green", "colour=blue"):
        assert measured[f"val/reliance/colour/{part}"] == 1.0, part
    assert measured["val/decided_by/colour"] == 1.0
    assert measured["val/accuracy_against/colour"] == 0.0
    assert measured["val/accuracy_without/colour"] == pytest.approx(1 / 3)  # grey says "left" of all images


def test_a_network_that_reads_the_place() -> None:
    measured = figures(ByPlace(), sample(4))
    assert {value for name, value in measured.items() if name.startswith("val/reliance/")} == {0.0}
    assert measured["val/decided_by/colour"] == 0.0
    assert measured["val/accuracy_against/colour"] == 1.0
    assert measured["val/accuracy_without/colour"] == 1.0


def test_every_figure_has_its_images() -> None:
    found = sample(4)
    measuring = monitor(found)
    measuring.on_validation_epoch_end(trainer(), classifier(ByColour()))
    counted = {name.removeprefix("val/"): interval[2] for name, interval in measuring.record.intervals.items()}
    assert set(measuring.record.intervals) == set(measuring.record.metrics)
    assert counted["reliance/colour"] == 36
    assert counted["reliance/colour/class=0"] == counted["reliance/colour/colour=red"] == 12
    assert counted["decided_by/colour"] == counted["accuracy_against/colour"] == 24
    assert counted["accuracy_without/colour"] == 36


def test_a_cue_that_wins_is_named_in_its_first_epoch_and_once(caplog: pytest.LogCaptureFixture) -> None:
    measuring, network = monitor(sample(4)), classifier(ByColour())
    measuring.on_validation_epoch_end(trainer(epoch=0), network)
    (said,) = warnings(caplog)
    for part in ("epoch 1", "colour", "focus=colour_off", "24 images", "1.000 go with the colour", "0.000 are right"):
        assert part in said
    measuring.on_validation_epoch_end(trainer(epoch=1), network)
    resumed = monitor(sample(4))
    resumed.load_state_dict(measuring.state_dict())
    resumed.on_validation_epoch_end(trainer(epoch=2), network)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("network", "values"),
    [(ByPlace(), {}), (ByColour(), {"levels": {}})],
    ids=["it does not win", "the classes are made of it"],
)
def test_no_warning(network: nn.Module, values: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert "val/reliance/colour" in figures(network, sample(4), **values)
    assert warnings(caplog) == []


def test_where_no_image_contradicts_the_warning_says_that_accuracy_is_blind(caplog: pytest.LogCaptureFixture) -> None:
    measured = figures(ByColour(), sample(12, aligned=True))
    assert "val/decided_by/colour" not in measured
    (said,) = warnings(caplog)
    assert "no validation image's colour contradicts its label" in said


def test_other_ranks_count_their_share_and_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Without a process group every rank has its own counts: those of two add up to those of one."""
    found = sample(3)
    one = monitor(found).counts(trainer(), classifier(ByColour()))["colour"]
    two = [monitor(found).counts(trainer(rank=rank, ranks=2), classifier(ByColour()))["colour"] for rank in (0, 1)]

    def flat(counts: CueCounts) -> np.ndarray[Any, Any]:
        rows = [*counts.moved.values(), *(row for parts in counts.parts.values() for row in parts.values())]
        assert counts.decided is not None
        assert counts.without is not None
        return np.concatenate([np.array(rows).ravel(), counts.decided, counts.without])

    assert (flat(two[0]) + flat(two[1])).tolist() == flat(one).tolist()
    other = monitor(found)
    other.on_validation_epoch_end(trainer(rank=1, ranks=2), classifier(ByColour()))
    assert warnings(caplog) == []
    assert other.state_dict()["said"] == ["colour"]


def test_a_cue_that_nothing_names_is_measured_on_a_part() -> None:
    measuring = monitor(sample(4, few=10), cues=("colour", "border"))
    measuring.on_validation_epoch_end(trainer(), classifier(ByColour()))
    intervals = measuring.record.intervals
    assert (intervals["val/reliance/colour"][2], intervals["val/reliance/border"][2]) == (36, 10)
    assert intervals["val/accuracy_without/border"][2] == 10


@pytest.mark.parametrize(
    ("moved", "decided", "expected"),
    [
        ((700, 5, 1000), (45, 2, 50), True),  # far above the bound, and follows the cue
        ((700, 5, 1000), (2, 45, 50), False),  # pulled, but right where the cue misleads
        ((110, 5, 1000), (45, 2, 50), False),  # above .10 by estimate, within chance of it
        ((20, 5, 1000), (45, 2, 50), False),
        ((700, 5, 1000), (0, 0, 0), True),  # nothing contradicts
        ((700, 5, 1000), None, True),
        ((5, 700, 1000), (45, 2, 50), False),  # the placebo moves more
        ((0, 0, 0), None, False),
    ],
)
def test_when_a_cue_wins(moved: tuple[int, int, int], decided: tuple[int, int, int] | None, expected: bool) -> None:
    assert wins(CueCounts({"hue": moved}, {}, decided), 0.1, 0.001) is expected


def test_the_operator_that_pulls_most_counts() -> None:
    counts = CueCounts({"hue": (10, 0, 100), "hue_luma": (40, 2, 100)}, {})
    assert counts.largest == "hue_luma"
    assert wins(counts, 0.2, 0.01)


def test_the_level_is_kept_over_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cue at its level must not be warned of merely because it is looked at often, by several operators."""
    tails: list[float] = []
    monkeypatch.setattr(monitoring, "wins", lambda counts, level, tail: tails.append(tail) or False)
    measuring = monitor(sample(1))
    measuring.on_validation_epoch_end(trainer(epochs=4), classifier(ByPlace()))
    assert tails == [pytest.approx(0.05 / 5 / 3)]  # four epochs and the last, three operators


def test_what_an_attribute_says_agrees_with_the_verdict() -> None:
    """The figure of an epoch is the one of the verdict: same images, same count."""
    rng = np.random.default_rng(3)
    labels, levels, predictions = (rng.integers(low, 4, 500) for low in (0, -1, 0))
    usual = (2, 0, -1, 2)  # two classes share a level, one has none
    says = by_attribute(torch.from_numpy(levels), torch.from_numpy(labels), usual)
    assert says.against.tolist() == conflicts(levels, labels, usual).tolist()
    table = np.zeros((4, 4, 4), int)
    for level, label, prediction in zip(levels, labels, predictions, strict=True):
        if level >= 0:
            table[level, label, prediction] += 1
    followed, n = decided_by_attribute(table, usual)
    right = int((conflicts(levels, labels, usual) & (predictions == labels)).sum())
    assert says.counts(torch.from_numpy(predictions), torch.from_numpy(labels)) == (int(followed), right, int(n))


def test_what_a_probe_says() -> None:
    says = by_probe(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 0]), 3)
    assert says.against.tolist() == [False, False, True, True]
    assert says.counts(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 2, 0])) == (1, 1, 2)


def test_a_probe_stands_in_where_no_attribute_is_known(place: Workplace) -> None:
    """Of shapes whose usual colours nobody declared, the probe of colour says the class that usually has the colour."""
    config, run = place.config("reliance.max_images=256"), place.fit("trainer.max_epochs=1").run
    declared = place.manifest
    (run.folder / "cue_probes.safetensors").unlink()
    unknown = dataclasses.replace(declared, usual={})
    cues, spec = [build_cue("colour")], PreprocessSpec(32)
    found = validation_sample(config, declared, spec, cues)
    says = [cue_says(config, run, manifest, spec, cues, found)["colour"] for manifest in (declared, unknown)]
    same = says[0].agrees.float().argmax(dim=1) == says[1].agrees.float().argmax(dim=1)
    assert same.float().mean() > 0.9
    # A run goes on with the probes that it began with.
    kept = (run.folder / "cue_probes.safetensors").read_bytes()
    assert cue_says(config, run, unknown, spec, cues, found)["colour"].agrees.equal(says[1].agrees)
    assert (run.folder / "cue_probes.safetensors").read_bytes() == kept


def test_all_cues_are_measured_whose_needs_the_images_meet(
    data: tuple[Manifest, Objective], caplog: pytest.LogCaptureFixture
) -> None:
    manifest, objective = data
    config = compose(["experiment=shapes"])
    assert [cue.name for cue in measured_cues(config, objective, manifest)] == ALL
    assert caplog.text == ""
    bare = dataclasses.replace(manifest, frame=manifest.frame.with_columns(mask=pl.lit(None, dtype=pl.String)))
    found = [cue.name for cue in measured_cues(config, objective, bare)]
    assert Counter(found) == Counter([*ALL, "surround"]) - Counter(["background"])
    assert caplog.text == ""
    listed = compose(["experiment=shapes", "reliance.cues=[border,background]"])
    assert [cue.name for cue in measured_cues(listed, objective, bare)] == ["border", "colour"]
    assert "background is not measured: these images come without mask" in caplog.text  # whose column is there, empty


def test_verdicts_look_at_named_cues_alone(data: tuple[Manifest, Objective]) -> None:
    """The artifact's contract lists them: a verdict takes the time that its requirements need."""
    objective = data[1]
    stated = objective.cue_names(rivals=True)
    assert named_cues(compose(["experiment=shapes"]), stated) == ("colour",)
    focused = compose(["experiment=shapes", "focus.ignore=[texture,audit]", "reliance.cues=[border]"])
    assert named_cues(focused, stated) == ("border", "colour", "texture")


def test_levels_are_the_objectives_bounds(data: tuple[Manifest, Objective]) -> None:
    cues = [build_cue("colour"), build_cue("texture"), build_cue("border")]
    objective = data[1].model_copy(update={"essential_cues": ("border",)})
    assert levels_of(cues, objective) == {"colour": 0.05, "texture": 0.10}


def test_parts_are_classes_and_groups(data: tuple[Manifest, Objective]) -> None:
    manifest = data[0]
    found = validation_sample(compose(["experiment=shapes"]), manifest, PreprocessSpec(24), [])
    parts = parts_of(manifest, found)
    assert {name: int(images.sum()) for name, images in parts.items() if name.startswith("class=")} == {
        f"class={name}": n
        for name, n in zip(manifest.classes, manifest.counts("validation")["overall"].tolist(), strict=True)
    }
    red = parts["colour=red"] & parts["class=circle"]
    assert int(red.sum()) == manifest.counts("validation")["colour"][0, 0]


def test_a_fit_writes_every_cue(shared_fit: Any) -> None:
    from evensight.training.callbacks.metrics_file import read_lines

    (line,) = [x for x in read_lines(shared_fit.run.metrics_file) if "val/reliance/colour" in x["metrics"]]
    for cue in ALL:
        assert f"val/reliance/{cue}" in line["metrics"], cue
        assert f"val/decided_by/{cue}" in line["metrics"], cue
    assert "val/reliance/colour/class=circle" in line["metrics"]
    assert "val/reliance/colour/size=small" in line["metrics"]
    assert {"val/accuracy_without/colour", "val/accuracy_without/border"} <= set(line["metrics"])


def test_setting_of_a_cue_that_is_ignored_already() -> None:
    assert setting("colour", []) == "to turn it off: focus=colour_off"
    assert "focus.strength" in setting("colour", ["colour"])


def test_lines_of_the_log() -> None:
    metrics = {
        "val/reliance/colour": 0.5,
        "val/reliance/colour/hue": 0.5,
        "val/reliance/colour/class=circle": 0.4,
        "val/reliance/border": 0.25,
        "val/decided_by/colour": 0.75,
        "val/accuracy_without/colour": 0.125,
    }
    assert epoch_line(0, 2, metrics) == "epoch 1/2  reliance on colour 0.500, border 0.250"
    assert cue_line(metrics) == "images that a cue contradicts, decided by colour 0.750; accuracy without colour 0.125"
    assert cue_line({"val/accuracy": 0.5}) == ""


def test_probes_are_in_the_run_folder(shared_fit: Any) -> None:
    assert Path(shared_fit.run.folder / "cue_probes.safetensors").is_file()
