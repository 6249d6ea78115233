"""Figures of pixels that several cues share: levels, histograms, low-pass, what stands out, colour at a new luma.

Whatever is added up here over pixels is whole numbers, small enough that float32 (to 2^24) or float64 (to 2^53) adds
them exactly in any order; all else is one operation at a time, rounded as IEEE 754 says. So an image gives the same
figures in any batch, on any number of threads, on any device. No `exp`, `log` or `atan2`: they differ in the last bit
between vectorised and single elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.colour import yiq


def level_of(image: Tensor) -> Tensor:
    """Returns the luma of uint8 RGB `[B, 3, H, W]` in whole grey levels, float32 `[B, H, W]`."""
    luma, _, _ = yiq(image)
    return luma.mul_(0.001).round_()


def per_image(values: Tensor) -> Tensor:
    """Returns `[B]` as float32 `[B, 1, 1]`."""
    return values.float()[:, None, None]


def sum_of(plane: Tensor) -> Tensor:
    """Returns the sum of each plane of whole numbers `[B, H, W]`, float64 `[B]`; exact while a row's is below 2^24."""
    return plane.sum(dim=2).sum(dim=1, dtype=torch.float64)


def weighed(index: Tensor, weight: Tensor, num: int) -> Tensor:
    """Adds up weights by place: a histogram.

    Args:
        index: int64 0 to `num` - 1, `[B, N]`.
        weight: float32 `[B, N]`, whole numbers that add up to less than 2^24.
        num: Of places.

    Returns:
        float64 `[B, num]`.
    """
    sums = torch.zeros([index.size(0), num], device=index.device)
    return sums.scatter_add(1, index, weight).double()


def histogram(level: Tensor) -> Tensor:
    """Counts the pixels of each grey level 0 to 255 in `[B, H, W]`, float64 `[B, 256]`."""
    index = level.long().flatten(1)
    return weighed(index, torch.ones([1, 1], device=level.device).expand(index.size()), 256)


def quantile(counts: Tensor, share: float) -> Tensor:
    """Returns the first level below which, or at which, `share` of a histogram `[B, 256]` lies: whole float64 `[B]`."""
    total = counts.sum(dim=1, keepdim=True)
    return (counts.cumsum(dim=1) < total * share).sum(dim=1).double().clamp(max=255.0)


def moments(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and spread (standard deviation) in grey levels of histograms `[B, 256]`, float64 `[B]` each."""
    levels = torch.arange(256, dtype=torch.float64, device=counts.device)
    total = counts.sum(dim=1).clamp(min=1.0)
    first = (counts * levels).sum(dim=1)
    second = (counts * (levels * levels)).sum(dim=1)
    variance = (second * total - first * first).clamp(min=0.0) / (total * total)
    return first / total, variance.sqrt()


def bands(counts: Tensor, num: int) -> Tensor:
    """Returns the share of a histogram `[B, 256]` in `num` bands of luma that overlap by halves, float64 `[B, num]`.

    A level counts for the two bands whose middles it lies between, by its distance: no level is on a border. `num`
    divides 256. All 0 where the histogram is empty.
    """
    width = 256 // num
    levels = torch.arange(256, dtype=torch.float64, device=counts.device).unsqueeze(1)
    middles = torch.arange(num, dtype=torch.float64, device=counts.device) * width + width // 2
    # At both ends the outer band takes all: its level counts as its middle.
    inside = levels.clamp(min=float(width // 2), max=float(256 - width + width // 2))
    shares = (width - (inside - middles).abs()).clamp(min=0.0)
    # Whole numbers: the product adds up the same whatever kernel the batch size picks.
    return (counts @ shares) / (counts.sum(dim=1, keepdim=True) * width).clamp(min=1.0)


def low_pass(plane: Tensor) -> Tensor:
    """Returns 16 times the 1-2-1 mean both ways of `[B, H, W]`, edges repeated: whole numbers stay whole."""
    rows = torch.cat([plane[:, :1], plane, plane[:, -1:]], dim=1)
    rows = (rows[:, :-2] + rows[:, 2:]).add_(rows[:, 1:-1], alpha=2.0)
    columns = torch.cat([rows[:, :, :1], rows, rows[:, :, -1:]], dim=2)
    return (columns[:, :, :-2] + columns[:, :, 2:]).add_(columns[:, :, 1:-1], alpha=2.0)


def halved(plane: Tensor) -> Tensor:
    """Returns the sums of 2 x 2 pixels of `[B, H, W]`, an odd last row or column left out; `[B, H // 2, W // 2]`."""
    height, width = plane.size(1) // 2 * 2, plane.size(2) // 2 * 2
    rows = plane[:, 0:height:2] + plane[:, 1:height:2]
    return rows[:, :, 0:width:2] + rows[:, :, 1:width:2]


def at_luma(image: Tensor, level: Tensor) -> Tensor:
    """Gives each pixel a new luma and keeps its chroma as far as it fits; the own `level_of` changes nothing.

    Args:
        image: uint8 `[B, 3, H, W]`.
        level: In grey levels 0 to 255, float32 `[B, H, W]`; taken for as far above the new luma as `level_of` is
            above the pixel's own, which is not whole.
    """
    luma, _, _ = yiq(image)
    luma = luma.mul_(0.001)
    return fitted(image.float() - luma.unsqueeze(1), (level - luma.round()).add_(luma).clamp_(0.0, 255.0))


def fitted(chroma: Tensor, level: Tensor) -> Tensor:
    """Makes pixels of luma and colour; where a colour does not fit into 0 to 255 at its luma, its chroma gives way.

    Args:
        chroma: RGB less luma, float32 `[B, 3, H, W]`.
        level: Luma, in grey levels 0 to 255, float32 `[B, H, W]`.

    Returns:
        uint8 `[B, 3, H, W]`.
    """
    most = chroma.amax(dim=1).clamp_(min=1e-3)
    least = chroma.amin(dim=1).neg_().clamp_(min=1e-3)
    fits = torch.minimum((255.0 - level).div_(most), level / least).clamp_(max=1.0)
    pixels = (chroma * fits.unsqueeze(1)).add_(level.unsqueeze(1))
    return pixels.round_().clamp_(0.0, 255.0).to(torch.uint8)


def standing_out(level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parts each image by luma, without a mask: its ground, and what stands out from it.

    The ground's luma is the median, as the ground fills most of a frame. A pixel stands out by how far the mean luma
    around it is from the ground's, from 0 at 20 grey levels (texture, noise) to 20 at 40 and more; and only where luma
    is flat, so that a region counts by its inside, and outlines, which say more of its shape, hardly at all.

    Args:
        level: Luma in whole grey levels, `[B, H, W]`.

    Returns:
        The ground's luma, whole float64 `[B]`; and for each pixel, `[B, H, W]` float32, whether it is ground (0 or 1)
        and how far it stands out (whole, 0 to 20).
    """
    ground = quantile(histogram(level), 0.5)
    around = low_pass(level).mul_(0.0625).round_()
    slope = torch.zeros_like(level)
    slope[:, 1:-1] += (around[:, 2:] - around[:, :-2]).abs_()
    slope[:, :, 1:-1] += (around[:, :, 2:] - around[:, :, :-2]).abs_()
    apart = around.sub_(per_image(ground)).abs_().sub_(20.0).clamp_(0.0, 20.0)
    flat = slope.neg_().add_(40.0).clamp_(0.0, 20.0)
    return ground, (apart == 0.0).float(), torch.minimum(apart, flat)
