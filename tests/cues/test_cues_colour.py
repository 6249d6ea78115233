from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from evensight.cues.colour import Colour, hue_bin, region, turn

NONE: dict[str, Tensor] = {}
NTSC = np.array([[0.299, 0.587, 0.114], [0.596, -0.275, -0.321], [0.212, -0.523, 0.311]])


def numpy_yiq(image: Tensor) -> np.ndarray:
    return np.einsum("ck,nkhw->nchw", NTSC, image.numpy().astype(float))


def numpy_region(image: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle, strength and luma of each image's coloured region, by the words of the definition."""
    y, i, q = numpy_yiq(image).transpose(1, 0, 2, 3)
    weight = i**2 + q**2
    total = weight.sum(axis=(1, 2))
    angle = np.arctan2((weight * q).sum(axis=(1, 2)), (weight * i).sum(axis=(1, 2)))
    return angle, (weight**1.5).sum(axis=(1, 2)) / total, (weight * y).sum(axis=(1, 2)) / total


def turned_by(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(np.angle(np.exp(1j * (a - b))))


def test_region_is_the_weighted_mean_of_the_definition(coloured):
    images, _, _ = coloured
    angle, strength, luma = numpy_region(images)
    own = region(images).numpy()
    assert turned_by(np.arctan2(own[:, 1], own[:, 0]), angle).max() < 0.01
    assert np.abs(own[:, 2] - strength).max() < 0.5
    assert np.abs(own[:, 3] - luma).max() < 1.0


def test_hue_takes_the_donors_hue_and_strength_and_keeps_every_luma(coloured):
    images, _, _ = coloured
    donors = images.roll(1, 0)
    moved = Colour().transplant("hue", images, donors, NONE, NONE)
    assert moved.dtype == torch.uint8
    # Rounding three channels moves a luma by at most half a grey level.
    assert np.abs(numpy_yiq(moved)[:, 0] - numpy_yiq(images)[:, 0]).max() <= 0.51
    angle, strength, _ = numpy_region(moved)
    donor_angle, donor_strength, _ = numpy_region(donors)
    assert turned_by(angle, donor_angle).max() < 0.05
    # Chroma gives way only where the colour does not fit at its luma.
    assert (strength <= donor_strength + 2).all()
    assert np.median(np.abs(strength - donor_strength)) < 2


def test_hue_luma_moves_the_luma_of_the_coloured_region_and_leaves_the_ground(coloured):
    images, _, _ = coloured
    donors = images.roll(1, 0)
    moved = Colour().transplant("hue_luma", images, donors, NONE, NONE)
    _, _, luma = numpy_region(moved)
    _, _, donor_luma = numpy_region(donors)
    assert np.abs(luma - donor_luma).max() < 2.0
    ground = (images[:, 0] == images[:, 1]) & (images[:, 1] == images[:, 2])
    ground = ground.unsqueeze(1).expand_as(images)
    assert ground.float().mean() > 0.5
    assert torch.equal(moved[ground], images[ground])


@pytest.mark.parametrize("ground", [0, 90, 160])
def test_tint_is_exact_where_every_pixel_is_one_colour_shaded_or_mixed_with_grey(ground):
    """On black ground a share of the colour is its shade, on grey ground its mixture."""
    colours = np.array([[200, 60, 50], [60, 180, 70], [70, 90, 220], [170, 70, 190], [60, 170, 180], [160, 150, 60]])
    share = np.random.default_rng(0).uniform(0, 1, (6, 1, 24, 24))
    images = torch.from_numpy((share * colours[:, :, None, None] + (1 - share) * ground).round().astype(np.uint8))
    # The region's colour is that of its mean share, weighted by squared chroma; the donor's takes its place.
    share = share / ((share**3).sum(axis=(2, 3)) / (share**2).sum(axis=(2, 3)))[:, :, None, None]
    for shift in range(1, 6):
        donor = np.roll(colours, shift, axis=0)[:, :, None, None]
        pixels = torch.from_numpy(donor.astype(np.uint8)).expand(6, 3, 24, 24)
        moved = Colour().transplant("tint", images, pixels, NONE, NONE).numpy()
        expected = share * donor + (1 - share) * ground
        fits = ((expected >= 0) & (expected <= 255)).all(axis=1)
        assert fits.mean() > 0.9
        error = np.abs(moved - expected).max(axis=1)[fits]
        # Half a level that each channel of the image is rounded by can be 1.6 of blue, times the gain of the chroma.
        assert np.quantile(error, 0.95) <= 2 and error.max() <= 4


def digits_in(channel: int) -> Tensor:
    """Returns the same 16 antialiased strokes in one channel, as IRM's coloured digits are drawn."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    images = torch.zeros(16, 3, 28, 28, dtype=torch.uint8)
    for image in images:
        cx, cy, radius, width = *rng.uniform(10, 18, 2), rng.uniform(4, 8), rng.uniform(1, 3)
        stroke = np.clip(width - np.abs(np.hypot(x - cx, y - cy) - radius) + 0.5, 0, 1)
        image[channel] = torch.from_numpy((255 * stroke).round().astype(np.uint8))
    return images


@pytest.mark.parametrize(("own", "other"), [(0, 1), (1, 0)])
def test_tint_leaves_no_trace_of_the_colour_in_digits_of_two_colours(own, other):
    images, drawn = digits_in(own), digits_in(other)
    moved = Colour().transplant("tint", images, drawn, NONE, NONE).int()
    # The region's luma is known to half a level; half a level of luma is 1.7 of red.
    assert (moved - drawn.int()).abs().max() <= 3
    # With the luma of red in green digits, a network would read red: this is what `tint` is for.
    assert (Colour().transplant("hue_luma", images, drawn, NONE, NONE).int() - drawn.int()).abs().max() > 25
    # From any other digit of that colour too: the image cannot be told from one that had the colour all along.
    donors = drawn.roll(1, 0)
    moved = Colour().transplant("tint", images, donors, NONE, NONE).int()
    assert (moved - Colour().transplant("tint", drawn, donors, NONE, NONE).int()).abs().max() <= 3


def test_own_donor_changes_nothing(coloured):
    images, _, _ = coloured
    for operator in Colour.operators:
        moved = Colour().transplant(operator, images, images, NONE, NONE)
        assert (moved.int() - images.int()).abs().max() <= 1


def test_a_known_hue_turn_by_colorsys():
    # colorsys' YIQ is FCC's, ours NTSC's: equal to 0.01 of the range, so this is an independent figure.
    red = torch.tensor([150, 60, 60], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    blue = torch.tensor([60, 60, 150], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    moved = Colour().transplant("hue", red, blue, NONE, NONE)[0, :, 0, 0].numpy() / 255
    y, _, _ = colorsys.rgb_to_yiq(*(np.array([150, 60, 60]) / 255))
    _, bi, bq = colorsys.rgb_to_yiq(*(np.array([60, 60, 150]) / 255))
    expected = np.array(colorsys.yiq_to_rgb(y, bi, bq))
    assert np.abs(moved - expected).max() < 0.02


def test_grey_images_have_no_coloured_region():
    rng = np.random.default_rng(0)
    grey = torch.from_numpy(rng.integers(0, 256, (4, 1, 16, 16), dtype=np.uint8)).expand(4, 3, 16, 16)
    noisy = torch.from_numpy(np.clip(rng.normal(128, 2, (4, 3, 16, 16)), 0, 255).astype(np.uint8))
    donor = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    donor[:, 0] = 200
    for images in (grey, noisy):
        for operator in Colour.operators:
            assert torch.equal(Colour().transplant(operator, images, donor, NONE, NONE), images)
        assert torch.equal(Colour().describe(images, NONE), torch.zeros(4, 23))


def test_a_grey_donor_takes_the_colour_away_and_keeps_the_luma(coloured):
    images, _, _ = coloured
    grey = torch.full_like(images, 90)
    for operator in Colour.operators:
        moved = Colour().transplant(operator, images, grey, NONE, NONE)
        assert torch.equal(moved[:, 0], moved[:, 1]) and torch.equal(moved[:, 1], moved[:, 2])
        assert np.abs(moved.numpy()[:, 0] - numpy_yiq(images)[:, 0]).max() <= 0.51


def test_black_ground_stays_black():
    digits = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    digits[0, 0, 4:12, 6:10] = 200
    digits[1, 2, 4:12, 6:10] = 200
    for operator in Colour.operators:
        moved = Colour().transplant(operator, digits, digits.flip(0), NONE, NONE)
        ground = (digits.sum(1, keepdim=True) == 0).expand_as(digits)
        assert (moved[ground] == 0).all()
        assert moved[0, 2, 8, 8] > moved[0, 0, 8, 8]
        assert moved[1, 0, 8, 8] > moved[1, 2, 8, 8]


def test_remove_is_grey_by_luma(coloured):
    images, _, _ = coloured
    removed = Colour().remove(images, NONE)
    assert torch.equal(removed[:, 0], removed[:, 2])
    assert np.abs(removed.numpy()[:, 1] - numpy_yiq(images)[:, 0]).max() <= 0.5 + 1e-9


def test_hue_bins_are_sectors_of_the_angle():
    rng = np.random.default_rng(0)
    i, q = rng.integers(-600, 601, (2, 20000))
    i[np.abs(i) + np.abs(q) == 0] = 1
    expected = np.floor(np.degrees(np.arctan2(q, i)) % 360 / 22.5).astype(int)
    found = hue_bin(torch.from_numpy(i).float(), torch.from_numpy(q).float()).numpy()
    # A chroma exactly on a border may fall to either side.
    assert (found != expected).mean() < 0.003
    assert found.min() == 0 and found.max() == 15


def test_an_image_is_the_same_in_any_batch(coloured):
    images, _, _ = coloured
    donors = images.flip(0)
    cue = Colour()
    together = [cue.describe(images, NONE), cue.remove(images, NONE)]
    together += [cue.transplant(operator, images, donors, NONE, NONE) for operator in cue.operators]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for rows in [*order[:16].split(1), order[:7], order]:
        image, donor = images[rows], donors[rows]
        image = image.contiguous(memory_format=torch.channels_last)
        apart = [cue.describe(image, NONE), cue.remove(image, NONE)]
        apart += [cue.transplant(operator, image, donor, NONE, NONE) for operator in cue.operators]
        for one, other in zip(together, apart, strict=True):
            assert torch.equal(one[rows], other)


def test_describe_tells_the_colours_apart_and_not_the_shapes(coloured):
    images, colours, shapes = coloured
    features = Colour().describe(images, NONE)
    assert features.shape == (96, 23) and features.dtype == torch.float32
    assert features.abs().max() <= 2 and torch.isfinite(features).all()
    distance = torch.cdist(features[:, :16], features[:, :16]) + torch.eye(96) * 9
    nearest = distance.argmin(dim=1)
    assert (colours[nearest] == colours).float().mean() > 0.95
    assert (shapes[nearest] == shapes).float().mean() < 0.4


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("count", [0, 1, 7])
def test_scripted_is_equal(coloured, count):
    images, _, _ = coloured
    image, donor = images[:count], images[-count - 1 : -1]
    noise = torch.zeros(count, Colour.noise_size)

    class Everything(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cue = Colour()

        def forward(self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor]) -> list[Tensor]:
            return [
                self.cue.describe(image, extra),
                self.cue.randomize(image, donor, noise, extra, extra),
                self.cue.transplant("hue", image, donor, extra, extra),
                self.cue.transplant("hue_luma", image, donor, extra, extra),
                self.cue.transplant("tint", image, donor, extra, extra),
                self.cue.remove(image, extra),
            ]

    eager = Everything()
    scripted = torch.jit.script(eager)
    for _ in range(3):  # the profiling executor optimises after two calls
        for one, other in zip(eager(image, donor, noise, NONE), scripted(image, donor, noise, NONE), strict=True):
            assert one.size(0) == count and torch.equal(one, other) and one.dtype == other.dtype


def test_randomize_is_an_operator_that_measures(coloured):
    images, _, _ = coloured
    donors, noise = images.roll(3, 0), torch.zeros(96, 0)
    randomized = Colour().randomize(images, donors, noise, NONE, NONE)
    assert torch.equal(randomized, Colour().transplant("tint", images, donors, NONE, NONE))


def test_an_unknown_operator_is_refused(coloured):
    images, _, _ = coloured
    with pytest.raises(ValueError, match="allowed: hue, hue_luma, tint"):
        Colour().transplant("shade", images, images, NONE, NONE)


def test_photographs_turn_without_leaving_the_range():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (8, 3, 24, 24), dtype=np.uint8))
    moved = turn(images, region(images), region(images.roll(1, 0)), False)
    assert np.abs(numpy_yiq(moved)[:, 0] - numpy_yiq(images)[:, 0]).max() <= 0.51


def test_reduced_shows_the_hues_as_bands_in_their_shares():
    image = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    image[0, :, :8] = torch.tensor([180, 80, 80], dtype=torch.uint8)[:, None, None]
    image[0, :, 8:32] = torch.tensor([80, 80, 180], dtype=torch.uint8)[:, None, None]
    reduced = Colour().reduce(image, NONE)
    assert (reduced[1] == 128).all() and torch.equal(reduced[:, :, :, 0], reduced[:, :, :, 31])
    # By squared chroma, as the histogram: a quarter of the pixels, red having more chroma in YIQ than blue.
    i, q = numpy_yiq(image)[0, 1:]
    weight = i**2 + q**2
    red = weight[:8].sum() / weight.sum()
    reddish = reduced[0, 0, :, 0] > reduced[0, 2, :, 0]
    assert abs(reddish.float().mean() - red) <= 1 / 32
    rows = numpy_region(reduced[0].transpose(0, 1)[:, :, :, None])[0]
    blue = np.arctan2(q[20, 0], i[20, 0])
    # A band has the middle of its sector, 11.25 degrees from its ends.
    assert turned_by(rows[~reddish.numpy()], blue).max() < np.radians(11.25) + 0.05
