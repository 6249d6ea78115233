"""The surround cue: what lies around the middle of a frame, for images that come without masks or boxes.

It is not the background: it is the periphery, everything outside a central ellipse that holds half of the frame. Where
the object reaches beyond the ellipse, part of it is taken for surround; where the ground shows inside, it is not. It
says what photographers make it say: objects are mostly put in the middle. With masks or boxes, `background` is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.regions import blended, filled, ground_statistics, restyled


def distance(image: Tensor) -> Tensor:
    """Returns the squared distance of each pixel from the middle, 1 at the middle of each side, `[B, H, W]`."""
    height, width = image.size(2), image.size(3)
    down = (2.0 * torch.arange(height, dtype=torch.float32, device=image.device) + (1.0 - height)) / height
    across = (2.0 * torch.arange(width, dtype=torch.float32, device=image.device) + (1.0 - width)) / width
    plane = (down * down)[:, None] + (across * across)[None, :]
    return plane.unsqueeze(0).expand([image.size(0), height, width])


def periphery(image: Tensor) -> Tensor:
    """Returns which pixels are surround, uint8 0 or 1 `[B, H, W]`: outside the ellipse that holds half of the frame."""
    return (distance(image) >= 0.64).to(torch.uint8)


def seam(image: Tensor) -> Tensor:
    """Returns how far each pixel takes the donor's surround, uint8 0 to 255 `[B, H, W]`.

    0 up to 0.71 of the way from the middle to a side, 255 from 0.88 on: a hard seam would be an outline of its own.
    """
    return ((distance(image) - 0.5) / 0.28).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)


class Surround(Cue):
    """What lies around the middle: colours, luma and texture outside a central ellipse. It needs no mask.

    `swap` takes the donor's periphery with a soft seam; `tone` moves mean colour and contrast of the periphery to the
    donor's and keeps what is drawn there. `randomize` is `swap`. There is no `remove`: a flat surround is a new one.
    """

    name = "surround"
    version = 1
    noise_size = 0
    operators = ("swap", "tone")

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the 45 features of `ground_statistics` of the periphery, float32."""
        return ground_statistics(image, periphery(image)).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's periphery; `noise` `[B, 0]` is not used."""
        return blended(image, donor, seam(image))

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's periphery (`swap`), or its own in the donor's tones (`tone`).

        Raises:
            ValueError: For another operator.
        """
        if operator != "swap" and operator != "tone":
            raise ValueError("the surround cue has no operator " + operator + "; allowed: swap, tone")
        if operator == "swap":
            return blended(image, donor, seam(image))
        around = periphery(image)
        return blended(image, restyled(image, around, donor, around), seam(image))

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the periphery, the middle filled smoothly from it."""
        return filled(image, periphery(image))
