"""The background cue: what lies behind the object, by its mask. Boxes become masks with `regions.box_mask`.

Where no mask is known (it is 0 all over) an image keeps its background, lends none, and its features are all 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.regions import blended, filled, ground_statistics, known_ground, restyled


def emptied(image: Tensor, mask: Tensor) -> Tensor:
    """Returns each image without its object: the hole is filled from its mirror images, and what is left smoothly.

    Args:
        image: uint8 `[B, 3, H, W]`.
        mask: uint8 `[B, 1, H, W]`, how far the object covers each pixel.

    Returns:
        uint8 `[B, 3, H, W]`; pixels of the background as they were.
    """
    ground = known_ground(mask)
    result, known = image, ground
    # Left and right first: a mirrored sky stays above.
    for axes in [[2], [1], [1, 2]]:
        mirrored, there = image.flip([axis + 1 for axis in axes]), ground.flip(axes)
        take = (known == 0) & (there > 0)
        result = torch.where(take.unsqueeze(1), mirrored, result)
        known = known | there
    return filled(result, known)


def replaced(image: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor) -> Tensor:
    """Returns each image with its donor's background behind its own object; as it was where a mask is not known."""
    known = (known_ground(mask).flatten(1).amax(dim=1) > 0) & (known_ground(donor_mask).flatten(1).amax(dim=1) > 0)
    composed = blended(emptied(donor, donor_mask), image, mask[:, 0])
    return torch.where(known[:, None, None, None], composed, image)


def toned(image: Tensor, mask: Tensor, donor: Tensor, donor_mask: Tensor) -> Tensor:
    """Gives each background its donor's mean colour and spread of luma; its pattern stays, and the object."""
    moved = restyled(image, known_ground(mask), donor, known_ground(donor_mask))
    return blended(moved, image, mask[:, 0])


class Background(Cue):
    """What lies behind the object.

    `swap` puts the donor's background behind the object (the donor's own object is filled from its mirror image);
    `tone` moves mean colour and contrast of the background to the donor's and keeps what is drawn there. `randomize` is
    `swap`. There is no `remove`: a flat ground would cut the object out, and hide objects of its colour.
    """

    name = "background"
    version = 1
    noise_size = 0
    needs = ("mask",)
    operators = ("swap", "tone")

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the 45 features of `ground_statistics` of the background alone, float32."""
        return ground_statistics(image, known_ground(extra["mask"])).float()

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's background; `noise` `[B, 0]` is not used."""
        return replaced(image, extra["mask"], donor, donor_extra["mask"])

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns the image with its donor's background (`swap`), or its own in the donor's tones (`tone`).

        Raises:
            ValueError: For another operator.
        """
        if operator != "swap" and operator != "tone":
            raise ValueError("the background cue has no operator " + operator + "; allowed: swap, tone")
        if operator == "swap":
            return replaced(image, extra["mask"], donor, donor_extra["mask"])
        return toned(image, extra["mask"], donor, donor_extra["mask"])

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns the background, the object filled smoothly from it; mid-grey where no mask is known."""
        return filled(image, known_ground(extra["mask"]))
