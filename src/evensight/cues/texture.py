"""The texture cue: fine detail and local statistics of luma, without place and direction, so that it is no outline.

Texture is what a frame is full of, outlines are few: wherever detail is several times stronger than the frame's usual,
it is taken for outline and left out of the features, and left in place by the operators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.pixels import at_luma, halved, histogram, level_of, per_image, quantile, weighed

# TorchScript reads no module constants, so these are the defaults of arguments.
# Detail above this multiple of a frame's median detail belongs to an outline.
OUTLINE = 2.0


def laplacian(plane: Tensor) -> Tensor:
    """Returns how far each inner pixel is from its four neighbours, `[B, H - 2, W - 2]`: whole numbers stay whole."""
    middle = plane[:, 1:-1, 1:-1] * 4.0
    around = (plane[:, :-2, 1:-1] + plane[:, 2:, 1:-1]).add_(plane[:, 1:-1, :-2]).add_(plane[:, 1:-1, 2:])
    return middle.sub_(around).abs_()


def median(plane: Tensor) -> Tensor:
    """Returns the median of whole numbers 0 to 255 `[B, H, W]`, float64 `[B]`; larger numbers count as 255."""
    return quantile(histogram(plane.clamp(max=255.0)), 0.5)


def patterns(plane: Tensor, weight: Tensor) -> Tensor:
    """Returns the shares of 10 local binary patterns, turned as one likes: float64 `[B, 10]`.

    A pixel's 8 neighbours, in a ring, are brighter (or equal) or darker. Where they change at most twice on the way
    round, the pattern is how many are brighter, 0 to 8; all others are the tenth. Neither place, direction, brightness
    nor contrast counts. Ojala, Pietikainen, Maenpaa: Multiresolution gray-scale and rotation invariant texture
    classification with local binary patterns (PAMI 2002).

    Args:
        plane: Whole numbers 0 to 255, `[B, H, W]`.
        weight: Which inner pixels count, 0 or 1, `[B, H - 2, W - 2]`.
    """
    height, width = plane.size(1) - 2, plane.size(2) - 2
    plane = plane.to(torch.uint8)  # compared ten times as fast as float
    middle = plane[:, 1:-1, 1:-1]
    right, below = [0, 1, 2, 2, 2, 1, 0, 0], [0, 0, 0, 1, 2, 2, 2, 1]
    ring: list[Tensor] = []
    for k in range(8):
        neighbour = plane[:, below[k] : below[k] + height, right[k] : right[k] + width]
        ring.append((neighbour >= middle).to(torch.uint8))
    brighter, changes = ring[0].clone(), ring[7] ^ ring[0]
    for k in range(1, 8):
        brighter += ring[k]
        changes += ring[k - 1] ^ ring[k]
    even = (changes <= 2).to(torch.uint8)
    pattern = brighter * even + (1 - even) * 9
    counts = weighed(pattern.long().flatten(1), weight.float().flatten(1), 10)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1.0)


def smoothed(level: Tensor) -> Tensor:
    """Returns luma without its texture, outlines kept: a guided filter of itself, float32 `[B, H, W]`.

    What varies, within a window, about as much as the frame usually does, is smoothed; what varies more stays. He, Sun,
    Tang: Guided image filtering (ECCV 2010), with the threshold set by each frame's own median.

    Args:
        level: Luma in whole grey levels, `[B, H, W]`.
    """
    radius = max(2, level.size(1) // 20)
    count = float((2 * radius + 1) * (2 * radius + 1))
    mean = _box(level, radius) / count
    variance = (_box(level * level, radius) / count - mean * mean).clamp(min=0.0)
    usual = median(variance.sqrt().round())
    threshold = per_image((usual * usual * 2.0).clamp(min=36.0))
    # Steeper than the filter's own variance / (variance + threshold): 0.2 of the usual stays, 0.8 of twice its spread.
    keep = variance * variance
    keep = keep / (keep + threshold * threshold)
    rest = mean - keep * mean
    return _box(keep, radius) / count * level + _box(rest, radius) / count


def parted(image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns luma without its texture (`smoothed`), and the texture alone, float32 `[B, H, W]` each."""
    level = level_of(image)
    base = smoothed(level)
    return base, _cut(level - base)


def exchanged(image: Tensor, donor: Tensor, shift: Tensor) -> Tensor:
    """Gives each image its donor's texture, scattered, on its own smoothed luma.

    Args:
        image: uint8 `[B, 3, H, W]`.
        donor: uint8 `[B, 3, H, W]`.
        shift: Of `scattered`, `[B, 2]`.
    """
    base, _ = parted(image)
    _, texture = parted(donor)
    return at_luma(image, (base + scattered(texture, shift)).clamp_(0.0, 255.0))


def replaced(image: Tensor, donor: Tensor, outline: float = OUTLINE) -> Tensor:
    """Gives each image its donor's detail, scattered, on its own low-pass; where it has an outline, its own detail.

    The low-pass is linear: it takes more of the image's own texture away than `smoothed`, and more of weak outlines.

    Args:
        image: uint8 `[B, 3, H, W]`.
        donor: uint8 `[B, 3, H, W]`.
        outline: Detail of this many times the median is taken for an outline's, twice that in full.
    """
    level, other = level_of(image), level_of(donor)
    low = _blurred(level)
    own, texture = level - low, _cut(other - _blurred(other))
    around = (_box(own * own, 1) / 9.0).sqrt()
    kept = (around / per_image(_strength(own).clamp(min=0.5) * outline) - 1.0).clamp(0.0, 1.0)
    texture = scattered(texture, torch.zeros([image.size(0), 2], device=image.device))
    return at_luma(image, (low + own * kept + texture * (1.0 - kept)).clamp(0.0, 255.0))


def _cut(texture: Tensor) -> Tensor:
    """Cuts what is left of outlines in a texture to three times its own median."""
    most = per_image(_strength(texture) * 3.0 + 1.0)
    return torch.minimum(torch.maximum(texture, -most), most)


def _strength(band: Tensor) -> Tensor:
    """Returns the median of the absolute detail to a quarter of a grey level, float64 `[B]`."""
    return median((band.abs() * 4.0).round()) / 4.0


def _box(plane: Tensor, radius: int) -> Tensor:
    """Returns the sum of the square of side 2 * radius + 1 around each pixel of `[B, H, W]`, edges repeated."""
    rows = torch.cat([plane[:, :1].expand([-1, radius, -1]), plane, plane[:, -1:].expand([-1, radius, -1])], dim=1)
    total = rows[:, : plane.size(1)].clone()
    for step in range(1, 2 * radius + 1):
        total += rows[:, step : step + plane.size(1)]
    left, right = total[:, :, :1].expand([-1, -1, radius]), total[:, :, -1:].expand([-1, -1, radius])
    columns = torch.cat([left, total, right], dim=2)
    total = columns[:, :, : plane.size(2)].clone()
    for step in range(1, 2 * radius + 1):
        total += columns[:, :, step : step + plane.size(2)]
    return total


def _blurred(plane: Tensor) -> Tensor:
    """Returns the low-pass of `[B, H, W]`, edges repeated: 1-2-1 means of pixels 1, 2 and, from 56 on, 4 apart."""
    step = 1
    while step <= max(1, plane.size(1) // 14):
        place = torch.arange(plane.size(1), device=plane.device)
        up, down = (place - step).clamp(min=0), (place + step).clamp(max=plane.size(1) - 1)
        plane = (plane.index_select(1, up) + plane.index_select(1, down)) * 0.25 + plane * 0.5
        place = torch.arange(plane.size(2), device=plane.device)
        left, right = (place - step).clamp(min=0), (place + step).clamp(max=plane.size(2) - 1)
        plane = (plane.index_select(2, left) + plane.index_select(2, right)) * 0.25 + plane * 0.5
        step *= 2
    return plane


def scattered(plane: Tensor, shift: Tensor) -> Tensor:
    """Rolls each plane by `shift`, cuts it into 4 x 4 tiles and deals these out again, mirrored: no outline survives.

    Args:
        plane: `[B, S, S]`.
        shift: Down and right, shares of the side in [0, 1), `[B, 2]`.
    """
    side = plane.size(1)
    tile = max(1, side // 4)
    place = torch.arange(side, device=plane.device)
    cell = (place // tile).clamp(max=3)
    # No two tiles that were neighbours are again.
    order = torch.tensor([9, 3, 12, 6, 0, 14, 5, 11, 7, 8, 2, 13, 10, 1, 15, 4], device=plane.device)
    source = order[cell[:, None] * 4 + cell[None, :]]
    within = place - cell * tile
    within = torch.where(within < tile, within, 2 * tile - 1 - within).clamp(min=0)  # what 4 tiles leave over
    down, across = within[:, None].expand([side, side]), within[None, :].expand([side, side])
    row = source // 4 * tile + torch.where(source % 2 == 1, tile - 1 - down, down)
    column = source % 4 * tile + torch.where(source // 2 % 2 == 1, tile - 1 - across, across)
    rolled = (row + (shift[:, :1, None] * side).long()) % side * side
    rolled = rolled + (column + (shift[:, 1:2, None] * side).long()) % side
    return plane.flatten(1).gather(1, rolled.flatten(1)).view_as(plane)


class Texture(Cue):
    """Fine detail of luma: its patterns at two scales and its strength at three.

    `detail` puts the donor's texture, in scattered tiles, on the image's own luma smoothed between outlines;
    `high_pass` puts it on a plain low-pass, and so leaves less of the own texture and less of weak outlines. Hue and
    coarse luma stay. An image that is its own donor keeps its texture, but not where it lies. `randomize` is `detail`
    with the tiles cut by `noise`. There is no `remove`: smoothness is a texture too.
    """

    name = "texture"
    version = 1
    noise_size = 2
    operators = ("detail", "high_pass")

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 23 features, float32: 10 patterns at full and at half size, median detail at full, half and quarter.

        Patterns count where detail is at most 3 times the frame's median: outlines say more of the shape.
        """
        plane = level_of(image)
        shares: list[Tensor] = []
        strengths: list[Tensor] = []
        for scale in range(3):
            strength = laplacian(plane)
            usual = median(strength)
            strengths.append(usual / 64.0)
            if scale < 2:
                shares.append(patterns(plane, strength <= per_image(usual * 3.0 + 2.0)))
                plane = halved(plane).mul_(0.25).round_()
        return torch.cat([shares[0], shares[1], torch.stack(strengths, dim=1)], dim=1).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image in its donor's texture, its tiles cut by `noise` `[B, 2]`."""
        return exchanged(image, donor, noise)

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image in its donor's texture, on its own luma smoothed (`detail`) or low-passed (`high_pass`).

        Raises:
            ValueError: For another operator.
        """
        if operator != "detail" and operator != "high_pass":
            raise ValueError("the texture cue has no operator " + operator + "; allowed: detail, high_pass")
        if operator == "detail":
            return exchanged(image, donor, torch.zeros([image.size(0), 2], device=image.device))
        return replaced(image, donor)

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the texture alone, at four times its contrast on mid-grey."""
        _, texture = parted(image)
        plane = (texture * 4.0 + 128.0).round().clamp(0.0, 255.0).to(torch.uint8)
        return torch.stack([plane, plane, plane], dim=1)
