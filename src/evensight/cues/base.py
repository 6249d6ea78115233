"""What a cue is: one small module over a batch of images that every stage can ask the same things."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Cue(nn.Module):
    """Something a model may look at: colour, texture, background.

    A cue is one file with one subclass and one line in `names.CUES`. Its methods are pure tensor operations: no state,
    no random generator (what is random is passed in), nothing that mixes the images of a batch, so that an image gets
    the same pixels and features to the bit whatever else is in its batch. Everything compiles with `torch.jit.script`
    and takes batches of 0. Images are uint8 `[B, 3, S, S]`, in and out.

    `extra` holds what else is known of the images, by name: `mask` uint8 `[B, 1, S, S]`, `box` float `[B, 4]` in S x S
    coordinates, `size` int `[B, 2]` of the original. A cue names in `needs` what it cannot do without.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1  # raised whenever a pixel or a feature changes; recorded in every artifact
    noise_size: ClassVar[int] = 0  # K of the noise that `randomize` uses, uniform in [0, 1)
    needs: ClassVar[tuple[str, ...]] = ()
    operators: ClassVar[tuple[str, ...]] = ()  # what `transplant` knows; empty: the cue can be described only
    removable: ClassVar[bool] = False  # whether `remove` is there
    reads: ClassVar[bool] = False  # whether `read` and `give` are there: a few numbers are all that a donor gives

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns what the cue says of each image, as features float32 `[B, F]`, finite, roughly in [-1, 1]."""
        raise NotImplementedError

    def randomize(
        self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns each image with this cue taken from its donor, all else kept: what focus trains on."""
        raise NotImplementedError

    def read(self, image: Tensor) -> Tensor:
        """Returns what `give` needs of an image and of its donor, float64 `[B, K]`; only where the cue `reads`.

        Whoever pairs the images of a batch with one another reads each once.
        """
        raise NotImplementedError

    def give(self, image: Tensor, own: Tensor, donor: Tensor) -> Tensor:
        """Returns what `randomize` does, by what `read` says of each image and its donor; only where it `reads`."""
        raise NotImplementedError

    def transplant(
        self, operator: str, image: Tensor, donor: Tensor, extra: dict[str, Tensor], donor_extra: dict[str, Tensor]
    ) -> Tensor:
        """Returns each image with this cue taken from its donor by one of `operators`: what reliance measures with."""
        raise NotImplementedError

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns each image reduced to what this cue says of it, for people to see; same shape and type."""
        raise NotImplementedError

    def remove(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns each image without this cue, nothing put in its place; only where `removable`."""
        raise NotImplementedError
