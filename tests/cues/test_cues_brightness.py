"""Brightness: what its operators move, what they leave, and what its features tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cue_figures import edge_agreement, luma, named, taken_from
from scipy import ndimage

from conftest import draw_scenes
from evensight.cues.brightness import Brightness, matched, moved, outlines
from evensight.cues.pixels import bands, histogram, level_of, moments, quantile, standing_out

NONE: dict[str, torch.Tensor] = {}


def test_levels_and_their_figures_are_numpys(drawn):
    level = level_of(drawn.images)
    assert np.abs(level.numpy() - luma(drawn.images)).max() <= 0.5 + 1e-3
    counts = histogram(level)
    mean, spread = moments(counts)
    for row, plane in enumerate(level.numpy().astype(int)):
        assert (counts[row].numpy() == np.bincount(plane.ravel(), minlength=256)).all()
        assert mean[row] == pytest.approx(plane.mean()) and spread[row] == pytest.approx(plane.std())
        for share in (0.1, 0.5, 0.98):
            expected = np.quantile(plane, share, method="inverted_cdf")
            assert quantile(counts, share)[row] == expected


def test_bands_share_a_level_between_its_two_neighbours():
    counts = torch.zeros(4, 256, dtype=torch.float64)
    counts[0, 8] = 5  # the middle of the first of 16
    counts[1, 16] = 3  # half way to the second
    counts[2, 255] = 1  # beyond the last middle
    expected = np.zeros((4, 16))
    expected[0, 0] = 1
    expected[1, :2] = 0.5
    expected[2, 15] = 1
    assert np.allclose(bands(counts, 16).numpy(), expected)


def test_what_stands_out_is_the_shape_and_not_its_outline(drawn):
    level = level_of(drawn.images)
    ground, bare, weight = standing_out(level)
    inside = drawn.mask[:, 0] == 255
    outside = drawn.mask[:, 0] == 0
    median = np.array([np.median(plane[out]) for plane, out in zip(level, outside, strict=True)])
    # Noise and checks make the ground's median in the frame and outside the mask differ by a few levels.
    assert np.median(np.abs(ground.numpy() - median)) < 6
    within = (weight * inside).sum(dim=[1, 2]) / weight.sum(dim=[1, 2]).clamp(min=1)
    without = (bare * outside).sum(dim=[1, 2]) / bare.sum(dim=[1, 2]).clamp(min=1)
    # Where checks or stripes reach 20 grey levels, some of the ground stands out too.
    assert within.median() > 0.95 and without.median() > 0.98
    assert weight.min() == 0 and weight.max() <= 20 and (weight == weight.round()).all()


def test_level_takes_mean_and_spread(woven):
    donors = woven.roll(1, 0)
    result = moved(woven, donors)
    before, after = luma(donors), luma(result)
    assert np.abs(before.mean(axis=(1, 2)) - after.mean(axis=(1, 2))).max() < 1
    assert np.abs(before.std(axis=(1, 2)) - after.std(axis=(1, 2))).max() < 1
    # One straight line: every image is its own picture still.
    own = luma(woven)
    assert min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(own, after, strict=True)) > 0.99


def test_quantiles_go_where_as_large_a_share_of_the_donor_lies(drawn):
    donors = drawn.images.roll(1, 0)
    result = matched(drawn.images, donors)
    own, after, wanted = level_of(drawn.images).numpy(), luma(result), level_of(donors).numpy()
    for a, b, c in zip(own, after, wanted, strict=True):
        below = np.searchsorted(np.sort(a.ravel()), a.ravel(), side="right")
        expected = np.sort(c.ravel())[below - 1]
        # Half a level of the luma's own fraction, and the rounding of three channels.
        assert np.abs(b.ravel() - expected).max() < 1.1


@pytest.mark.parametrize(
    ("operator", "nearer", "named_share"), [("level", 0.6, 0), ("quantiles", 0.9, 0.5), ("region", 0.7, 0.2)]
)
def test_operators_bring_the_donors_brightness(drawn, operator, nearer, named_share):
    found = taken_from(Brightness(), operator, drawn.images, NONE)
    assert found[0] >= nearer and found[1] >= named_share


@pytest.mark.parametrize(("operator", "least"), [("level", 0.98), ("quantiles", 0.6), ("region", 0.98)])
def test_operators_leave_edges_where_they_are(drawn, operator, least):
    result = Brightness().transplant(operator, drawn.images, drawn.images.roll(1, 0), NONE, NONE)
    assert np.median(edge_agreement(drawn.images, result)) >= least


def test_region_turns_the_sign_of_the_contrast():
    dark = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    dark[:, :, 20:40, 20:40] = 80
    bright = torch.full((1, 3, 64, 64), 60, dtype=torch.uint8)
    bright[:, :, 10:50, 30:55] = 140
    result = Brightness().transplant("region", dark, bright, NONE, NONE)
    expected = torch.full_like(dark, 60)
    expected[:, :, 20:40, 20:40] = 140
    assert (result.int() - expected.int()).abs().max() <= 1
    for operator in ("level", "quantiles"):
        result = Brightness().transplant(operator, dark, bright, NONE, NONE)
        assert result[0, 0, 30, 30] < result[0, 0, 5, 5]


def test_hue_stays(drawn):
    for operator in Brightness.operators:
        result = Brightness().transplant(operator, drawn.images, drawn.images.roll(1, 0), NONE, NONE)
        before, after = (x.numpy().astype(float) - luma(x)[:, None] for x in (drawn.images, result))
        # Where there is chroma to compare: rounding three channels turns a faint one.
        strong = (np.abs(before).max(axis=1) > 40) & (np.abs(after).max(axis=1) > 40)
        cosine = (before * after).sum(axis=1) / np.sqrt((before**2).sum(axis=1) * (after**2).sum(axis=1) + 1e-9)
        assert strong.any() and cosine[strong].min() > 0.99


def test_features_see_a_colour_by_its_own_luma_and_no_shape():
    """On greyed images of the vivid palette the luma of the region names most colours; in the even one it cannot."""
    found = {}
    for palette in ("vivid", "even"):
        drawn = draw_scenes(900, 21, palette)
        grey = level_of(drawn.images).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
        features = Brightness().describe(grey, NONE)
        found[palette] = named(features, drawn.colour, 600), named(features, drawn.shape, 600)
    assert found["vivid"][0] > 0.45
    # Of 300 images, 12.5 % by chance: 20 % lies 4 standard errors off.
    assert found["even"][0] < 0.2
    assert max(found["vivid"][1], found["even"][1]) < 0.2


def test_features_are_the_same_for_an_image_and_its_colours_permuted_at_equal_luma(drawn):
    grey = level_of(drawn.images).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    difference = Brightness().describe(grey, NONE) - Brightness().describe(drawn.images, NONE)
    assert difference.abs().max() == 0


def test_reduced_is_sorted_around_the_region(drawn):
    reduced = Brightness().reduce(drawn.images, NONE)
    assert torch.equal(reduced[:, 0], reduced[:, 2])
    rows = reduced[:, 0, :, 0].int()
    assert (rows[:, 1:] <= rows[:, :-1]).all()
    for row, plane in zip(rows.numpy(), level_of(drawn.images).numpy(), strict=True):
        expected = np.quantile(plane, (np.arange(64)[::-1] + 0.5) / 64, method="inverted_cdf")
        assert (row == expected).all()


@pytest.mark.parametrize(("gain", "start"), [(1, 90), (-1, 255), (-1, 130), (2, 0), (-2, 255)])
def test_removed_is_the_same_along_any_straight_line_of_luma(gain, start):
    """What is bright and what is dark cannot be told from the outlines, nor how far apart they are."""
    rng = np.random.default_rng(5)
    plane = ndimage.zoom(rng.uniform(20, 110, (12, 7, 7)), (1, 8, 8), order=1).round()
    plane[:, 20:40, 15:30] += 15
    line = gain * plane + start
    # Whole gains and starts, so that nothing is rounded or cut before the cue sees it.
    assert line.min() >= 0 and line.max() <= 255
    one, another = (torch.from_numpy(x.astype(np.uint8))[:, None].repeat(1, 3, 1, 1) for x in (plane, line))
    difference = Brightness().remove(one, NONE).int() - Brightness().remove(another, NONE).int()
    assert difference.abs().max() <= (1 if abs(gain) == 2 else 0)
    assert Brightness().remove(one, NONE).float().std() > 20


def test_outlines_are_scipys_gradient_over_its_mean(drawn):
    level = level_of(drawn.images).numpy().astype(float)
    # In whole eighths of a grey level a pixel.
    steep = np.array([np.hypot(*(ndimage.sobel(x, axis, mode="nearest") for axis in (0, 1))) for x in level]).round()
    expected = np.clip(steep / steep.mean(axis=(1, 2), keepdims=True) * 48, 0, 255)
    assert np.abs(outlines(drawn.images).numpy() - expected).max() <= 0.51
    assert torch.equal(*Brightness().remove(drawn.images, NONE).unbind(1)[:2])


def test_removed_is_black_where_an_image_is_flat_and_shows_no_noise_of_a_nearly_flat_one():
    flat = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 64, 64)
    assert (Brightness().remove(flat, NONE) == 0).all()
    faint = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8)
    faint[:, :, ::16, ::16] += 1
    assert Brightness().remove(faint, NONE).max() <= 48
