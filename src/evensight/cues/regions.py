"""What the cues of places share: masks and boxes, the figures of a region, its tones moved, holes filled, images mixed.

Sums are exact, as in `pixels`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.colour import hue_bin, yiq
from evensight.cues.pixels import bands, fitted, level_of, moments, per_image, sum_of, weighed

# TorchScript reads no module constants, so these are the defaults of arguments.
# Of 255: a pixel covered less than this by the object is background. A resized or compressed mask has a faint rim.
LEAST_COVER = 8


def known_ground(mask: Tensor, least_cover: int = LEAST_COVER) -> Tensor:
    """Returns which pixels are background, uint8 0 or 1 `[B, H, W]`, of masks uint8 `[B, 1, H, W]` (0 to 255).

    None are where the mask is 0 all over: it is not known then.
    """
    known = (mask.flatten(1).amax(dim=1) >= least_cover)[:, None, None]
    return ((mask[:, 0] < least_cover) & known).to(torch.uint8)


def box_mask(box: Tensor, size: int) -> Tensor:
    """Returns the masks of boxes: how far a box covers each pixel, for data that has no finer outline.

    Args:
        box: `[B, 4]` as x0, y0, x1, y1 in pixels of the S x S image; all 0 where there is none.
        size: S.

    Returns:
        uint8 `[B, 1, S, S]`, 0 to 255.
    """
    edge = torch.arange(size, dtype=torch.float32, device=box.device)
    x0, y0, x1, y1 = box.float().unsqueeze(2).unbind(dim=1)
    across = (torch.minimum(x1, edge + 1.0) - torch.maximum(x0, edge)).clamp(0.0, 1.0)
    down = (torch.minimum(y1, edge + 1.0) - torch.maximum(y0, edge)).clamp(0.0, 1.0)
    return (down.unsqueeze(2) * across.unsqueeze(1) * 255.0).round().to(torch.uint8).unsqueeze(1)


def blended(image: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Mixes two images uint8 `[B, 3, H, W]`: `share` of 255 of the other, uint8 `[B, H, W]`; 0 and 255 are exact."""
    part = share.float().unsqueeze(1)
    # Whole numbers up to 255 * 255: exact, and half a grey level is never reached by 255ths.
    mixed = (other.float() * part + image.float() * (255.0 - part)) / 255.0
    return mixed.round().to(torch.uint8)


def restyled(image: Tensor, chosen: Tensor, donor: Tensor, donor_chosen: Tensor, most_gain: float = 4.0) -> Tensor:
    """Gives each image the mean colour and the spread of luma that its donor has; its pattern and chroma stay.

    Means and spreads are of the chosen pixels alone; all pixels move. An image without chosen pixels, or whose donor
    has none, is returned as it is.

    Args:
        image: uint8 `[B, 3, H, W]`.
        chosen: uint8 0 or 1, `[B, H, W]`.
        donor: uint8 `[B, 3, H, W]`.
        donor_chosen: uint8 0 or 1, `[B, H, W]`.
        most_gain: Contrast changes by at most this factor, either way.
    """
    mean, level, spread = _tone(image, chosen)
    donor_mean, donor_level, donor_spread = _tone(donor, donor_chosen)
    gain = (donor_spread / spread.clamp(min=1.0)).clamp(min=1.0 / most_gain, max=most_gain)
    own, _, _ = yiq(image)
    own = own.mul_(0.001)
    # The gain is luma's alone: on chroma it would paint a pale image in colours that the donor has not.
    line = (own - per_image(level)).mul_(per_image(gain)).add_(per_image(donor_level)).clamp_(0.0, 255.0)
    shift = (donor_mean - mean) - (donor_level - level).unsqueeze(1)
    moved = fitted(image.float() - own.unsqueeze(1) + shift.float()[:, :, None, None], line)
    both = (chosen.flatten(1).amax(dim=1) > 0) & (donor_chosen.flatten(1).amax(dim=1) > 0)
    return torch.where(both[:, None, None, None], moved, image)


def _tone(image: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean RGB `[B, 3]`, and mean and spread of luma `[B]`, of the chosen pixels, float64."""
    count = chosen.sum(dim=[1, 2]).double().clamp(min=1.0)
    mean = (image * chosen.unsqueeze(1)).sum(dim=[2, 3]).double() / count.unsqueeze(1)
    level, spread = moments(weighed(level_of(image).long().flatten(1), chosen.float().flatten(1), 256))
    return mean, level, spread


def filled(image: Tensor, known: Tensor) -> Tensor:
    """Fills the unknown pixels of each image smoothly from the known ones around them, by a pyramid of means.

    Gortler, Grzeszczuk, Szeliski, Cohen: The Lumigraph (SIGGRAPH 1996), "pull-push".

    Args:
        image: uint8 `[B, 3, H, W]`.
        known: uint8 0 or 1, `[B, H, W]`.

    Returns:
        uint8 `[B, 3, H, W]`, known pixels as they were; 128 all over where nothing is known.
    """
    weight = known.float().unsqueeze(1)
    value = image.float() * weight
    values, weights = [value], [weight]
    while value.size(2) > 1 or value.size(3) > 1:
        value, weight = _pooled(value), _pooled(weight)
        # Above 1 a coarse pixel knows enough: its mean counts in full from here on.
        most = weight.clamp(min=1.0)
        value, weight = value / most, weight / most
        values.append(value)
        weights.append(weight)
    whole = torch.where(weight > 0.0, value / weight.clamp(min=1e-6), torch.full_like(value, 128.0))
    for step in range(len(values) - 2, -1, -1):
        finer = _doubled(whole, values[step].size(2), values[step].size(3))
        whole = values[step] + (1.0 - weights[step]) * finer
    return torch.where(known.unsqueeze(1) > 0, image, whole.round().clamp(0.0, 255.0).to(torch.uint8))


def _pooled(plane: Tensor) -> Tensor:
    """Sums 2 x 2 pixels of `[B, C, H, W]`; beyond an odd edge lies nothing."""
    if plane.size(2) % 2 == 1:
        plane = torch.cat([plane, torch.zeros_like(plane[:, :, :1])], dim=2)
    if plane.size(3) % 2 == 1:
        plane = torch.cat([plane, torch.zeros_like(plane[:, :, :, :1])], dim=3)
    rows = plane[:, :, 0::2] + plane[:, :, 1::2]
    return rows[:, :, :, 0::2] + rows[:, :, :, 1::2]


def _doubled(plane: Tensor, height: int, width: int) -> Tensor:
    """Doubles `[B, C, h, w]` linearly and cuts it to `[B, C, height, width]`."""
    above = torch.cat([plane[:, :, :1], plane[:, :, :-1]], dim=2)
    below = torch.cat([plane[:, :, 1:], plane[:, :, -1:]], dim=2)
    rows = torch.stack([plane * 0.75 + above * 0.25, plane * 0.75 + below * 0.25], dim=3).flatten(2, 3)[:, :, :height]
    left = torch.cat([rows[:, :, :, :1], rows[:, :, :, :-1]], dim=3)
    right = torch.cat([rows[:, :, :, 1:], rows[:, :, :, -1:]], dim=3)
    return torch.stack([rows * 0.75 + left * 0.25, rows * 0.75 + right * 0.25], dim=4).flatten(3, 4)[:, :, :, :width]


def ground_statistics(image: Tensor, chosen: Tensor) -> Tensor:
    """Returns what the chosen pixels of each image look like, whatever the others hold: float64 `[B, 45]`.

    Columns: shares of 8 bands of luma; the share of squared chroma in each of 16 hues; mean and spread of luma, mean I
    and Q, mean chroma and its root mean square; the mean difference of luma between pixels 1, 2 and 4 apart; mean luma,
    I and Q of each quarter of the frame. All 0 where no pixel is chosen.

    Args:
        image: uint8 `[B, 3, H, W]`.
        chosen: Which pixels count, uint8 0 or 1, `[B, H, W]`.
    """
    luma, i, q = yiq(image)
    weight = chosen.float()
    luma, i, q = luma.mul_(0.001).round_(), i.mul_(0.001).round_().mul_(weight), q.mul_(0.001).round_().mul_(weight)
    quarters, sums = _quarters([weight, luma * weight, i, q])
    count = sums[0].clamp(min=1.0)
    counts = weighed(luma.long().flatten(1), weight.flatten(1), 256)
    mean, spread = moments(counts)
    squared = (i * i).addcmul_(q, q)
    total = sum_of(squared)
    rows = [mean / 255.0, spread / 64.0, sums[2] / count / 64.0, sums[3] / count / 64.0]
    rows += [sum_of(squared.sqrt().round_()) / count / 96.0, (total / count).sqrt() / 96.0]
    rows += _differences(luma, weight)
    rows += quarters
    hues = torch.zeros([image.size(0), 16], dtype=torch.float64, device=image.device)
    hues = hues.scatter_add(1, hue_bin(i, q).long().flatten(1), squared.double().flatten(1))
    # Below a mean square of 16 (a chroma of 4 grey levels) hues are those of rounding and noise.
    hues = hues / total.clamp(min=1.0).unsqueeze(1) * (total >= 16.0 * count).double().unsqueeze(1)
    return torch.cat([bands(counts, 8), hues, torch.stack(rows, dim=1)], dim=1)


def _quarters(planes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the mean of luma, I and Q in each quarter of the frame, and the sums of all planes over the frame.

    A quarter of which nothing is chosen has the whole frame's mean.

    Args:
        planes: Weight (0 or 1), and luma, I and Q times it, `[B, H, W]` each.
    """
    height, width = planes[0].size(1) // 2, planes[0].size(2) // 2
    parts: list[list[Tensor]] = []
    sums: list[Tensor] = []
    for plane in planes:
        left, right = plane[:, :, :width].sum(dim=2).double(), plane[:, :, width:].sum(dim=2).double()
        four = [left[:, :height].sum(dim=1), right[:, :height].sum(dim=1)]
        four += [left[:, height:].sum(dim=1), right[:, height:].sum(dim=1)]
        parts.append(four)
        sums.append(four[0] + four[1] + four[2] + four[3])
    rows: list[Tensor] = []
    for quarter in range(4):
        some = parts[0][quarter] > 0.0
        count = torch.where(some, parts[0][quarter], sums[0]).clamp(min=1.0)
        for k in range(1, 4):
            mean = torch.where(some, parts[k][quarter], sums[k]) / count
            rows.append(mean / (255.0 if k == 1 else 64.0))
    return rows, sums


def _differences(level: Tensor, weight: Tensor) -> list[Tensor]:
    """Returns the mean difference of luma at 1, 2 and 4 pixels, across and down, of 32 grey levels; float64 `[B]` each.

    Only between two chosen pixels.
    """
    rows: list[Tensor] = []
    for step in [1, 2, 4]:
        both_across = weight[:, :, step:] * weight[:, :, :-step]
        both_down = weight[:, step:] * weight[:, :-step]
        pairs = sum_of(both_across) + sum_of(both_down)
        across = (level[:, :, step:] - level[:, :, :-step]).abs_().mul_(both_across)
        down = (level[:, step:] - level[:, :-step]).abs_().mul_(both_down)
        rows.append((sum_of(across) + sum_of(down)) / pairs.clamp(min=1.0) / 32.0)
    return rows
