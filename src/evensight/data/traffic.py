"""Traffic that a data set can draw: images that a model would meet after its release, with the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evensight.config import DataConfig
from evensight.errors import UserError

# The waves of traffic that a cycle sends, in its order; what each means to a data set is in its `waves`.
WAVES = ("as_trained", "cue_free", "new_background")


@dataclass(frozen=True)
class Drawn:
    """Images with the truth about them.

    Attributes:
        images: RGB, uint8 [N, H, W, 3].
        labels: Class names [N].
        attributes: By name, the level of each image [N]; None where it is none of the objective's.
    """

    images: NDArray[np.uint8]
    labels: list[str]
    attributes: Mapping[str, list[str | None]]


@runtime_checkable
class DrawsTraffic(Protocol):
    """A reader that can draw traffic. No image of it is one of its splits'."""

    @property
    def waves(self) -> Mapping[str, str]:
        """By name of WAVES, what a wave is like, in a few words."""

    def draw_traffic(self, wave: str, start: int, count: int) -> Drawn:
        """Draws the images `start` to `start + count - 1` of a wave; the same ones whenever it is asked.

        Raises:
            UserError: If there is no such wave.
        """


def traffic_of(config: DataConfig) -> DrawsTraffic:
    """Returns the reader as one that draws traffic.

    Raises:
        UserError: If it cannot.
    """
    if isinstance(config, DrawsTraffic):
        return config
    raise UserError(
        f"data: the reader {config.reader!r} cannot draw traffic, so no cycle can be simulated with it; "
        "choose experiment=shapes, or run the stages one by one on your own traffic."
    )
