"""The training images as a method sees them that repairs a network after its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evensight.config import DataConfig
from evensight.data.dataset import Batch, ImageDataset, plain_images
from evensight.data.loader import Loader
from evensight.data.manifest import Manifest
from evensight.runtime.preprocess import PreprocessSpec


class TrainingImages:
    """Iterates over the batches that training took; `plain` gives chosen images as evaluation sees them.

    Args:
        manifest: The prepared data.
        spec: What the network wants of an image.
        data: Batch size and threads.
        batches: What training took, in the order of an epoch; none for a run that is finished.
    """

    def __init__(
        self, manifest: Manifest, spec: PreprocessSpec, data: DataConfig, batches: Iterable[Batch] = ()
    ) -> None:
        self.manifest = manifest
        self._spec = spec
        self._data = data
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def plain(self, positions: NDArray[np.int64]) -> Iterable[Batch]:
        """Returns batches of the training images at `positions` among them, in this order, not augmented.

        An image that cannot be decoded, or that training leaves out, has weight 0.
        """
        dataset = _Chosen(plain_images(self.manifest, "train", self._spec, self._data), positions)
        return Loader(cast(ImageDataset, dataset), self._data.eval_batch_size, False, False, 0, self._data.num_workers)


class _Chosen:
    """Some images of a data set under numbers of their own, as far as a loader asks."""

    def __init__(self, images: ImageDataset, positions: NDArray[np.int64]) -> None:
        self._images, self._positions = images, positions

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, epoch: int, positions: NDArray[np.int64]) -> Batch:
        return self._images.batch(epoch, np.where(positions >= 0, self._positions[positions], -1))
