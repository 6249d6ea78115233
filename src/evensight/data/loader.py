"""Batches in a keyed order, built ahead by threads; the one loader of training and evaluation.

Threads and not processes: decoding, resizing and albumentations release the interpreter's lock, nothing is copied
between processes, and the cache is shared. What comes out depends on (seed, epoch) alone, not on the workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.dataset import Batch, ImageDataset
from evensight.errors import UserError
from evensight.threads import single_threaded_pool

PADDING = -1
_ORDER = 0x0DE5  # keeps the generator of the order apart from others with the same seed


def epoch_order(
    num: int, seed: int, epoch: int, shuffle: bool, weights: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Returns the positions of an epoch `[num]`.

    Args:
        num: Images.
        seed: With `epoch`, the key.
        epoch: From 0.
        shuffle: Whether the order is drawn; else 0 to num - 1.
        weights: Where given, `num` images are drawn with replacement, each by its share of the weights.
    """
    generator = np.random.default_rng([seed, epoch, _ORDER])
    if weights is not None:
        edges = np.cumsum(weights, dtype=np.float64)
        drawn: NDArray[np.int64] = np.searchsorted(edges, generator.random(num) * edges[-1], side="right")
        return np.minimum(drawn, num - 1)
    return generator.permutation(num).astype(np.int64) if shuffle else np.arange(num, dtype=np.int64)


def num_batches(num: int, batch_size: int, drop_last: bool, world_size: int = 1) -> int:
    """Returns the batches of an epoch on each rank; a partial one is dropped unless it is the only one."""
    whole, rest = divmod(num, batch_size * world_size)
    return whole + (1 if rest and (not drop_last or whole == 0) else 0)


def shard(
    order: NDArray[np.int64], number: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Returns the positions of a rank's batch.

    All ranks together take `batch_size * world_size` images in turn. The rest at the end is dealt out evenly, and a
    rank that got one less has `PADDING`, so that every rank makes as many steps of the same size.
    """
    step = order[number * batch_size * world_size : (number + 1) * batch_size * world_size]
    if len(step) == batch_size * world_size:
        return step[rank * batch_size : (rank + 1) * batch_size]
    share = -(-len(step) // world_size)
    own = step[rank * share : (rank + 1) * share]
    return np.concatenate([own, np.full(share - len(own), PADDING, np.int64)])


class Loader:
    """A sized iterable of the batches of an epoch.

    Lightning calls `set_epoch` by itself; in a loop of your own, call it before each epoch. The epoch's order, and what
    is drawn for each image, follow from (seed, epoch), so a loader that is told the epoch and the batches consumed goes
    on exactly where another one stopped. It counts the batches that it handed out, not those that its threads have
    built; a loop that takes batches before their step, as a prefetcher does, keeps a count of its own.

    Args:
        dataset: What to load.
        batch_size: Images a batch on each rank.
        shuffle: Whether the order is drawn.
        drop_last: Whether a partial batch at the end is dropped (never the only one).
        seed: Of the order.
        num_workers: Threads; 0 builds each batch when it is asked for.
        rank: Of this process.
        world_size: Processes that share the images.
        weights: Where given, images are drawn with replacement by these weights, one each.

    Raises:
        UserError: If there is nothing to load, or the weights do not fit.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        if weights is not None and (
            len(weights) != len(dataset) or not np.min(weights) >= 0 or not np.sum(weights) > 0
        ):
            raise UserError(f"sample weights: {len(dataset)} numbers, none below 0 and one above it, are needed.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.num_workers = num_workers
        self.rank = rank
        self.world_size = world_size
        self.weights = weights
        self.epoch = 0
        self._handed_out = 0  # batches of this epoch
        self._resume_at = 0  # batches the next iteration leaves out

    def __len__(self) -> int:
        return num_batches(len(self.dataset), self.batch_size, self.drop_last, self.world_size)

    @property
    def batch_sampler(self) -> Any:
        """Where Lightning looks for `set_epoch`; as `sampler` of the loader it would take us for torch's DataLoader."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch; the one that `load_state_dict` named goes on where it stopped."""
        if epoch != self.epoch:
            self.epoch, self._handed_out, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Returns the epoch and the batches of it that were handed out."""
        return {"epoch": self.epoch, "batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration start behind the batches consumed; after a whole epoch, with the next one."""
        self.epoch, self._handed_out = int(state["epoch"]), int(state["batches"])
        if self._handed_out >= len(self):
            self.epoch, self._handed_out = self.epoch + 1, 0
        self._resume_at = self._handed_out

    def __iter__(self) -> Iterator[Batch]:
        start, self._resume_at = self._resume_at, 0
        self._handed_out = start
        epoch = self.epoch
        order = epoch_order(len(self.dataset), self.seed, epoch, self.shuffle, self.weights)
        batches = self._ahead(epoch, order, start) if self.num_workers else self._in_turn(epoch, order, start)
        for batch in batches:
            self._handed_out += 1
            yield batch

    def _build(self, epoch: int, order: NDArray[np.int64], number: int) -> Batch:
        return self.dataset.batch(epoch, shard(order, number, self.batch_size, self.rank, self.world_size))

    def _in_turn(self, epoch: int, order: NDArray[np.int64], start: int) -> Iterator[Batch]:
        for number in range(start, len(self)):
            yield self._build(epoch, order, number)

    def _ahead(self, epoch: int, order: NDArray[np.int64], start: int) -> Iterator[Batch]:
        pending: deque[Future[Batch]] = deque()
        pool = single_threaded_pool(self.num_workers, "loader")
        try:
            for number in range(start, len(self)):
                pending.append(pool.submit(self._build, epoch, order, number))
                # Two batches a thread: one being built, one ready.
                if len(pending) > 2 * self.num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
