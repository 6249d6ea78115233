"""The shape cue: outline and silhouette, by luma alone, whatever its colour, brightness and sign of contrast.

Shape is what most models are to look at, so this cue is only described: a network without it would have nothing left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.pixels import halved, histogram, level_of, low_pass, per_image, quantile, sum_of, weighed

# TorchScript reads no module constants, so these are the defaults of arguments.
NUM_CELLS = 3  # a side
NUM_RINGS = 8
NUM_TURNS = 8


def coarse(level: Tensor) -> Tensor:
    """Returns low-passed luma in whole levels, `[B, h, w]`; images of 64 pixels and more at half, quarter and so on."""
    plane = low_pass(level).mul_(0.0625).round_()
    while plane.size(1) >= 64:
        plane = halved(plane).mul_(0.25).round_()
    return plane


def gradients(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Returns how `[B, H, W]` rises to the right and down, within 64 grey levels, `[B, H - 2, W - 2]` each.

    An edge is an edge, however strong.
    """
    right = (plane[:, 1:-1, 2:] - plane[:, 1:-1, :-2]).clamp_(-64.0, 64.0)
    down = (plane[:, 2:, 1:-1] - plane[:, :-2, 1:-1]).clamp_(-64.0, 64.0)
    return right, down


def edges_by_cell(plane: Tensor, num_cells: int = NUM_CELLS) -> Tensor:
    """Returns how much edge of four directions lies in each of 3 x 3 cells, mean 0.5: float64 `[B, 36]`.

    A coarse histogram of gradients (Dalal, Triggs, CVPR 2005), normalised over the frame; 0 where it has no edges.

    Args:
        plane: Luma in whole levels, `[B, H, W]`.
        num_cells: 3 a side.
    """
    right, down = gradients(plane)
    height, width = right.size(1), right.size(2)
    slanted = 0.7071067811865476
    planes = [right.abs(), down.abs(), (right + down).abs_(), (right - down).abs_()]
    scales = [1.0, 1.0, slanted, slanted]
    columns: list[Tensor] = []
    for column in range(num_cells):
        left, last = width * column // num_cells, width * (column + 1) // num_cells
        for k in range(4):
            rows = planes[k][:, :, left:last].sum(dim=2)
            for row in range(num_cells):
                top, bottom = height * row // num_cells, height * (row + 1) // num_cells
                columns.append(rows[:, top:bottom].sum(dim=1, dtype=torch.float64) * scales[k])
    edges = torch.stack(columns, dim=1)
    # Column by column: the order of this sum is then the same in any batch.
    total = columns[0].clone()
    for k in range(1, len(columns)):
        total += columns[k]
    return edges / total.clamp(min=1.0).unsqueeze(1) * (len(columns) * 0.5)


def silhouette(level: Tensor, plane: Tensor) -> Tensor:
    """Returns how far each pixel is from the ground's luma: 0 up to 20 grey levels, from 40 on 20; `[B, h, w]`.

    Args:
        level: Luma in whole grey levels, `[B, H, W]`; its median is the ground's.
        plane: `coarse(level)`.
    """
    ground = quantile(histogram(level), 0.5)
    return (plane - per_image(ground)).abs_().sub_(20.0).clamp_(0.0, 20.0)


def outline_figures(weight: Tensor, num_rings: int = NUM_RINGS, num_turns: int = NUM_TURNS) -> Tensor:
    """Returns figures of silhouettes that place, size and direction do not change, float64 `[B, 17]`.

    The share of the silhouette in each of 8 rings around its centre (a fifth of the radius of a disc of its area wide,
    the last one open); how strongly it repeats 1 to 8 times on the way round; and its share of the frame.

    Args:
        weight: `silhouette`, `[B, h, w]`.
        num_rings: 8.
        num_turns: 8.
    """
    height, width = weight.size(1), weight.size(2)
    total = sum_of(weight)
    whole = total.clamp(min=1.0)
    across = torch.arange(width, dtype=torch.float64, device=weight.device)
    down = torch.arange(height, dtype=torch.float64, device=weight.device)
    # Sums of whole numbers, as everywhere: exact in any order.
    x = (weight.sum(dim=1).double() * across).sum(dim=1) / whole
    y = (weight.sum(dim=2).double() * down).sum(dim=1) / whole
    dx = (across - x.unsqueeze(1)).float().unsqueeze(1).expand_as(weight)
    dy = (down - y.unsqueeze(1)).float().unsqueeze(2).expand_as(weight)
    distance = (dx * dx + dy * dy).sqrt_()
    radius = per_image((total / (20.0 * 3.141592653589793)).clamp(min=0.25).sqrt())
    relative = distance / radius
    ring = (relative * 5.0).clamp(max=num_rings - 1.0).long()
    rings = weighed(ring.flatten(1), weight.flatten(1), num_rings) / whole.unsqueeze(1)
    return torch.cat([rings, _repeats(weight, dx, dy, distance, relative, num_turns), _share(total, height * width)], 1)


def _repeats(weight: Tensor, dx: Tensor, dy: Tensor, distance: Tensor, relative: Tensor, num_turns: int) -> Tensor:
    """Returns the absolute circular harmonics 1 to `num_turns`, weighted by distance up to 2 radii, float64."""
    least = distance.clamp(min=1e-3)
    cosine, sine = dx / least, dy / least
    reach = weight * relative.clamp(max=2.0) * 64.0
    total = sum_of(weight).clamp(min=1.0)
    real, imaginary = cosine, sine
    columns: list[Tensor] = []
    for turn in range(num_turns):
        if turn > 0:
            real, imaginary = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        # Rounded to whole 64ths before they are added up.
        a = sum_of((reach * real).round_()) / total
        b = sum_of((reach * imaginary).round_()) / total
        columns.append((a * a + b * b).sqrt() / 32.0)
    return torch.stack(columns, dim=1)


def _share(total: Tensor, num_pixels: int) -> Tensor:
    return (total / (20.0 * num_pixels)).unsqueeze(1)


class Shape(Cue):
    """Outline and silhouette: edges by place and direction, and the form of what stands out from the ground."""

    name = "shape"
    version = 1

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 53 features, float32: edges in 3 x 3 cells by four directions (36), figures of the silhouette (17).

        The first tell where edges lie and how they run, the second what the silhouette looks like wherever it lies,
        however large and however turned.
        """
        level = level_of(image)
        plane = coarse(level)
        return torch.cat([edges_by_cell(plane), outline_figures(silhouette(level, plane))], dim=1).float()

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the edges, bright on black."""
        right, down = gradients(low_pass(level_of(image)).mul_(0.0625))
        strength = torch.zeros_like(image[:, 0], dtype=torch.float32)
        strength[:, 1:-1, 1:-1] = (right * right + down * down).sqrt().mul(4.0).clamp(max=255.0)
        plane = strength.round().to(torch.uint8)
        return torch.stack([plane, plane, plane], dim=1)
