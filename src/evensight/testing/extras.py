"""What is known of the images of a split beside their pixels, as the network sees them: masks, boxes, sizes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evensight.data.dataset import ImageDataset
from evensight.data.manifest import Manifest
from evensight.records.contract import Contract
from evensight.runtime.preprocess import PreprocessSpec


class Extras:
    """Masks, boxes and sizes of a split, cropped and resized as its images are. Safe to share between threads.

    Args:
        manifest: With the split.
        split: Its name.
        contract: Whose preprocessing brings a mask to the size of the network's input.
        needs: What is wanted, of `data.dataset.EXTRA`.

    Raises:
        UserError: If something of it is not known of these images.
    """

    def __init__(self, manifest: Manifest, split: str, contract: Contract, needs: Collection[str]) -> None:
        spec, limit = PreprocessSpec(**contract.preprocessing.model_dump()), contract.limits.max_pixels
        wanted = sorted(needs)
        self._images = (
            ImageDataset(manifest, split, spec, None, seed=0, extra=wanted, max_pixels=limit) if needs else None
        )

    def at(self, positions: NDArray[np.int64]) -> dict[str, Tensor]:
        """Returns what is known of the images at `positions` [B] of the split, each `[B, ...]`; 0 where unknown."""
        return {} if self._images is None else dict(self._images.batch(0, positions)["extra"])
