"""Which weights to keep: `best.ckpt`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

from evensight.training.callbacks.bias_monitor import BiasMonitor

Key = tuple[float, ...]


class BestCheckpoint(Checkpoint):
    """Writes `best.ckpt` after an epoch that is better than all before it.

    Better is: under `focus=auto`, more of the bounds that it steers by met; then more requirements whose estimate meets
    its bound, among those measured every epoch on at least 30 images; then a higher primary metric, if it is on at
    least 30; then a lower validation loss. A choice, not a verdict. A loss that is not finite is never better. Without
    validation the last epoch is the best.

    Runs at the end of an epoch, after everything but `LastCheckpoint`; costs writing the weights when they are the
    best. Without room for them the run ends: it would lack what it is judged by.

    Args:
        path: The file.
        monitor: Whose `standing` ranks the epochs; without it the validation loss does.

    Attributes:
        epoch: The best epoch, None before the first.
    """

    def __init__(self, path: Path, monitor: BiasMonitor | None = None) -> None:
        self.path, self.monitor = path, monitor
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
        """Writes the checkpoint, if this epoch is better."""
        key = self._key(trainer) if self._validated else None
        self._validated = False
        if is_better(key, self.key):
            self.key, self.epoch = key, trainer.current_epoch
            trainer.save_checkpoint(self.path, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        """Keeps which epoch is the best, and by what, and whether this one was validated."""
        key = None if self.key is None else list(self.key)
        return {"key": key, "epoch": self.epoch, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them over."""
        key, self._validated = state_dict["key"], state_dict["validated"]
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
