"""What is fitted on data before an export: a temperature on validation images, a probe a cue on training images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.cues import Cue
from evensight.cues.probe import Probe, fit_probe
from evensight.data.dataset import Batch, ImageDataset
from evensight.data.loader import single_threaded_pool
from evensight.models.network import Network

# A linear probe of a few dozen features gains nothing from more images than this.
MOST_PROBE_IMAGES = 20_000
Result = TypeVar("Result")


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


def fit_probes(cues: Sequence[Cue], dataset: ImageDataset, seed: int, batch_size: int) -> dict[str, Probe]:
    """Fits, for each cue, what a model that sees this cue alone would say, on at most 20,000 images.

    Cues that need more of an image than the data set gives are left out.
    """
    usable = [cue for cue in cues if set(cue.needs) <= set(dataset.extra)]

    def work(batch: Batch) -> list[Tensor]:
        known = batch["weight"] > 0
        # Batches come channels_last, in which a cue's arithmetic on one channel takes twice as long.
        image = batch["image"][known].contiguous()
        extra = {name: value[known] for name, value in batch["extra"].items()}
        return [batch["label"][known], *(cue.describe(image, extra) for cue in usable)]

    parts = mapped(dataset, work, batch_size, MOST_PROBE_IMAGES, seed)
    if not usable or not parts:
        return {}
    labels, *features = (torch.cat(column) for column in zip(*parts, strict=True))
    found = zip(usable, features, strict=True)
    return {cue.name: fit_probe(values, labels, dataset.num_classes, seed) for cue, values in found}


def mapped(
    dataset: ImageDataset, work: Callable[[Batch], Result], batch_size: int, most: int | None = None, seed: int = 0
) -> list[Result]:
    """Returns what `work` makes of each batch of a split, in order; every core takes whole batches.

    Args:
        dataset: Without augmentation.
        work: Called in several threads, each with a torch of one thread.
        batch_size: Images of a batch.
        most: Take at most so many images, drawn with `seed`.
        seed: Of the draw.
    """
    positions = np.flatnonzero(dataset.usable)
    if most is not None and len(positions) > most:
        positions = np.sort(np.random.default_rng(seed).permutation(positions)[:most])
    chunks = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]

    def done(chunk: NDArray[np.int64]) -> Result:
        with torch.inference_mode():
            return work(dataset.batch(0, chunk))

    with single_threaded_pool(len(os.sched_getaffinity(0)), "fit") as pool:
        return list(pool.map(done, chunks))
