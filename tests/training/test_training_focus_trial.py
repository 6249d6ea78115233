"""A cue that the objective needs is refused by figures on conflicting images; one that it does not need is not."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from evensight.compose import compose
from evensight.cues import Cue, build_cue
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.arrays import ArraysReader
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.threads import single_threaded_pool
from evensight.training.focus.trial import Trial, enforce, refuse_essential, trial
from evensight.training.focus.trial_cells import Comparison, TrialImages
from evensight.training.focus.trial_fit import Pictures, fitted

CLASSES = ("a", "b", "c", "d")
# Of nearly one luma, so that grey says nothing of them.
COLOURS = np.array([(200, 90, 90), (60, 160, 60), (80, 110, 230), (150, 130, 30)])
SIZE = 16
CONFIG = compose(["experiment=shapes", f"model.size={SIZE}", "data.num_workers=0", "trainer=cpu", "focus=colour_off"])


def drawn(pattern: np.ndarray, colour: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Stripes in one of four directions, in one of four colours on grey, uint8 `[N, 16, 16, 3]`."""
    y, x = np.mgrid[:SIZE, :SIZE]
    along = np.stack([x, y, x + y, x - y])[pattern] + generator.integers(0, 6, len(pattern))[:, None, None]
    # A third of the pixels lies: the pattern is harder to learn than the colour.
    striped = ((along % 6 < 3) ^ (generator.random(along.shape) < 1 / 3))[..., None]
    pixels = np.where(striped, COLOURS[colour][:, None, None, :], 120) + generator.normal(
        0, 6, (len(pattern), 16, 16, 3)
    )
    return pixels.clip(0, 255).astype(np.uint8)


def made(folder: Path, label: str, correlation: float, attributes: bool = True) -> Manifest:
    """Images of which one of pattern and colour is the label, and the other agrees with it at this correlation."""
    generator = np.random.default_rng(7)
    for split, num in (("train", 800), ("validation", 1000), ("test", 8)):
        truth = np.arange(num) % 4
        other = np.where(generator.random(num) < correlation, truth, generator.integers(0, 4, num))
        pattern, colour = (truth, other) if label == "pattern" else (other, truth)
        arrays = {"labels": truth, "pattern": pattern, "colour": colour}
        texts = {name: np.array(CLASSES)[values] for name, values in arrays.items()}
        np.savez(folder / f"{split}.npz", images=drawn(pattern, colour, generator), **texts)
    goes_with = "colour" if label == "pattern" else "pattern"
    reader = ArraysReader(
        name="toy",
        root=str(folder),
        files={split: f"{split}.npz" for split in ("train", "validation", "test")},
        attributes={goes_with: goes_with},
        sealed=False,
    )
    stated = objective(attributes=(goes_with,) if attributes else ())
    return prepare(reader, stated, folder / "datasets", lambda what, done, total: None)[0]


def objective(essential: tuple[str, ...] = (), attributes: tuple[str, ...] = ()) -> Objective:
    return Objective.from_config(
        {
            "name": "toy",
            "purpose": "p",
            "classes": list(CLASSES),
            "essential_cues": list(essential),
            "attributes": {name: {"levels": list(CLASSES)} for name in attributes},
            "requirements": [{"metric": "accuracy", "bound": 0.9}],
        }
    )


@pytest.fixture(scope="module")
def needed(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The label is the colour, and the pattern goes with it."""
    manifest = made(tmp_path_factory.mktemp("needed"), "colour", 0.9)
    return trial(manifest, objective(), [build_cue("colour")], CONFIG, seed=1)


@pytest.fixture(scope="module")
def unneeded(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The label is the pattern, and the colour goes with it."""
    return made(tmp_path_factory.mktemp("unneeded"), "pattern", 0.9)


def test_label_that_is_the_colour_is_refused_with_the_loss_on_conflicting_images(needed: Trial) -> None:
    (found,) = needed.comparisons
    assert found.attribute == "pattern"
    assert 50 <= found.n <= 100  # 1,000 images, of which 3/4 of a tenth conflict
    assert found.without_focus > 0.95
    assert found.with_focus < 0.35
    assert 0.1 < found.low < found.without_focus - found.with_focus <= found.high
    # The validation set hides it: most of its images keep to what is usual.
    assert needed.accuracy_with_focus > 0.75
    assert (needed.verdict, needed.needed) == ("refused", ("colour",))
    with pytest.raises(UserError) as refused:
        enforce(needed, force=False)
    sentence = str(refused.value)
    assert f"falls from {found.without_focus:.3f} to {found.with_focus:.3f}" in sentence
    assert f"on {found.n} validation images that conflict (pattern)" in sentence
    # No image tells a colour that is the label from a shortcut that holds everywhere.
    assert "; unless these images too are misled by colour, which none of them contradicts; leave colour" in sentence
    assert sentence.endswith("focus.force=true.")


def test_forced_training_is_told_what_it_costs(needed: Trial, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        enforce(needed, force=True)
    assert "falls from" in caplog.text
    assert "focus.force=true" in caplog.text


def test_evenly_weighted_cells_show_the_loss_too(needed: Trial) -> None:
    (found,) = needed.comparisons
    assert found.even_without_focus is not None and found.even_with_focus is not None
    assert found.even_without_focus > 0.95
    assert found.even_with_focus < 0.6


def test_shortcut_is_not_refused(unneeded: Manifest, caplog: pytest.LogCaptureFixture) -> None:
    found = trial(unneeded, objective(), [build_cue("colour")], CONFIG, seed=1)
    (conflicting,) = found.comparisons
    assert conflicting.attribute == "colour"
    assert conflicting.with_focus > conflicting.without_focus + 0.3
    assert (found.verdict, found.needed, found.untold) == ("harmless", (), ())
    with caplog.at_level(logging.INFO):
        enforce(found, force=False)
    assert "a trial shows no loss" in caplog.text
    assert trial(unneeded, objective(), [build_cue("colour")], CONFIG, seed=1) == found  # the same seed, the same trial


def test_uncorrelated_colour_is_not_refused(tmp_path: Path) -> None:
    # No table is usual, so images count that contradict what the colour says: three quarters.
    found = trial(made(tmp_path, "pattern", 0.0), objective(), [build_cue("colour")], CONFIG, seed=1)
    assert [each.attribute for each in found.comparisons] == ["colour_says"]
    assert found.comparisons[0].n > 500
    assert found.comparisons[0].without_focus > 0.4  # so there was something to lose
    assert found.verdict == "harmless"


@pytest.mark.parametrize("attributes", [True, False])
def test_perfect_correlation_cannot_tell(tmp_path: Path, attributes: bool, caplog: pytest.LogCaptureFixture) -> None:
    manifest = made(tmp_path, "pattern", 1.0, attributes)
    found = trial(manifest, objective(), [build_cue("colour")], CONFIG, seed=1)
    assert (found.verdict, found.untold) == ("cannot_tell", ("colour",))
    with caplog.at_level(logging.WARNING):
        enforce(found, force=False)
    assert "nothing in this data can tell whether the classes are made of colour" in caplog.text
    assert "essential_cues" in caplog.text


def test_essential_cue_is_refused_whatever_the_data_says(tmp_path: Path) -> None:
    found = trial(made(tmp_path, "pattern", 1.0), objective(("colour",)), [build_cue("colour")], CONFIG, seed=1)
    with pytest.raises(UserError, match=r"made of colour \(essential_cues\); in a trial without colour, acc"):
        enforce(found, force=False)


def test_essential_cue_is_refused_without_a_trial_too() -> None:
    stated = objective(("colour",))
    with pytest.raises(UserError, match=r"made of colour \(essential_cues\); leave colour to the model"):
        refuse_essential(stated, ["brightness", "colour"], force=False)
    refuse_essential(stated, ["brightness", "colour"], force=True)
    refuse_essential(stated, ["brightness"], force=False)


def test_of_several_cues_the_one_that_is_needed_is_named(unneeded: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(self: TrialImages, cues: Sequence[Cue], strength: float, times: int = 1) -> np.ndarray:
        return np.full(len(self.validation.labels), all(cue.name != "colour" for cue in cues))

    monkeypatch.setattr(TrialImages, "judged", judged)
    found = trial(unneeded, objective(), [build_cue("brightness"), build_cue("colour")], CONFIG, seed=1)
    assert found.cues == ("brightness", "colour")
    assert found.needed == ("colour",)
    assert "the objective needs colour: in a trial without brightness and colour" in found.sentence


def test_slow_is_not_lost(unneeded: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that needs more steps without the cue gets them before anything is refused."""
    asked = []

    def judged(self: TrialImages, cues: object, strength: float, times: int = 1) -> np.ndarray:
        asked.append((bool(cues), times))
        return np.full(len(self.validation.labels), not cues or times > 1)

    monkeypatch.setattr(TrialImages, "judged", judged)
    found = trial(unneeded, objective(), [build_cue("colour")], CONFIG, seed=1)
    assert asked == [(False, 1), (True, 1), (True, 3)]
    assert found.verdict == "harmless"


@pytest.mark.parametrize(("lost", "refused"), [(0.05, False), (0.12, False), (0.5, True)])
def test_a_fall_must_be_large_with_confidence(
    unneeded: Manifest, monkeypatch: pytest.MonkeyPatch, lost: float, refused: bool
) -> None:
    # On some 75 images a fall of .12 may be one of .05.
    def judged(self: TrialImages, cues: object, strength: float, times: int = 1) -> np.ndarray:
        places = np.arange(len(self.validation.labels))
        conflicting = np.flatnonzero(self.conflicting["colour"])
        wrong = conflicting[: round(lost * len(conflicting))] if cues else []
        return ~np.isin(places, wrong)

    monkeypatch.setattr(TrialImages, "judged", judged)
    assert (trial(unneeded, objective(), [build_cue("colour")], CONFIG, seed=1).verdict == "refused") == refused


def test_trial_is_plain_json(needed: Trial) -> None:
    read = json.loads(json.dumps(needed.to_json()))
    assert Comparison(**read["comparisons"][0]) == needed.comparisons[0]
    assert read["verdict"] == "refused"
    assert set(read) == {field.name for field in dataclasses.fields(Trial)}


def test_networks_that_train_side_by_side_are_those_that_train_alone() -> None:
    """They share torch's generator, by which weights are drawn."""
    images = torch.randint(0, 256, (64, 3, SIZE, SIZE), dtype=torch.uint8)
    sample = Pictures(images, torch.arange(64) % 4, np.arange(64), {})

    def weights(seed: int) -> list[torch.Tensor]:
        return list(fitted(sample, 4, [build_cue("colour")], 1.0, 3, seed).state_dict().values())

    found = []
    for num_threads in (1, 4):
        with single_threaded_pool(num_threads, "fit") as pool:
            found.append(list(pool.map(weights, range(4))))
    for alone, beside in zip(*found, strict=True):
        torch.testing.assert_close(beside, alone, rtol=0, atol=0)
