"""Border: what its operators move, what they leave, and what its features tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cue_figures import luma, named, taken_from

from conftest import draw_scenes
from evensight.cues.border import Border, strip_width

NONE: dict[str, torch.Tensor] = {}


def frame(side: int) -> np.ndarray:
    width = {28: 2, 64: 4, 96: 6}[side]
    outer = np.ones((side, side), bool)
    outer[width:-width, width:-width] = False
    return outer


@pytest.mark.parametrize("side", [28, 64, 96])
def test_the_strip_alone_changes(side):
    rng = np.random.default_rng(side)
    images, donors = torch.from_numpy(rng.integers(0, 256, (2, 5, 3, side, side), dtype=np.uint8))
    outer = frame(side)
    assert outer[0].sum() == side and strip_width(side) == outer[side // 2].sum() // 2
    swapped = Border().transplant("swap", images, donors, NONE, NONE).numpy()
    assert (swapped[:, :, outer] == donors.numpy()[:, :, outer]).all()
    for result in (
        swapped,
        *(
            f.numpy()
            for f in (
                Border().transplant("tone", images, donors, NONE, NONE),
                Border().remove(images, NONE),
                Border().randomize(images, donors, torch.zeros(5, 0), NONE, NONE),
            )
        ),
    ):
        assert (result[:, :, ~outer] == images.numpy()[:, :, ~outer]).all()


@pytest.mark.parametrize("side", [28, 64, 96])
def test_remove_is_numpys_symmetric_reflection(side):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, side, side), dtype=np.uint8)
    width = strip_width(side)
    inside = images[:, :, width:-width, width:-width]
    expected = np.pad(inside, [(0, 0), (0, 0), (width, width), (width, width)], mode="symmetric")
    assert (Border().remove(torch.from_numpy(images), NONE).numpy() == expected).all()


def test_features_name_a_mark_in_the_strip_and_remove_takes_it_away():
    drawn = draw_scenes(400, 25)
    label = torch.from_numpy(np.random.default_rng(0).integers(0, 2, 400))
    marked = drawn.images.clone()
    marked[label == 1, :, :3, 40:48] = 255
    cue = Border()
    assert named(cue.describe(marked, NONE), label, 300) > 0.9
    assert torch.equal(cue.remove(marked, NONE), cue.remove(drawn.images, NONE))


@pytest.mark.parametrize(("operator", "nearer", "share"), [("swap", 1.0, 0.98), ("tone", 0.9, 0.6)])
def test_operators_bring_the_donors_border(drawn, woven, operator, nearer, share):
    for images in (drawn.images, woven):
        found = taken_from(Border(), operator, images, NONE)
        assert found[0] >= nearer - 0.02 and found[1] >= share


def test_tone_moves_mean_and_spread_of_each_side(woven):
    donors = woven.roll(1, 0)
    result = Border().transplant("tone", woven, donors, NONE, NONE)
    after, wanted, own = luma(result), luma(donors), luma(woven)
    for rows in (np.s_[:, :4], np.s_[:, -4:], np.s_[:, 4:-4, :4], np.s_[:, 4:-4, -4:]):
        gain = wanted[rows].std(axis=(1, 2)) / own[rows].std(axis=(1, 2))
        fits = (gain > 0.25) & (gain < 4)  # beyond, contrast moves by a factor of 4 alone
        assert fits.mean() > 0.9
        for figure in (np.mean, np.std):
            off = np.abs(figure(after[rows], axis=(1, 2)) - figure(wanted[rows], axis=(1, 2)))
            assert off[fits].max() < 2.5
        pattern = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(after[rows], own[rows], strict=True)]
        assert min(pattern) > 0.98


def test_features_do_not_change_with_the_inside(drawn):
    other = drawn.images.clone()
    other[:, :, 4:-4, 4:-4] = drawn.images.flip(0)[:, :, 4:-4, 4:-4]
    assert torch.equal(Border().describe(drawn.images, NONE), Border().describe(other, NONE))


def test_features_are_the_means_of_the_quarters_of_each_side(drawn):
    features = Border().describe(drawn.images, NONE).numpy()
    plane = np.round(luma(drawn.images) - 1e-9)
    expected = np.stack(
        [
            plane[:, :4, 16:32].mean(axis=(1, 2)),  # top, second quarter
            plane[:, -4:, :16].mean(axis=(1, 2)),  # bottom, first
            plane[:, 48:, :4].mean(axis=(1, 2)),  # left, last
            plane[:, 48:, -4:].mean(axis=(1, 2)),  # right, last
        ],
        axis=1,
    )
    # By quarter, then side.
    found = features[:, [1 * 4 + 0, 0 * 4 + 1, 3 * 4 + 2, 3 * 4 + 3]] * 255
    assert np.abs(found - expected).max() < 0.5


def test_reduced_shows_the_strip_alone(drawn):
    reduced = Border().reduce(drawn.images, NONE).numpy()
    outer = frame(64)
    assert (reduced[:, :, ~outer] == 128).all() and (reduced[:, :, outer] == drawn.images.numpy()[:, :, outer]).all()
