"""The brightness cue: level and contrast of the frame, and the luma of what stands out from its ground.

A colour that has its own luma gives itself away in grey too (`data.palette=vivid`), so the luma of the region that
stands out belongs to this cue as much as the frame's level does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.pixels import (
    at_luma,
    bands,
    histogram,
    level_of,
    moments,
    per_image,
    quantile,
    standing_out,
    sum_of,
    weighed,
)

# TorchScript reads no module constants, so these are the defaults of arguments.
# Contrast changes by at most this factor either way: more shows the noise of a flat image, less hides what is on it.
MOST_GAIN = 4.0
# A region whose luma is this close to the ground's, in grey levels, does not stand out.
LEAST_CONTRAST = 16.0
# Of what `remove` leaves: the value of a pixel of average steepness, and the least average that counts as such (grey
# levels a pixel).
MIDDLE_STEEPNESS = 48.0
LEAST_STEEPNESS = 1.0


def parted(image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the histograms of luma of the ground and of what stands out from it, whole float64 `[B, 256]` each."""
    level = level_of(image)
    _, ground, region = standing_out(level)
    index = level.long().flatten(1)
    return weighed(index, ground.flatten(1), 256), weighed(index, region.flatten(1), 256)


def moved(image: Tensor, donor: Tensor, most_gain: float = MOST_GAIN) -> Tensor:
    """Gives each image the mean and the spread of its donor's luma, by one straight line; hue is kept."""
    level = level_of(image)
    mean, spread = moments(histogram(level))
    donor_level = level_of(donor)
    donor_mean, donor_spread = moments(histogram(donor_level))
    gain = (donor_spread / spread.clamp(min=1.0)).clamp(min=1.0 / most_gain, max=most_gain)
    return _line(image, level, mean, gain, donor_mean)


def matched(image: Tensor, donor: Tensor) -> Tensor:
    """Gives each image its donor's histogram of luma, by a curve that never falls; hue is kept.

    A level goes to the first level of the donor below which, or at which, as large a share of pixels lies.
    """
    level = level_of(image)
    own = histogram(level).cumsum(dim=1)
    donor_level = level_of(donor)
    others = histogram(donor_level).cumsum(dim=1)
    # Shares as whole numbers: counts times the other image's pixels.
    own, others = own * others[:, -1:], others * own[:, -1:]
    curve = torch.searchsorted(others, own).clamp(max=255).float()
    return at_luma(image, curve.gather(1, level.long().flatten(1)).view_as(level))


def stretched(
    image: Tensor, own: Tensor, donor: Tensor, most_gain: float = MOST_GAIN, least_contrast: float = LEAST_CONTRAST
) -> Tensor:
    """Gives each image the donor's luma of the ground and of what stands out, by one straight line; hue is kept.

    `own` and `donor` are `ground_and_region` of the images and of their donors.

    Where the donor's region is darker than its ground and the image's is brighter, the line falls: the image becomes
    its negative in luma. An image, or a donor, where nothing stands out keeps its contrast and takes the ground's luma.
    """
    ground, region = own.unbind(dim=1)
    donor_ground, donor_region = donor.unbind(dim=1)
    contrast, wanted = region - ground, donor_region - donor_ground
    plain = (contrast.abs() < least_contrast) | (wanted.abs() < least_contrast)
    gain = (wanted / torch.where(plain, torch.ones_like(contrast), contrast)).clamp(min=-most_gain, max=most_gain)
    # A contrast that shrinks below a quarter hides what is on the image.
    least = torch.full_like(gain, 1.0 / most_gain)
    gain = torch.where(gain.abs() < least, torch.where(gain < 0.0, -least, least), gain)
    gain = torch.where(plain, torch.ones_like(gain), gain)
    return _line(image, level_of(image), ground, gain, donor_ground)


def outlines(image: Tensor, middle: float = MIDDLE_STEEPNESS, least: float = LEAST_STEEPNESS) -> Tensor:
    """Returns the steepness of luma, whole float32 0 to 255 `[B, H, W]`, of images uint8 `[B, 3, H, W]`.

    The magnitude of Sobel's gradient over its own mean in the image, times `middle`: an image whose luma was moved
    along any straight line, rising or falling, has the same outlines but for rounding.

    Args:
        image: As above.
        middle: What a pixel of average steepness becomes.
        least: Grey levels a pixel; a flatter image is taken to be so steep, or its noise would be all that is seen.
    """
    level = torch.nn.functional.pad(level_of(image).unsqueeze(1), [1, 1, 1, 1], mode="replicate").squeeze(1)
    across = level[:, :, 2:] - level[:, :, :-2]
    across = across[:, :-2] + 2.0 * across[:, 1:-1] + across[:, 2:]
    down = level[:, 2:] - level[:, :-2]
    down = down[:, :, :-2] + 2.0 * down[:, :, 1:-1] + down[:, :, 2:]
    # Eighths of a grey level a pixel, at most 1,443: whole, so that their mean is the same in any order.
    steep = (across * across).addcmul_(down, down).sqrt_().round_()
    mean = sum_of(steep) / (image.size(2) * image.size(3))
    scale = middle / mean.clamp(min=8.0 * least)
    return steep.mul_(per_image(scale)).round_().clamp_(0.0, 255.0)


def ground_and_region(image: Tensor) -> Tensor:
    """Returns the luma of the ground and of what stands out, in whole grey levels, float64 `[B, 2]`."""
    level = level_of(image)
    ground, _, weight = standing_out(level)
    counts = weighed(level.long().flatten(1), weight.flatten(1), 256)
    region = torch.where(counts.sum(dim=1) > 0.0, quantile(counts, 0.5), ground)
    return torch.stack([ground, region], dim=1)


def _line(image: Tensor, level: Tensor, middle: Tensor, gain: Tensor, new_middle: Tensor) -> Tensor:
    """Moves luma along a straight line through (middle, new_middle)."""
    line = (level - per_image(middle)).mul_(per_image(gain)).add_(per_image(new_middle))
    return at_luma(image, line.clamp_(0.0, 255.0))


class Brightness(Cue):
    """The frame's own level and contrast, and the luma of what stands out.

    `level` moves mean and spread of luma to the donor's, `quantiles` the whole histogram, `region` the luma of ground
    and region, to the negative where it must. Edges stay where they are; hue stays, chroma as far as it fits.
    `randomize` is `region`: the other two never turn a dark object on bright ground into a bright one on dark ground,
    and so leave the sign of the contrast as it was. `remove` leaves the outlines alone, in grey.
    """

    name = "brightness"
    version = 1
    noise_size = 0
    operators = ("level", "quantiles", "region")
    removable = True
    reads = True

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 36 features, float32: shares of 16 bands of luma, of the ground and of what stands out, and moments.

        Ground and region are described each by itself: quantiles of the whole frame would tell how large the region
        is, and that says more of a shape than of its brightness (on shapes without any shortcut a probe of the
        frame's quantiles names 20 % of the shapes, this one 16 %, chance 12.5 %). The moments are the ground's mean
        and spread, the region's mean, and how far the two means are apart.
        """
        ground, region = parted(image)
        mean, spread = moments(ground)
        region_mean, _ = moments(region)
        contrast = (region_mean - mean).abs() * (region.sum(dim=1) > 0.0)
        rows = torch.stack([mean / 255.0, spread / 64.0, region_mean / 255.0, contrast / 128.0], dim=1)
        return torch.cat([bands(ground, 16), bands(region, 16), rows], dim=1).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's luma of ground and region; `noise` `[B, 0]` is not used."""
        return self.give(image, self.read(image), self.read(donor))

    def read(self, image: Tensor) -> Tensor:
        """Returns the luma of the ground and of what stands out."""
        return ground_and_region(image)

    def give(self, image: Tensor, own: Tensor, donor: Tensor) -> Tensor:
        """Returns each image with another luma of ground and region."""
        return stretched(image, own, donor)

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's mean and spread, histogram, or luma of ground and region.

        Raises:
            ValueError: For another operator.
        """
        if operator != "level" and operator != "quantiles" and operator != "region":
            raise ValueError("the brightness cue has no operator " + operator + "; allowed: level, quantiles, region")
        if operator == "level":
            return moved(image, donor)
        if operator == "quantiles":
            return matched(image, donor)
        return self.give(image, self.read(image), self.read(donor))

    def remove(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns how steep luma is at each pixel, in grey: what is bright and what is dark, and by how much, is gone.

        See `outlines`. Colour goes with it.
        """
        steep = outlines(image).to(torch.uint8)
        return torch.stack([steep, steep, steep], dim=1)

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the grey levels of the frame, sorted from bright above to dark below, around the region's level.

        The rows hold equal shares of the pixels; the square in the middle shows what stands out, where anything does.
        """
        level = level_of(image)
        _, _, weight = standing_out(level)
        counts, region = histogram(level), weighed(level.long().flatten(1), weight.flatten(1), 256)
        height, width = image.size(2), image.size(3)
        rows = torch.arange(height, dtype=torch.float64, device=image.device).flip(0)
        wanted = (counts.sum(dim=1, keepdim=True) * (rows + 0.5) / height).contiguous()
        plane = torch.searchsorted(counts.cumsum(dim=1), wanted).clamp(max=255)
        plane = plane.unsqueeze(2).expand([image.size(0), height, width]).clone()
        middle = torch.where(region.sum(dim=1) > 0.0, quantile(region, 0.5), quantile(counts, 0.5)).long()
        high, wide = height // 3, width // 3
        plane[:, high : height - high, wide : width - wide] = middle[:, None, None]
        return plane.to(torch.uint8).unsqueeze(1).expand([image.size(0), 3, height, width]).contiguous()
