"""Which weights to keep: `best.ckpt` and `last.ckpt`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

from evensight.training.callbacks.bias_monitor import BiasMonitor
from evensight.training.checkpoint import copy_checkpoint

Key = tuple[float, ...]


class BestCheckpoint(Checkpoint):
    """Writes `last.ckpt` after every epoch, and `best.ckpt` when the epoch is better than all before it.

    Better is: more requirements whose estimate meets its bound, among those measured every epoch on at least 30
    images; then a higher primary metric, if it is on at least 30; then a lower validation loss. A choice, not a
    verdict. A loss that is not finite is never better. Without validation the last epoch is the best.

    Runs at the end of an epoch, after everything else; costs writing the weights once, twice when they are the best.

    Args:
        folder: Where the two files go.
        monitor: Whose `standing` ranks the epochs; without it the validation loss does.

    Attributes:
        epoch: The best epoch, None before the first.
    """

    def __init__(self, folder: Path, monitor: BiasMonitor | None = None) -> None:
        self.best, self.last = folder / "best.ckpt", folder / "last.ckpt"
        self.monitor = monitor
        self.key: Key | None = None
        self.epoch: int | None = None
        self._validated = False

    def begin_phase(self) -> None:
        """Forgets the best so far: the weights of an earlier phase are not what the method is after."""
        self.key, self.epoch = None, None

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Notes that there are figures to go by."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the checkpoints. `best` comes first: a crash in between repeats the epoch from the older `last`."""
        key = self._key(trainer) if self._validated else None
        self._validated = False
        better = is_better(key, self.key)
        if better:
            self.key, self.epoch = key, trainer.current_epoch
            trainer.save_checkpoint(self.best)
            if trainer.is_global_zero:
                copy_checkpoint(self.best, self.last)
            trainer.strategy.barrier("last.ckpt")
        else:
            trainer.save_checkpoint(self.last)

    def state_dict(self) -> dict[str, Any]:
        """Keeps which epoch is the best, and by what."""
        return {"key": None if self.key is None else list(self.key), "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over which epoch is the best."""
        key = state_dict["key"]
        self.key, self.epoch = None if key is None else tuple(key), state_dict["epoch"]

    def _key(self, trainer: lightning.Trainer) -> Key:
        loss = trainer.callback_metrics.get("val/loss")
        # Less loss is more; an epoch without a loss comes after every one with it.
        less = -float(loss) if loss is not None else float("-inf")
        standing = self.monitor.standing if self.monitor is not None else None
        return (*(standing.rank if standing is not None else ()), less)


def is_better(key: Key | None, than: Key | None) -> bool:
    """Returns whether an epoch of this key replaces the best one.

    Args:
        key: None where the epoch was not validated.
        than: Of the best so far, None where there is none or it was not validated.
    """
    if key is None:
        return than is None
    if any(math.isnan(part) for part in key):
        return False
    return than is None or key > than
