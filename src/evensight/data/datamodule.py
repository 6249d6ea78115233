"""The loaders of a run, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import lightning as L
import numpy as np
from numpy.typing import NDArray

from evensight.config import AugmentConfig, DataConfig
from evensight.data.dataset import ImageDataset
from evensight.data.loader import Loader
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.ranks.devices import shared
from evensight.runtime.preprocess import PreprocessSpec

# The loader has its own threads; OpenCV's would multiply with them.
cv2.setNumThreads(0)


class ImageDataModule(L.LightningDataModule):
    """Training, validation and test images of a manifest.

    Args:
        manifest: The prepared data.
        data: Batch sizes, workers, cache.
        augment: What training does to an image.
        spec: What the network wants of an image.
        seed: Of order, augmentation and noise.
        noise_size: Numbers drawn for each image.
        extra: What the cues and the method need besides pixels: names of `dataset.EXTRA`.
        sample_weights: Of the training images, `[N]`, where the method draws them unevenly.
        allow_targets: Further packages that `augment.transforms` may name.
    """

    def __init__(
        self,
        manifest: Manifest,
        data: DataConfig,
        augment: AugmentConfig,
        spec: PreprocessSpec,
        seed: int,
        noise_size: int = 0,
        extra: Sequence[str] = (),
        sample_weights: NDArray[np.float64] | None = None,
        allow_targets: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.manifest = manifest
        self.data = data
        self.augment = augment
        self.spec = spec
        self.seed = seed
        self.noise_size = noise_size
        self.extra = tuple(extra)
        self.sample_weights = sample_weights
        self.allow_targets = tuple(allow_targets)
        self._datasets: dict[str, ImageDataset] = {}

    def dataset(self, split: str) -> ImageDataset:
        """Returns the images of a split, built once; only ``train`` is augmented.

        Raises:
            UserError: If the split is empty.
        """
        if split not in self._datasets:
            found = ImageDataset(
                self.manifest,
                split,
                self.spec,
                self.augment if split == "train" else None,
                self.seed,
                self.noise_size,
                self.data.cache_mb,
                self.extra,
                self.allow_targets,
                self.data.max_pixels,
            )
            if not found.usable.any():
                raise UserError(f"data {self.manifest.name!r}: the {split} split holds no image that can be decoded.")
            self._datasets[split] = found
        return self._datasets[split]

    def failures(self) -> dict[str, str]:
        """Returns path -> why, of the images that broke after they were prepared, of all splits used so far."""
        return {
            dataset.paths[position]: reason
            for dataset in self._datasets.values()
            for position, reason in sorted(dataset.failures.items())
        }

    def train_dataloader(self) -> Loader:
        """Shuffled or weighted, augmented, without a partial last batch unless it is the only one."""
        trainer = self.trainer
        rank, world_size, num_devices = (
            (trainer.global_rank, trainer.world_size, trainer.num_devices * trainer.num_nodes) if trainer else (0, 1, 1)
        )
        batch_size = shared(self.data.batch_size, num_devices)
        # Learning one batch by heart needs the same images each epoch.
        shuffle = not getattr(trainer, "overfit_batches", 0)
        return Loader(
            self.dataset("train"),
            batch_size,
            shuffle,
            True,
            self.seed,
            self.data.num_workers,
            rank,
            world_size,
            self.sample_weights if shuffle else None,
        )

    def val_dataloader(self) -> Loader:
        """The validation split in its order."""
        return self._plain("validation")

    def test_dataloader(self) -> Loader:
        """The test split in its order."""
        return self._plain("test")

    def _plain(self, split: str) -> Loader:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        dataset, size = self.dataset(split), self.data.eval_batch_size
        return Loader(dataset, size, False, False, self.seed, self.data.num_workers, rank, world_size)
