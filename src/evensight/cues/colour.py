"""The colour cue: the dominant hue, its strength and its luma, read and turned in YIQ.

An image's coloured region is found without a mask: every pixel counts by its squared chroma, so a vivid shape on grey
noise, a coloured digit on black and the sky of a photograph each weigh what they show. All sums are of whole numbers:
exact in any order, so an image gives the same figures in any batch, on any number of threads, on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue

# TorchScript reads no module constants, so these are the defaults of arguments.
NUM_BINS = 16
# An image whose chroma-weighted chroma is below this many grey levels (noise, JPEG) has no coloured region.
LEAST_STRENGTH = 8.0
# A pale image takes at most this multiple of its own chroma; more would show its noise (shapes trial, 0 to 3).
MOST_GAIN = 3.0


def yiq(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns luma, I and Q of uint8 RGB `[B, 3, H, W]` as float32 `[B, H, W]`: whole thousandths of a grey level.

    The coefficients are NTSC's to three places; those of I and Q add up to 0, so grey is exactly without chroma.
    """
    red, green, blue = image[:, 0].float(), image[:, 1].float(), image[:, 2].float()
    luma = (299.0 * red).add_(green, alpha=587.0).add_(blue, alpha=114.0)
    i = (596.0 * red).add_(green, alpha=-275.0).add_(blue, alpha=-321.0)
    q = (212.0 * red).add_(green, alpha=-523.0).add_(blue, alpha=311.0)
    return luma, i, q


def hue_bin(i: Tensor, q: Tensor) -> Tensor:
    """Returns which of 16 sectors of 22.5 degrees a chroma of whole numbers lies in, as whole float32.

    `atan2` differs in the last bit between vectorised and single elements; comparisons do not.
    """
    a, b = i.abs(), q.abs()
    low, high = 0.41421356 * a, 0.41421356 * b
    in_quadrant = (b > low).float() + (b > a).float() + (high > a).float()
    left, below = (i < 0.0).float(), (q < 0.0).float()
    upper = in_quadrant + left * (7.0 - 2.0 * in_quadrant)
    return upper + below * (15.0 - 2.0 * upper)


def region(image: Tensor, least_strength: float = LEAST_STRENGTH) -> Tensor:
    """Returns what the coloured region of each image is, float64 `[B, 5]`.

    Columns: cosine and sine of the dominant hue, strength (mean chroma, grey levels), luma (grey levels), and the total
    weight (squared grey levels). Means are weighted by squared chroma. All 0 where there is no coloured region.
    """
    luma, i_fine, q_fine = yiq(image)
    # Whole quarters of a level: every term below is a whole number, and float64 adds those up exactly to 2^53.
    i, q = i_fine.mul_(0.004).round_(), q_fine.mul_(0.004).round_()
    weight = (i * i).addcmul_(q, q)
    chroma = weight.sqrt().round_()
    level = luma.mul_(0.001).round_()
    total = weight.sum(dim=[1, 2], dtype=torch.float64)
    sum_i = (weight * i).sum(dim=[1, 2], dtype=torch.float64)
    sum_q = (weight * q).sum(dim=[1, 2], dtype=torch.float64)
    strength = (weight * chroma).sum(dim=[1, 2], dtype=torch.float64) / total.clamp(min=1.0) / 4.0
    mean_luma = (weight * level).sum(dim=[1, 2], dtype=torch.float64) / total.clamp(min=1.0)
    # Opposite colours in exact balance have no dominant hue: length 0, and the turn is then none.
    length = (sum_i * sum_i + sum_q * sum_q).sqrt().clamp(min=1.0)
    columns = torch.stack([sum_i / length, sum_q / length, strength, mean_luma, total / 16.0], dim=1)
    return torch.where(strength.unsqueeze(1) >= least_strength, columns, torch.zeros_like(columns))


def hue_histogram(image: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Returns the share of squared chroma in each of 16 hues, float64 `[B, 16]`; 0 for an image without any."""
    _, i_fine, q_fine = yiq(image)
    i, q = i_fine.mul_(0.004).round_(), q_fine.mul_(0.004).round_()
    weight = (i * i).addcmul_(q, q).double().flatten(1)
    counts = torch.zeros([image.size(0), num_bins], dtype=torch.float64, device=image.device)
    counts = counts.scatter_add(1, hue_bin(i, q).long().flatten(1), weight)
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1.0)


def turn(
    image: Tensor, own: Tensor, donor: Tensor, move_luma: bool, mixed: bool = False, most_gain: float = MOST_GAIN
) -> Tensor:
    """Gives each image the hue and strength of another region, and its luma where `move_luma`.

    Args:
        image: uint8 `[B, 3, H, W]`.
        own: `region(image)`.
        donor: `region` of the donors; a donor without colour takes the colour away.
        move_luma: Also moves the luma of the coloured region to the donor's.
        mixed: Every pixel's luma moves by its chroma's share of the region's. That is exact where each pixel is the
            region's one colour, shaded or mixed with grey: it becomes the donor's colour, shaded or mixed alike. Else
            pixels of less than a quarter of the chroma keep their luma, and those of three quarters move in full.
        most_gain: Largest factor on the chroma.

    Returns:
        uint8 `[B, 3, H, W]`. Where a colour does not fit into 0 to 255 at its luma, its chroma gives way, not the luma.
        An image without a coloured region is returned as it is.
    """
    # Without a region of its own an image is turned by nothing, neither stretched nor moved: each pixel rounds back to
    # what it was (all 2^24 colours do).
    coloured = own[:, 2] > 0.0
    gain = (donor[:, 2] / own[:, 2].clamp(min=1.0)).clamp(max=most_gain)
    gain = torch.where(coloured, gain, torch.ones_like(gain))
    cosine = gain * (own[:, 0] * donor[:, 0] + own[:, 1] * donor[:, 1])
    sine = gain * (own[:, 0] * donor[:, 1] - own[:, 1] * donor[:, 0])
    # A grey donor says nothing of the hue or luma; a balanced image turns by nothing, and keeps its gain.
    balanced = ((own[:, 0] == 0.0) & (own[:, 1] == 0.0)) | ((donor[:, 0] == 0.0) & (donor[:, 1] == 0.0))
    cosine = torch.where(balanced, gain, cosine)
    shift = torch.where(coloured & (donor[:, 2] > 0.0), donor[:, 3] - own[:, 3], torch.zeros_like(own[:, 3]))

    luma, i, q = yiq(image)
    y = luma.mul_(0.001)
    if move_luma:
        chroma = (i * i).add_(q * q).sqrt_()
        slope = 0.001 / own[:, 2].clamp(min=1.0)
        if mixed:
            membership = chroma.mul_(_per_image(slope))
        else:
            # From 0 to 1 between a quarter and three quarters of the strength: grey ground stays.
            membership = chroma.mul_(_per_image(2.0 * slope)).sub_(0.5).clamp_(0.0, 1.0)
        y = y.add_(membership.mul_(_per_image(shift))).clamp_(0.0, 255.0)

    # Back to RGB, channel by channel: the inverse of the three rows in `yiq`, with the turn folded in.
    red = i * _per_image(0.9556880603611566 * cosine + 0.6198580944563706 * sine)
    red.add_(q * _per_image(0.6198580944563706 * cosine - 0.9556880603611566 * sine))
    green = i * _per_image(-0.27158179694405865 * cosine - 0.6468738161384014 * sine)
    green.add_(q * _per_image(0.27158179694405865 * sine - 0.6468738161384014 * cosine))
    blue = i * _per_image(-1.108177326682662 * cosine + 1.7050645599191816 * sine)
    blue.add_(q * _per_image(1.108177326682662 * sine + 1.7050645599191816 * cosine))
    most = torch.maximum(torch.maximum(red, green), blue).clamp_(min=1e-3)
    least = torch.minimum(torch.minimum(red, green), blue).neg_().clamp_(min=1e-3)
    fits = torch.minimum((255.0 - y).div_(most), y / least).clamp_(max=0.001)
    pixels = torch.empty_like(image)
    pixels[:, 0] = red.mul_(fits).add_(y).round_().clamp_(0.0, 255.0)
    pixels[:, 1] = green.mul_(fits).add_(y).round_().clamp_(0.0, 255.0)
    pixels[:, 2] = blue.mul_(fits).add_(y).round_().clamp_(0.0, 255.0)
    return pixels


def _per_image(values: Tensor) -> Tensor:
    return values.float()[:, None, None]


class Colour(Cue):
    """The colour of the coloured region.

    `hue` moves hue and strength and keeps every pixel's luma; `hue_luma` moves the luma of the coloured region too;
    `tint` moves it by how much of the region's colour each pixel has. `randomize` is `tint`: the others leave luma and
    chroma at odds in shaded pixels and at edges, where a network reads the old colour (two colours of IRM's digits: .10
    of the test split right by `hue_luma`, .74 by `tint`). It uses no noise: the donor is all that is random. In a trial
    on shapes noisier operators (jitter, random matrices, moment matching) trained worse.
    """

    name = "colour"
    version = 3
    noise_size = 0
    operators = ("hue", "hue_luma", "tint")
    removable = True
    reads = True

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 23 features, float32: the hue histogram, the hue (1st and 2nd harmonic), strength, luma.

        How large the region is says nothing of its colour, and a probe would name shapes by it (digits in random
        colours: 24 % with it, 11 % without, the largest class 11 %).
        """
        own = region(image)
        cosine, sine, strength, luma, _ = own.unbind(dim=1)
        rows = [cosine, sine, cosine * cosine - sine * sine, 2.0 * cosine * sine]
        rows += [strength / 128.0, strength * strength / 16384.0, luma / 255.0]
        coloured = (strength > 0.0).double().unsqueeze(1)
        return torch.cat([hue_histogram(image) * coloured, torch.stack(rows, dim=1)], dim=1).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image in its donor's hue, strength and luma; `noise` `[B, 0]` is not used."""
        return self.give(image, self.read(image), self.read(donor))

    def read(self, image: Tensor) -> Tensor:
        """Returns `region` of each image."""
        return region(image)

    def give(self, image: Tensor, own: Tensor, donor: Tensor) -> Tensor:
        """Returns each image in the hue, strength and luma of another region."""
        return turn(image, own, donor, True, True)

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image in its donor's hue and strength (`hue`), or in its luma too (`hue_luma`, `tint`).

        Raises:
            ValueError: For another operator.
        """
        if operator != "hue" and operator != "hue_luma" and operator != "tint":
            raise ValueError("the colour cue has no operator " + operator + "; allowed: hue, hue_luma, tint")
        return turn(image, region(image), region(donor), operator != "hue", operator == "tint")

    def remove(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the image in grey, by its luma."""
        luma, _, _ = yiq(image)
        level = (luma * 0.001).round().to(torch.uint8)
        return torch.stack([level, level, level], dim=1)

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the hues of the image as bands, as high as their shares, at the region's strength and luma.

        Mid-grey where there is no coloured region.
        """
        own = region(image)
        height, width = image.size(2), image.size(3)
        shares = hue_histogram(image).cumsum(dim=1)
        rows = (torch.arange(height, dtype=torch.float64, device=image.device) + 0.5) / height
        hue = torch.searchsorted(shares, rows.expand([image.size(0), height]).contiguous()).clamp(max=15)
        # The middles of the 16 sectors: cosines of 11.25 degrees and on, quarter by quarter.
        quarter = [0.9807852804, 0.8314696123, 0.5555702330, 0.1950903220]
        back = quarter[::-1]
        minus, minus_back = [-x for x in quarter], [-x for x in back]
        cosine = torch.tensor(quarter + minus_back + minus + back, dtype=torch.float64, device=image.device)[hue]
        sine = torch.tensor(back + quarter + minus_back + minus, dtype=torch.float64, device=image.device)[hue]
        # A red pixel for each row, turned to what the row shows.
        red = torch.tensor([200, 50, 50], dtype=torch.uint8, device=image.device).expand([image.size(0) * height, 3])
        red = red[:, :, None, None]
        wanted = torch.stack([cosine, sine, own[:, 2:3].expand_as(sine), own[:, 3:4].expand_as(sine)], dim=2)
        bands = turn(red, region(red), wanted.flatten(0, 1), True).view([image.size(0), height, 3]).transpose(1, 2)
        bands = torch.where((own[:, 2] > 0.0)[:, None, None], bands, torch.full_like(bands, 128))
        return bands.unsqueeze(3).expand([image.size(0), 3, height, width]).contiguous()
