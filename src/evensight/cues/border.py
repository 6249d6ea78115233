"""The border cue: the outermost strip of a frame, 1/16 of its side: marks, frames, vignettes, what scanners leave."""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.colour import yiq
from evensight.cues.regions import restyled


def strip_width(side: int) -> int:
    """Returns how wide the strip of an image of this side is, in pixels: a sixteenth of it, at least 2."""
    return max(2, side // 16)


def strip(image: Tensor) -> Tensor:
    """Returns which pixels are border, uint8 0 or 1 `[B, H, W]`."""
    width = strip_width(image.size(2))
    inside = torch.ones([image.size(0), image.size(2), image.size(3)], dtype=torch.uint8, device=image.device)
    inside[:, width:-width, width:-width] = 0
    return inside


def swapped(image: Tensor, donor: Tensor) -> Tensor:
    """Returns each image with its donor's strip; what lies inside stays to the bit."""
    return torch.where(strip(image).unsqueeze(1) > 0, donor, image)


def toned(image: Tensor, donor: Tensor) -> Tensor:
    """Gives each side of the strip its donor's mean colour and spread of luma, and keeps its pattern."""
    width = strip_width(image.size(2))
    low, high = image.size(2) - width, image.size(3) - width
    result = image.clone()
    # Top and bottom take the corners.
    result[:, :, :width] = _restyled(image[:, :, :width], donor[:, :, :width])
    result[:, :, low:] = _restyled(image[:, :, low:], donor[:, :, low:])
    result[:, :, width:low, :width] = _restyled(image[:, :, width:low, :width], donor[:, :, width:low, :width])
    result[:, :, width:low, high:] = _restyled(image[:, :, width:low, high:], donor[:, :, width:low, high:])
    return result


def _restyled(part: Tensor, donor: Tensor) -> Tensor:
    every = torch.ones([part.size(0), part.size(2), part.size(3)], dtype=torch.uint8, device=part.device)
    return restyled(part, every, donor, every)


def reflected(image: Tensor) -> Tensor:
    """Returns each image with its strip replaced by the mirror image of what lies inside it."""
    width = strip_width(image.size(2))
    place = torch.arange(image.size(2), device=image.device)
    last = image.size(2) - 1
    # At distance t from the edge, the pixel at 2 * width - 1 - t.
    place = torch.where(place < width, 2 * width - 1 - place, place)
    place = torch.where(place > last - width, 2 * (last - width) + 1 - place, place)
    return image.index_select(2, place).index_select(3, place)


def sides(plane: Tensor, width: int) -> Tensor:
    """Returns the sides (top, bottom, left, right) of `[B, S, S]`, outermost row first, `[B, 4, w, S]`."""
    left, right = plane[:, :, :width].transpose(1, 2), plane[:, :, -width:].flip(2).transpose(1, 2)
    return torch.stack([plane[:, :width], plane[:, -width:].flip(1), left, right], dim=1)


class Border(Cue):
    """The outermost strip: 2 pixels of 28, 4 of 64, 6 of 96.

    `swap` takes the donor's strip as it is, `tone` moves mean colour and contrast of each side to the donor's and keeps
    the own pattern: a mark that the strip carries shows in the first, a frame's colour in both. `randomize` is `swap`.
    `remove` reflects the inside into the strip: a constant would be a new mark, the same on all.
    """

    name = "border"
    version = 1
    noise_size = 0
    operators = ("swap", "tone")
    removable = True

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 64 features, float32, of four sides.

        For each side (top, bottom, left, right): mean luma, I and Q in each of four quarters along it (48 features,
        by colour, side, quarter); then spread of luma, lowest and highest luma as against the side's mean, and chroma.
        """
        width = strip_width(image.size(2))
        luma, i, q = yiq(image)
        rows = []
        for plane in [luma, i, q]:
            side = sides(plane.mul_(0.001).round_(), width)
            for quarter in range(4):
                low, high = image.size(2) * quarter // 4, image.size(2) * (quarter + 1) // 4
                part = side[:, :, :, low:high]
                rows.append(part.sum(dim=[2, 3], dtype=torch.float64) / max(1, width * (high - low)))
        scale = torch.tensor([255.0] * 4 + [96.0] * 8, dtype=torch.float64, device=image.device)
        means = torch.stack(rows, dim=1) / scale[:, None]
        level = sides(luma, width).flatten(2)  # `mul_` above made it whole grey levels
        count = float(level.size(2))
        mean = level.sum(dim=2, dtype=torch.float64) / count
        square = (level * level).sum(dim=2, dtype=torch.float64) / count
        spread = (square - mean * mean).clamp(min=0.0).sqrt() / 64.0
        chroma = sides((i * i).addcmul_(q, q), width).flatten(2).sum(dim=2, dtype=torch.float64)
        chroma = (chroma / count).sqrt() / 96.0
        lowest, highest = (level.amin(dim=2) - mean) / 128.0, (level.amax(dim=2) - mean) / 128.0
        return torch.cat([means.flatten(1), spread, lowest, highest, chroma], dim=1).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's strip; `noise` `[B, 0]` is not used."""
        return swapped(image, donor)

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's strip (`swap`), or its strip in the donor's tones (`tone`).

        Raises:
            ValueError: For another operator.
        """
        if operator != "swap" and operator != "tone":
            raise ValueError("the border cue has no operator " + operator + "; allowed: swap, tone")
        return swapped(image, donor) if operator == "swap" else toned(image, donor)

    def remove(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the image with what lies inside reflected into its strip."""
        return reflected(image)

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the strip on mid-grey."""
        return torch.where(strip(image).unsqueeze(1) > 0, image, torch.full_like(image, 128))
