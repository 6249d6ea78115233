"""What is fitted on data before an export: a temperature on validation images, a probe a cue on training images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.cues import Cue
from evensight.cues.probe import Probe
from evensight.cues.probing import described, fit_probes
from evensight.data.dataset import Batch, ImageDataset
from evensight.data.mapped import mapped
from evensight.models.network import Network

# A linear probe of a few dozen features gains nothing from more images than this.
MOST_PROBE_IMAGES = 20_000


def judged(network: Network, dataset: ImageDataset, batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns the logits [N, C] and labels [N] of every image that can be decoded."""

    def work(batch: Batch) -> tuple[Tensor, Tensor]:
        known = batch["weight"] > 0
        return network(batch["image"])[known], batch["label"][known]

    parts = mapped(dataset, work, batch_size)
    if not parts:
        return np.zeros((0, dataset.num_classes), np.float32), np.zeros(0, np.int64)
    logits, labels = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return logits, labels


def fitted_probes(cues: Sequence[Cue], dataset: ImageDataset, seed: int, batch_size: int) -> dict[str, Probe]:
    """Fits, for each cue, what a model that sees this cue alone would say, on at most 20,000 images.

    Cues that need more of an image than the data set gives are left out.
    """
    usable = [cue for cue in cues if set(cue.needs) <= set(dataset.extra)]
    parts = mapped(dataset, partial(described, usable), batch_size, MOST_PROBE_IMAGES, seed) if usable else []
    return fit_probes(parts, dataset.num_classes, seed)
