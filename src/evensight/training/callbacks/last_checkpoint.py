"""What a run that was ended goes on from: `last.ckpt`, and the signal that ends it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

from evensight.errors import first_line
from evensight.files import disk_full, full_sentence
from evensight.interruption import Interrupted
from evensight.ranks.group import any_rank, gathered
from evensight.training.callbacks.ema import AverageWeights
from evensight.training.callbacks.finite_guard import FiniteGuard
from evensight.training.checkpoint import NotFiniteError
from evensight.training.position import between_steps, closes, go_on

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` at the end of every epoch and, by time or by steps, between two optimizer steps of one.

    It holds everything that a fit goes on from, to the bit: besides what Lightning keeps, where the fit stands
    (`position.py`), whether it was to stop, and the figures that callbacks monitor. It is never written between the
    batches of one step, nor within an epoch after a step that was not finite: going back is to lead to before that one.
    A validation that was due when it was written is done again. Where it cannot be written the old one stands, a
    warning says so, and the next chance is taken.

    A signal that was noted (`interruption.deferred`) is answered after the step, or within validation: the checkpoint
    is written and `Interrupted` raised. Where a fit ends with the validation that is running, that is finished first.

    Runs after each batch and costs a comparison of times; several ranks agree by one small message over the CPU.

    Args:
        path: The file.
        hint: What `Interrupted` tells the user to do.
        minutes: Of training since the last one; None: not by time.
        steps: Optimizer steps since the last one; None: not by steps.
    """

    def __init__(self, path: Path, hint: str, minutes: float | None = None, steps: int | None = None) -> None:
        self.path, self.hint, self.minutes, self.steps = path, hint, minutes, steps
        self._noted: Callable[[], int | None] = lambda: None
        self._resumed: dict[str, Any] | None = None
        self._step, self._time = 0, 0.0

    def watch(self, noted: Callable[[], int | None]) -> None:
        """Answers signals from now on.

        Args:
            noted: Returns the signal that was noted, or None.
        """
        self._noted = noted

    def stop_if_asked(self) -> None:
        """Raises Interrupted on every rank if a signal was noted on any of them."""
        found = max(gathered(self._noted() or 0))
        if found:
            raise Interrupted(found, self.hint)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Goes on where the checkpoint stood."""
        self._step, self._time = trainer.global_step, time.monotonic()
        if self._resumed is not None:
            trainer.callback_metrics.update(self._resumed["callback_metrics"])
            go_on(trainer, self._resumed["position"])
            self._resumed = None
        self.stop_if_asked()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the checkpoint where one is due, and stops where asked."""
        if between_steps(trainer) and any_rank(self._noted() is not None or self._due(trainer)):
            if closes(trainer):  # the end of the epoch does both
                return
            self._save_within(trainer)
            self.stop_if_asked()

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stops where asked, with the state of the step before this validation, which is done again."""
        if trainer.sanity_checking or not between_steps(trainer) or trainer.fit_loop.done:
            return
        if any_rank(self._noted() is not None):
            for callback in _callbacks(trainer):
                if isinstance(callback, AverageWeights):
                    callback.give_back(pl_module)
            self._save_within(trainer)
            self.stop_if_asked()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the checkpoint, after `best.ckpt`: a crash in between repeats what followed the older one."""
        self._save(trainer)
        self.stop_if_asked()

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forgets the checkpoint also where nothing was left to do, so that a next phase begins without it."""
        self._resumed = None

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what Lightning forgets."""
        checkpoint["should_stop"] = trainer.should_stop
        metrics = trainer.callback_metrics.items()
        checkpoint["callback_metrics"] = {name: value.detach().cpu() for name, value in metrics}

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets a fit that was to stop be over before it begins; keeps the rest until it has begun."""
        trainer.should_stop = checkpoint["should_stop"]
        self._resumed = {key: checkpoint[key] for key in ("position", "callback_metrics")}

    def _due(self, trainer: lightning.Trainer) -> bool:
        by_steps = self.steps is not None and trainer.global_step - self._step >= self.steps
        return by_steps or (self.minutes is not None and time.monotonic() - self._time >= 60 * self.minutes)

    def _save_within(self, trainer: lightning.Trainer) -> None:
        if all(callback.settled for callback in _callbacks(trainer) if isinstance(callback, FiniteGuard)):
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        self._step, self._time = trainer.global_step, time.monotonic()
        try:
            trainer.save_checkpoint(self.path, weights_only=False)
        except (OSError, NotFiniteError) as error:  # on rank 0, which alone writes
            why = full_sentence(error) if isinstance(error, OSError) and disk_full(error) else first_line(error)
            log.warning("%s; training goes on, and it will be written later", why.rstrip("."))
            trainer.strategy.barrier("Trainer.save_checkpoint")  # where the others are


def _callbacks(trainer: lightning.Trainer) -> list[lightning.Callback]:
    found: list[lightning.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found
