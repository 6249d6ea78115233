"""Texture: what its operators move, what they leave, and what its features tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cue_figures import edge_agreement, luma, named, taken_from
from scipy import ndimage

from conftest import draw_scenes
from evensight.cues.pixels import level_of
from evensight.cues.texture import Texture, laplacian, patterns, scattered, smoothed

NONE: dict[str, torch.Tensor] = {}


def plain_patterns(plane: np.ndarray) -> np.ndarray:
    """Rotation-invariant uniform patterns by the words of the paper, one pixel at a time."""
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    counts = np.zeros(10)
    for y in range(1, plane.shape[0] - 1):
        for x in range(1, plane.shape[1] - 1):
            bits = [int(plane[y + a, x + b] >= plane[y, x]) for a, b in ring]
            changes = sum(bits[k] != bits[k - 1] for k in range(8))
            counts[sum(bits) if changes <= 2 else 9] += 1
    return counts / counts.sum()


def test_patterns_are_those_of_the_paper(drawn):
    level = level_of(drawn.images[:3])
    found = patterns(level, torch.ones(3, 62, 62)).numpy()
    for row, plane in zip(found, level.numpy(), strict=True):
        assert np.allclose(row, plain_patterns(plane))


def test_detail_is_scipys_laplacian(drawn):
    level = level_of(drawn.images[:3])
    expected = np.abs([ndimage.laplace(plane) for plane in level.numpy()])[:, 1:-1, 1:-1]
    assert np.array_equal(laplacian(level).numpy(), expected)


def test_features_do_not_tell_place_direction_brightness_or_sign(drawn):
    describe = Texture().describe
    features = describe(drawn.images, NONE)
    # Turned by quarters and mirrored: of an even side, so halves stay halves.
    assert torch.equal(describe(drawn.images.flip(3), NONE), features)
    assert torch.equal(describe(drawn.images.rot90(1, [2, 3]), NONE), features)
    dim = (drawn.images // 2) * 2
    assert torch.allclose(describe(dim // 2 + 60, NONE)[:, :10], describe(dim, NONE)[:, :10], atol=0.05)


def test_features_name_the_background_and_no_shape():
    drawn = draw_scenes(900, 23)
    features = Texture().describe(drawn.images, NONE)
    assert named(features, drawn.background, 600) > 0.8
    # Of 300 images, 12.5 % by chance: 20 % lies 4 standard errors off.
    assert named(features, drawn.shape, 600) < 0.2
    assert named(features, drawn.colour, 600) < 0.2


@pytest.mark.parametrize(
    ("operator", "on_shapes", "on_woven", "share"), [("detail", 0.5, 0.85, 0.1), ("high_pass", 0.7, 0.95, 0.5)]
)
def test_operators_bring_the_donors_texture(drawn, woven, operator, on_shapes, on_woven, share):
    """By chance an image is nearest to its donor once in 48."""
    assert taken_from(Texture(), operator, drawn.images, NONE)[0] >= on_shapes
    found = taken_from(Texture(), operator, woven, NONE)
    assert found[0] >= on_woven and found[1] >= share


@pytest.mark.parametrize(("operator", "least"), [("detail", 0.95), ("high_pass", 0.85)])
def test_operators_keep_outlines_luma_and_hue(drawn, operator, least):
    result = Texture().transplant(operator, drawn.images, drawn.images.roll(1, 0), NONE, NONE)
    assert np.median(edge_agreement(drawn.images, result)) >= least
    before, after = luma(drawn.images), luma(result)
    assert np.abs(before.mean(axis=(1, 2)) - after.mean(axis=(1, 2))).max() < 4
    chroma, moved = (x.numpy().astype(float) - luma(x)[:, None] for x in (drawn.images, result))
    # Chroma gives way where it does not fit, and else stays but for rounding.
    assert np.abs(chroma - moved).mean() < 1.5


def test_operators_bring_no_outline_of_the_donor(drawn):
    """The donor's shape is not found in the image: its edges agree no better than those of any other image."""
    donors, others = drawn.images.roll(1, 0), drawn.images.roll(2, 0)
    for operator in Texture.operators:
        result = Texture().transplant(operator, drawn.images, donors, NONE, NONE)
        to_donor, to_other = edge_agreement(donors, result), edge_agreement(others, result)
        assert abs(to_donor.mean() - to_other.mean()) < 0.08


def test_smoothed_keeps_steps_and_flattens_noise():
    rng = np.random.default_rng(0)
    step = np.where(np.arange(64) < 32, 80.0, 160.0)[None, None, :].repeat(64, axis=1)
    noisy = torch.from_numpy(np.round(step + rng.normal(0, 6, (1, 64, 64))).astype(np.float32))
    found = smoothed(noisy).numpy()[0]
    assert found[:, 8:24].std() < 0.4 * noisy.numpy()[0, :, 8:24].std()
    assert (found[:, 33] - found[:, 30]).mean() > 60


def test_scattered_deals_every_tile_once():
    plane = torch.from_numpy(np.random.default_rng(0).permutation(64 * 64).reshape(1, 64, 64).astype(np.float32))
    for shift in ([0.0, 0.0], [0.3, 0.99]):
        found = scattered(plane, torch.tensor([shift]))
        assert torch.equal(found.flatten().sort().values, plane.flatten().sort().values)
        # Nothing stays beside what it was beside, but within its tile.
        beside = (found[:, :, 1:] - found[:, :, :-1]).abs()
        assert not torch.equal(found, plane) and beside.shape == (1, 64, 63)
    odd = scattered(torch.arange(30.0 * 30).view(1, 30, 30), torch.zeros(1, 2))
    assert odd.shape == (1, 30, 30)


def test_noise_moves_the_tiles_and_not_the_outlines(drawn):
    cue, donors = Texture(), drawn.images.roll(1, 0)
    one, another = (cue.randomize(drawn.images, donors, torch.full((64, 2), x), NONE, NONE) for x in (0.0, 0.37))
    assert (one != another).float().mean() > 0.3
    assert torch.equal(one, cue.transplant("detail", drawn.images, donors, NONE, NONE))
    assert np.median(edge_agreement(drawn.images, another)) >= 0.95


def test_reduced_is_detail_on_mid_grey(drawn):
    reduced = Texture().reduce(drawn.images, NONE).numpy().astype(float)
    assert np.abs(reduced.mean(axis=(1, 2, 3)) - 128).max() < 4
    assert (reduced[:, 0] == reduced[:, 2]).all() and reduced.std() > 5
