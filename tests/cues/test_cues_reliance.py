from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from evensight import names
from evensight.cues import build_cue
from evensight.cues.bank import DonorBank, described, draw_bank
from evensight.cues.base import Cue
from evensight.cues.colour import Colour, region
from evensight.cues.reliance import PLACEBO_CANDIDATES, examples, measure
from evensight.errors import UserError


def by_colour(image: Tensor) -> Tensor:
    """A model that decides by hue alone: class k is the k-th eighth of the YIQ circle."""
    own = region(image)
    return ((torch.atan2(own[:, 1], own[:, 0]) / (2 * torch.pi) * 8 + 0.5).floor().long()) % 8


def by_luma(image: Tensor) -> Tensor:
    """A model blind to hue: how much of the image is darker than the ground."""
    luma = (image.double() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    return ((luma < 165).double().mean(dim=[1, 2]) * 30).long().clamp(max=7)


@pytest.fixture(scope="module")
def bank(coloured) -> DonorBank:
    """Donors labelled as the colour model labels them: what it learned."""
    images = coloured[0][:64]
    return DonorBank(images, by_colour(images), torch.arange(64) + 1000)


def test_a_colour_model_relies_and_a_luma_model_does_not(coloured, bank):
    images = coloured[0][64:]
    outcomes = measure(by_colour, images, by_colour(images), bank, Colour(), seed=0)
    assert list(outcomes) == ["hue", "hue_luma", "tint"]
    for outcome in outcomes.values():
        assert outcome.estimate() > 0.9
        assert (outcome.donor_class != by_colour(images)).all()
        assert torch.equal(bank.labels[outcome.donor], outcome.donor_class)
    outcome = measure(by_luma, images, by_luma(images), bank, Colour(), seed=0)["hue"]
    assert abs(outcome.estimate()) < 0.05


def test_moved_and_paired_are_counted_as_defined(coloured, bank):
    images, cue = coloured[0][64:], Colour()
    outcome = measure(by_colour, images, by_colour(images), bank, cue, seed=3)["hue"]
    only_first = only_second = 0
    for n in range(len(images)):
        one = images[n : n + 1]
        after = by_colour(cue.transplant("hue", one, bank.images[outcome.donor[n]][None], {}, {}))
        placebo = by_colour(cue.transplant("hue", one, bank.images[outcome.placebo[n]][None], {}, {}))
        goal = bank.labels[outcome.donor[n]]
        only_first += int(after == goal and placebo != goal)
        only_second += int(placebo == goal and after != goal)
    assert outcome.paired() == (only_first, only_second, 32)
    half = torch.arange(32) < 16
    parts = [outcome.paired(half), outcome.paired(~half)]
    assert tuple(map(sum, zip(*parts, strict=True))) == outcome.paired()


def test_the_placebo_is_the_nearest_of_the_bank(coloured, bank):
    images, cue = coloured[0][64:], Colour()
    outcome = measure(by_luma, images, by_luma(images), bank, cue, seed=0)["hue"]
    assert len(bank) == PLACEBO_CANDIDATES  # all of the bank are candidates, so the nearest of all is expected
    donors = cue.describe(bank.images, {}).double()
    mean, spread = donors.mean(0), donors.std(0, correction=0).clamp(min=1e-9)
    distance = torch.cdist((cue.describe(images, {}) - mean) / spread, (donors - mean) / spread)
    gap = distance.gather(1, outcome.placebo[:, None])[:, 0] - distance.min(dim=1).values
    assert gap.max() < 0.05  # features are compared in whole steps


def test_an_image_has_the_same_outcome_in_any_batch_and_order(coloured, bank):
    images = coloured[0][64:]
    whole = measure(by_luma, images, by_luma(images), bank, Colour(), seed=0, batch_size=32)["hue_luma"]
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    shuffled = images[order].contiguous(memory_format=torch.channels_last)
    parts = measure(by_luma, shuffled.split(5), by_luma(shuffled), bank, Colour(), seed=0)["hue_luma"]
    for field in ("moved_transplant", "moved_placebo", "donor", "donor_class", "placebo"):
        assert torch.equal(getattr(whole, field)[order], getattr(parts, field))
    other = measure(by_luma, images, by_luma(images), bank, Colour(), seed=1)["hue_luma"]
    assert not torch.equal(whole.donor, other.donor)


def test_another_process_with_one_thread_draws_the_same(coloured, bank, tmp_path):
    images = coloured[0][64:]
    outcome = measure(by_luma, images, by_luma(images), bank, Colour(), seed=7)["hue"]
    torch.save({"images": images, "predictions": by_luma(images), "bank": bank.state()}, tmp_path / "given.pt")
    code = (
        "import torch; torch.set_num_threads(1); from evensight.cues.reliance import *; "
        "from evensight.cues.colour import Colour; "
        f"given = torch.load({str(tmp_path / 'given.pt')!r}); bank = DonorBank.from_state(given['bank']); "
        "out = measure(lambda x: torch.zeros(len(x), dtype=torch.int64), given['images'], given['predictions'], bank, "
        "Colour(), 7, batch_size=3)['hue']; print(out.donor.tolist(), out.placebo.tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{outcome.donor.tolist()} {outcome.placebo.tolist()}"


def test_the_draw_is_the_one_that_is_written_down(coloured, bank):
    # SHAKE-256 of the seed and the image's SHA-256, by hand: a change here changes every published figure.
    images = coloured[0][64:65]
    outcome = measure(by_luma, images, torch.tensor([2]), bank, Colour(), seed=0)["hue"]
    digest = hashlib.sha256(images[0].numpy().tobytes()).digest()
    number = int.from_bytes(hashlib.shake_256(b"evensight reliance 0:" + digest).digest(8), "little")
    allowed = sorted((int(label), n) for n, label in enumerate(bank.labels) if label != 2)
    assert int(outcome.donor[0]) == allowed[number % len(allowed)][1]


def test_donors_spread_over_all_other_classes():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (600, 3, 4, 4), dtype=np.uint8))
    bank = DonorBank(images[:80], torch.arange(80) % 8, torch.arange(80))
    predictions = torch.full((600,), 3)
    outcome = measure(lambda x: torch.zeros(len(x), dtype=torch.int64), images, predictions, bank, Colour(), 0)["hue"]
    counts = np.bincount(outcome.donor_class.numpy(), minlength=8)
    assert counts[3] == 0 and np.delete(counts, 3).min() > 50
    assert len(outcome.placebo.unique()) > 40


def test_no_images_and_unknown_predictions(bank, coloured):
    outcome = measure(by_luma, coloured[0][:0], torch.zeros(0, dtype=torch.int64), bank, Colour(), 0)["hue"]
    assert outcome.paired() == (0, 0, 0) and outcome.estimate() == 0.0
    outcome = measure(by_luma, coloured[0][:4], torch.full((4,), -1), bank, Colour(), 0)["hue"]
    assert outcome.paired()[2] == 4


def test_a_bank_of_one_class_and_lost_predictions_are_refused(bank, coloured):
    images = coloured[0][:4]
    lonely = DonorBank(bank.images, torch.zeros(64, dtype=torch.int64), bank.rows)
    with pytest.raises(ValueError, match="at least two"):
        measure(by_luma, images, by_luma(images), lonely, Colour(), 0)
    for predictions in (by_luma(images)[:3], torch.zeros(5, dtype=torch.int64)):
        with pytest.raises(ValueError, match="predictions"):
            measure(by_luma, images, predictions, bank, Colour(), 0)


def test_bank_is_stratified_seeded_and_bounded():
    labels = np.random.default_rng(0).integers(0, 8, 4000)
    positions = draw_bank(labels, 8, 32, seed=0, image_bytes=3 * 64 * 64)
    assert (np.bincount(labels[positions]) == 32).all() and len(set(positions)) == 256
    assert np.array_equal(positions, draw_bank(labels, 8, 32, seed=0, image_bytes=3 * 64 * 64))
    assert not np.array_equal(positions, draw_bank(labels, 8, 32, seed=1, image_bytes=3 * 64 * 64))
    assert len(draw_bank(labels, 8, 5000, seed=0, image_bytes=1)) <= 2048
    large = draw_bank(labels, 8, 32, seed=0, image_bytes=3 * 1024 * 1024)
    assert len(large) * 3 * 1024 * 1024 <= 64 * 2**20 and len(set(labels[large])) == 8
    many = draw_bank(np.arange(5000), 5000, 32, seed=0, image_bytes=1)
    assert len(many) == 2048
    few = draw_bank(np.array([0, 0, 1]), 3, 32, seed=0, image_bytes=1)
    assert sorted(few.tolist()) == [0, 1, 2]


def test_bank_survives_as_tensors(bank):
    with_masks = DonorBank(bank.images, bank.labels, bank.rows, {"mask": bank.images[:, :1]})
    again = DonorBank.from_state({**with_masks.state(), "probe.colour.bias": torch.zeros(3)})
    assert torch.equal(again.images, bank.images) and torch.equal(again.rows, bank.rows)
    assert list(again.extra) == ["mask"] and len(again) == 64
    features, scale = described(again, Colour())
    assert features.dtype == torch.int64 and torch.equal(features, described(bank, Colour())[0])
    assert (scale.spread > 0).all()


def test_examples_are_pictures_of_what_was_measured(coloured, bank):
    images = coloured[0][64:]
    outcome = measure(by_colour, images, by_colour(images), bank, Colour(), seed=0)["hue_luma"]
    shown = examples(images, outcome, "hue_luma", [3, 9], bank, Colour())
    assert len(shown) == 2
    for position, (image, donor, moved) in zip([3, 9], shown, strict=True):
        assert torch.equal(image, images[position])
        assert torch.equal(donor, bank.images[outcome.donor[position]])
        goes = int(by_colour(moved[None])) == int(outcome.donor_class[position])
        assert goes == bool(outcome.moved_transplant[position])


class Corner(Cue):
    """A second cue, as a user would add it: the corner pixels, with its mask needed to prove `needs`."""

    name = "corner"
    needs = ("mask",)
    operators = ("paste",)

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        return image[:, :, :2, :2].float().flatten(1) / 255

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        changed = image.clone()
        changed[:, :, :2, :2] = torch.where(extra["mask"] == 0, donor, image)[:, :, :2, :2]
        return changed


def test_a_second_cue_is_one_class_and_one_line(monkeypatch, coloured):
    monkeypatch.setitem(names.CUES, "corner", f"{__name__}:Corner")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Corner.__module__])
    cue = build_cue("corner")
    images = coloured[0].clone()
    images[:, :, :2, :2] = (torch.arange(96) % 8 * 30).byte().view(-1, 1, 1, 1)
    mask = torch.zeros(96, 1, 32, 32, dtype=torch.uint8)

    def by_corner(image: Tensor) -> Tensor:
        return (image[:, 0, 0, 0].long() + 15) // 30

    bank = DonorBank(images[:64], torch.arange(64) % 8, torch.arange(64), {"mask": mask[:64]})
    probes = images[64:]
    outcome = measure(by_corner, probes, by_corner(probes), bank, cue, 0, {"mask": mask[64:]})["paste"]
    assert outcome.estimate() == 1.0
    outcome = measure(by_luma, probes, by_luma(probes), bank, cue, 0, {"mask": mask[64:]})["paste"]
    assert outcome.estimate() == 0.0
    with pytest.raises(ValueError, match="needs mask"):
        measure(by_luma, probes, by_luma(probes), bank, cue, 0)


def test_a_misspelt_cue_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'colour'"):
        build_cue("color")
