"""One pass over a split: what a function makes of each batch, on every core."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from evensight.data.dataset import Batch, ImageDataset
from evensight.threads import single_threaded_pool

Result = TypeVar("Result")


def mapped(
    dataset: ImageDataset, work: Callable[[Batch], Result], batch_size: int, most: int | None = None, seed: int = 0
) -> list[Result]:
    """Returns what `work` makes of each batch of a split, in order; every core takes whole batches.

    Args:
        dataset: Without augmentation; images that were found broken or are left out are not asked for.
        work: Called in several threads, each with a torch of one thread and without gradients.
        batch_size: Images of a batch.
        most: Take at most so many images, drawn with `seed`, in their order.
        seed: Of the draw.
    """
    positions = np.flatnonzero(dataset.usable)
    if most is not None and len(positions) > most:
        positions = np.sort(np.random.default_rng(seed).permutation(positions)[:most])
    chunks = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]

    def done(chunk: NDArray[np.int64]) -> Result:
        with torch.inference_mode():
            return work(dataset.batch(0, chunk))

    with single_threaded_pool(len(os.sched_getaffinity(0)), "mapped") as pool:
        return list(pool.map(done, chunks))
