"""Background, surround and what they share: masks, regions, holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cue_figures import luma, named, taken_from

from conftest import draw_scenes
from evensight.cues.background import Background, emptied
from evensight.cues.regions import blended, box_mask, filled, ground_statistics, known_ground
from evensight.cues.surround import Surround, periphery, seam

NONE: dict[str, torch.Tensor] = {}


def test_box_masks_are_the_share_of_each_pixel_that_lies_inside():
    box = torch.tensor([[2.0, 3.0, 6.0, 5.0], [1.25, 0.5, 2.5, 7.0], [0, 0, 0, 0], [-3.0, 2.0, 20.0, 30.0]])
    found = box_mask(box, 8)
    assert found.shape == (4, 1, 8, 8) and found.dtype == torch.uint8
    # Brute force: 40 x 40 points a pixel.
    points = (np.arange(8 * 40) + 0.5) / 40
    for one, (x0, y0, x1, y1) in zip(found[:, 0].numpy(), box.numpy(), strict=True):
        inside = ((points >= y0) & (points < y1))[:, None] & ((points >= x0) & (points < x1))[None, :]
        share = inside.reshape(8, 40, 8, 40).mean(axis=(1, 3)) * 255
        assert np.abs(one - share).max() <= 0.5 + 1e-6


def test_features_do_not_change_with_the_object(drawn):
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, drawn.images.shape, dtype=np.uint8))
    other = torch.where(drawn.mask >= 8, noise, drawn.images)
    one, another = (Background().describe(x, drawn.extra) for x in (drawn.images, other))
    assert torch.equal(one, another) and one.std(dim=0).max() > 0.1


def test_features_are_numpys_figures_of_the_ground(drawn):
    found = ground_statistics(drawn.images, known_ground(drawn.mask)).numpy()
    level = np.round(luma(drawn.images) - 1e-9)
    ground = drawn.mask[:, 0].numpy() < 8
    for row in range(8):
        plane, there = level[row], ground[row]
        assert found[row, 24] * 255 == pytest.approx(plane[there].mean(), abs=0.1)
        assert found[row, 25] * 64 == pytest.approx(plane[there].std(), abs=0.1)
        total = pairs = 0
        for y in range(64):
            for x in range(62):
                for a, b in (((y, x), (y, x + 2)), ((x, y), (x + 2, y))):
                    if there[a] and there[b]:
                        total, pairs = total + abs(plane[a] - plane[b]), pairs + 1
        assert found[row, 31] * 32 == pytest.approx(total / pairs, abs=0.1)
        corner = there[32:, :32]
        assert found[row, 33 + 2 * 3] * 255 == pytest.approx(plane[32:, :32][corner].mean(), abs=0.1)


def test_swap_keeps_the_object_and_brings_the_donors_ground(drawn):
    donors, donor_extra = drawn.images.roll(1, 0), {"mask": drawn.mask.roll(1, 0)}
    result = Background().transplant("swap", drawn.images, donors, drawn.extra, donor_extra)
    inside = (drawn.mask == 255).expand_as(result)
    bare = ((drawn.mask == 0) & (donor_extra["mask"] < 8)).expand_as(result)
    assert inside.float().mean() > 0.05 and bare.float().mean() > 0.5
    assert torch.equal(result[inside], drawn.images[inside])
    assert torch.equal(result[bare], donors[bare])
    randomized = Background().randomize(drawn.images, donors, torch.zeros(64, 0), drawn.extra, donor_extra)
    assert torch.equal(randomized, result)


def test_swap_leaves_no_trace_of_the_donors_object():
    """Red objects on grey ground: after the swap no red is left outside the image's own, blue object."""
    rng = np.random.default_rng(0)
    grey = torch.from_numpy(rng.integers(90, 110, (6, 1, 64, 64), dtype=np.uint8)).repeat(1, 3, 1, 1)
    mask, other = torch.zeros(2, 6, 1, 64, 64, dtype=torch.uint8)
    mask[:, :, 5:25, 5:25] = 255
    # Also objects whose mirror images cover each other, in the middle and nearly everywhere.
    for row, (top, left, size) in enumerate(
        [(30, 30, 20), (22, 22, 20), (0, 0, 64), (1, 1, 62), (40, 0, 24), (2, 30, 30)]
    ):
        other[row, :, top : top + size, left : left + size] = 255
    image, donor = grey.clone(), grey.flip(0).clone()
    image[:, 2:][mask == 255] = 255
    donor[:, :1][other == 255] = 255
    result = Background().transplant("swap", image, donor, {"mask": mask}, {"mask": other})
    outside = mask[:, 0] == 0
    red = result[:, 0].int() - result[:, 1].int()
    assert red[outside].max() <= 2


def test_its_own_donor_changes_the_rim_of_the_object_alone(drawn):
    result = Background().transplant("swap", drawn.images, drawn.images, drawn.extra, drawn.extra)
    rim = ((drawn.mask >= 8) & (drawn.mask < 255)).expand_as(result)
    faint = ((drawn.mask > 0) & (drawn.mask < 8)).expand_as(result)
    assert torch.equal(result[~rim & ~faint], drawn.images[~rim & ~faint])
    assert (result.int() - drawn.images.int()).abs()[faint].max() <= 1
    assert rim.float().mean() < 0.06
    toned = Background().transplant("tone", drawn.images, drawn.images, drawn.extra, drawn.extra)
    assert (toned.int() - drawn.images.int()).abs().max() <= 1


@pytest.mark.parametrize(("operator", "share"), [("swap", 0.98), ("tone", 0.8)])
def test_operators_bring_the_donors_background(drawn, operator, share):
    found = taken_from(Background(), operator, drawn.images, {"mask": drawn.mask})
    assert found[0] >= 0.95 and found[1] >= share


def test_tone_moves_mean_and_spread_of_the_ground_and_keeps_object_and_pattern(drawn):
    donors, donor_mask = drawn.images.roll(1, 0), drawn.mask.roll(1, 0)
    result = Background().transplant("tone", drawn.images, donors, drawn.extra, {"mask": donor_mask})
    inside = (drawn.mask == 255).expand_as(result)
    assert torch.equal(result[inside], drawn.images[inside])
    own, after, wanted = luma(drawn.images), luma(result), luma(donors)
    here, there = drawn.mask[:, 0].numpy() == 0, donor_mask[:, 0].numpy() == 0
    for row in range(64):
        a, b = after[row][here[row]], wanted[row][there[row]]
        # Rounding, and pixels that do not fit into 0 to 255.
        assert abs(a.mean() - b.mean()) < 2.5 and abs(a.std() - b.std()) < 2.5
        assert np.corrcoef(a, own[row][here[row]])[0, 1] > 0.95


def test_an_unknown_mask_is_no_background(drawn):
    unknown = {"mask": torch.zeros_like(drawn.mask)}
    assert (Background().describe(drawn.images, unknown) == 0).all()
    donors = drawn.images.roll(1, 0)
    for operator in Background.operators:
        for extra, other in ((unknown, drawn.extra), (drawn.extra, unknown)):
            assert torch.equal(Background().transplant(operator, drawn.images, donors, extra, other), drawn.images)


def test_features_name_the_background_and_no_shape():
    drawn = draw_scenes(900, 22)
    features = Background().describe(drawn.images, drawn.extra)
    assert named(features, drawn.background, 600) > 0.7
    # Of 300 images, 12.5 % by chance: 20 % lies 4 standard errors off.
    assert named(features, drawn.shape, 600) < 0.2
    assert named(Surround().describe(drawn.images, NONE), drawn.shape, 600) < 0.2


def test_holes_are_filled_smoothly():
    """A slope with a hole comes out as the slope, nearly: fills lie between what is around them."""
    down, across = np.mgrid[:48, :48]
    slope = torch.from_numpy(np.stack([2 * down + 40, 2 * across + 60, down + across + 80]).astype(np.uint8))[None]
    known = torch.ones(1, 48, 48, dtype=torch.uint8)
    known[:, 15:29, 20:34] = 0
    broken = torch.where(known[:, None] > 0, slope, torch.full_like(slope, 255))
    found = filled(broken, known)
    assert torch.equal(found[:, :, known[0] > 0], slope[:, :, known[0] > 0])
    assert (found.int() - slope.int()).abs().max() <= 16
    nothing = filled(broken, torch.zeros_like(known))
    assert (nothing == 128).all()


def test_emptied_holds_the_mirrored_ground():
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(1, 3, 1, 1)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[:, :, 2:4, 5:7] = 255
    expected = image.numpy().copy()
    expected[:, :, 2:4, 5:7] = image.numpy()[:, :, 2:4, 1:3][..., ::-1]
    assert (emptied(image, mask).numpy() == expected).all()


def test_blends_are_exact_at_both_ends_and_rounded_between():
    rng = np.random.default_rng(0)
    a, b = torch.from_numpy(rng.integers(0, 256, (2, 4, 3, 32, 32), dtype=np.uint8))
    share = torch.from_numpy(rng.integers(0, 256, (4, 32, 32), dtype=np.uint8))
    share[0, 0], share[0, 1] = 0, 255
    expected = np.rint(a.numpy() + (b.numpy().astype(float) - a.numpy()) * share.numpy()[:, None] / 255)
    assert (blended(a, b, share).numpy() == expected).all()


def test_the_surround_lies_around_the_half_of_the_frame_in_the_middle(drawn):
    for side in (28, 64, 96):
        images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
        around = periphery(images)[0].numpy()
        y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
        assert (around == (np.hypot(x, y) >= 0.4)).mean() > 0.99
        assert 0.45 < around.mean() < 0.55
        share = seam(images)[0].numpy()
        assert (share[np.hypot(x, y) < 0.35] == 0).all() and (share[np.hypot(x, y) > 0.442] == 255).all()
    other = torch.where(periphery(drawn.images)[:, None] > 0, drawn.images, drawn.images.flip(0))
    assert torch.equal(Surround().describe(drawn.images, NONE), Surround().describe(other, NONE))


@pytest.mark.parametrize(("operator", "nearer", "share"), [("swap", 0.95, 0.8), ("tone", 0.75, 0.3)])
def test_operators_bring_the_donors_surround_and_keep_the_middle(drawn, woven, operator, nearer, share):
    for images in (drawn.images, woven):
        found = taken_from(Surround(), operator, images, NONE)
        assert found[0] >= nearer and found[1] >= share
        middle = seam(images)[:, None].expand_as(images) == 0
        assert middle.float().mean() > 0.35
        assert torch.equal(found[2][middle], images[middle])
        if operator == "swap":
            outer = seam(images)[:, None].expand_as(images) == 255
            assert torch.equal(found[2][outer], images.roll(1, 0)[outer])


def test_reduced_shows_the_ground_and_not_the_object(drawn):
    reduced = Background().reduce(drawn.images, drawn.extra)
    bare = (drawn.mask < 8).expand_as(reduced)
    assert torch.equal(reduced[bare], drawn.images[bare])
    # Shapes are coloured, their ground nearly grey.
    before, after = (
        (x.amax(dim=1).int() - x.amin(dim=1).int())[drawn.mask[:, 0] == 255].float().mean()
        for x in (drawn.images, reduced)
    )
    assert before > 80 and after < 20
    around = periphery(drawn.images)[:, None].expand_as(reduced) > 0
    assert torch.equal(Surround().reduce(drawn.images, NONE)[around], drawn.images[around])
