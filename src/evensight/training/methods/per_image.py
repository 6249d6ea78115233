"""State that a method keeps for every image, written alike on all ranks.

Where several ranks train, each tells the others what its step was of, and all write all of it: so rank 0's checkpoint
has every row, a run goes on with another number of ranks, and nothing has to be merged when a phase needs the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.ranks.group import rows_of_all
from evensight.training.methods.base import Batch


@torch.no_grad()
def seen_in_step(batch: Batch, values: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Returns what the step of all ranks says of each image of the manifest.

    Padding and images of weight 0 say nothing. One that is in the step several times (drawn again, or another view of
    it) counts by the first of them, so that the outcome does not depend on the order in which a device writes. Costs a
    pass over `num_images` rows; nothing waits for the device.

    Args:
        batch: With `index` and `weight` `[B]`.
        values: What this rank says of its images `[B, V]`.
        num_images: N, rows of the manifest.

    Returns:
        Which images the step has, bool `[N]`; and what is said of each, `[N, V]`, of no meaning for the others.
    """
    index, counts = rows_of_all(batch["index"]), rows_of_all(batch["weight"]) > 0
    values = rows_of_all(values)
    last = len(index)
    order = torch.where(counts, torch.arange(last, device=index.device), last)
    first = torch.full((num_images,), last, dtype=torch.int64, device=index.device)
    first.scatter_reduce_(0, index.clamp(min=0), order, "amin")
    return first < last, values[first.clamp(max=last - 1)]
