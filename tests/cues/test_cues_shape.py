"""Shape and frame size: what their features tell; there are no operators."""

from __future__ import annotations

import math

import numpy as np
import torch
from cue_figures import named
from scipy import ndimage

from conftest import draw_scenes
from evensight.cues.frame_size import FrameSize, log2
from evensight.cues.pixels import level_of
from evensight.cues.shape import Shape, coarse, edges_by_cell, outline_figures, silhouette

NONE: dict[str, torch.Tensor] = {}


def disc(side: int, radius: float, x: float, y: float) -> torch.Tensor:
    down, across = np.mgrid[:side, :side]
    return torch.from_numpy(np.where(np.hypot(across - x, down - y) < radius, 20.0, 0.0).astype(np.float32))[None]


def polygon(sides: int, radius: float, turn: float) -> torch.Tensor:
    down, across = np.mgrid[:48, :48] - 23.5
    angle = np.arctan2(down, across) - turn
    part = 2 * np.pi / sides
    edge = radius * np.cos(part / 2) / np.cos((angle % part) - part / 2)
    return torch.from_numpy(np.where(np.hypot(across, down) < edge, 20.0, 0.0).astype(np.float32))[None]


def test_rings_of_a_disc_are_those_of_a_disc():
    """Within a fifth of the radius lies a 25th of a disc, and so on; nothing beyond the radius."""
    found = outline_figures(disc(96, 30, 50, 40))[0].numpy()
    expected = [(k**2 - (k - 1) ** 2) / 25 for k in range(1, 6)] + [0, 0, 0]
    assert np.abs(found[:8] - expected).max() < 0.03
    assert np.abs(found[8:16]).max() < 0.02  # nothing repeats
    assert abs(found[16] - math.pi * 900 / 96**2) < 0.005


def test_figures_keep_under_move_turn_and_size():
    small, large = outline_figures(disc(96, 14, 30, 60)), outline_figures(disc(96, 28, 55, 40))
    assert (small - large)[:, :16].abs().max() < 0.05
    for sides in (3, 4, 5):
        one, another = outline_figures(polygon(sides, 20, 0.1)), outline_figures(polygon(sides, 20, 0.9))
        assert (one - another).abs().max() < 0.05
        # A polygon repeats as often as it has sides; the strongest harmonic says so.
        assert int(one[0, 8:16].argmax()) + 1 == sides


def test_edges_lie_where_and_run_as_they_are_drawn():
    image = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    image[:, :, :32, 10:] = 40  # a vertical edge in the left column of cells, a horizontal one below
    edges = edges_by_cell(level_of(image)).view(3, 4, 3)  # column, direction, row
    assert edges[0, 0, 0] > 4 * edges[0, 1, 0]  # luma rises to the left and right
    assert edges[2, 1].sum() > 4 * edges[2, 0].sum()
    assert edges[:, :, 2].sum() == 0
    plain = torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)
    assert (edges_by_cell(level_of(plain)) == 0).all()


def test_features_do_not_change_with_colour_and_sign_of_contrast(drawn):
    describe = Shape().describe
    features = describe(drawn.images, NONE)
    grey = level_of(drawn.images).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    assert torch.equal(describe(grey, NONE), features)
    negative = describe(255 - grey, NONE)
    assert (negative - describe(grey, NONE)).abs().mean() < 0.02
    brighter = (grey.int() * 9 // 10 + 20).to(torch.uint8)
    assert (describe(brighter, NONE) - features).abs().mean() < 0.03


def test_features_name_the_shape_and_no_colour():
    drawn = draw_scenes(1200, 24)
    features = Shape().describe(drawn.images, NONE)
    assert named(features, drawn.shape, 800) > 0.7
    # Of 400 images, 12.5 % by chance: 19.5 % lies 4 standard errors off.
    assert named(features, drawn.colour, 800) < 0.195


def test_silhouette_is_the_shape(drawn):
    level = level_of(drawn.images)
    weight = silhouette(level, coarse(level)).numpy()
    mask = ndimage.zoom(drawn.mask[:, 0].numpy().astype(float) / 255, (1, 0.5, 0.5), order=1)
    overlap = [np.minimum(a / 20, b).sum() / np.maximum(a / 20, b).sum() for a, b in zip(weight, mask, strict=True)]
    assert np.median(overlap) > 0.7


def test_logarithms_are_those_of_the_library():
    lengths = torch.cat([torch.arange(1, 5000), torch.tensor([2**20 + 1, 2**24])]).double()
    expected = [math.log2(x) for x in lengths.tolist()]
    assert np.abs(log2(lengths).numpy() - expected).max() < 1e-7


def test_a_linear_probe_tells_sizes_one_pixel_apart():
    rng = np.random.default_rng(0)
    known = torch.tensor(
        [[480, 640], [480, 641], [640, 480], [481, 640], [64, 64], [1080, 1920], [375, 500], [500, 375]]
    )
    label = torch.from_numpy(rng.integers(0, 8, 400))
    images = torch.zeros(400, 3, 8, 8, dtype=torch.uint8)
    assert named(FrameSize().describe(images, {"size": known[label]}), label, 200) == 1.0


def test_size_features_by_hand():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    size = torch.tensor([[512, 512], [480, 640], [640, 480], [0, 640]])
    features = FrameSize().describe(images, {"size": size}).numpy()
    assert np.abs(features[0, :5]).max() < 1e-6 and features[0, 8] == 1  # square
    assert features[1, 4] == 1 and features[2, 4] == -1
    assert features[1, 9] > 0.99 and features[2, 7] > 0.99  # 4:3 and 3:4
    assert abs(features[1, 2] - math.log2(4 / 3)) < 1e-6
    assert (features[3] == 0).all()


def test_reduced_rectangle_has_the_aspect():
    images = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    reduced = FrameSize().reduce(images, {"size": torch.tensor([[200, 400], [300, 100], [0, 0]])}).numpy()
    for row, aspect in ((0, 2.0), (1, 1 / 3)):
        bright = reduced[row, 0] == 230
        assert abs(bright.any(axis=0).sum() / bright.any(axis=1).sum() - aspect) < 0.12
    assert (reduced[2] == 128).all()


def test_reduced_shows_edges_alone(drawn):
    reduced = Shape().reduce(drawn.images, NONE)[:, 0].numpy().astype(float)
    sobel = np.array([np.hypot(ndimage.sobel(x, 0), ndimage.sobel(x, 1)) for x in level_of(drawn.images).numpy()])
    agreement = [np.corrcoef(a.ravel(), np.minimum(b, 256).ravel())[0, 1] for a, b in zip(reduced, sobel, strict=True)]
    assert np.median(agreement) > 0.8
