"""The fit, phase by phase: each has an optimizer, a schedule, frozen parts, restarted weights, sampling weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from evensight.errors import UserError
from evensight.interruption import deferred, interruptible
from evensight.training.callbacks.best_checkpoint import BestCheckpoint
from evensight.training.callbacks.ema import AverageWeights
from evensight.training.callbacks.last_checkpoint import LastCheckpoint
from evensight.training.checkpoint import read_checkpoint
from evensight.training.classifier import Classifier, initial_values
from evensight.training.freezing import matches
from evensight.training.methods.base import Phase, Weights
from evensight.training.trainer import quiet

if TYPE_CHECKING:
    from evensight.data.datamodule import ImageDataModule


def planned(phases: Sequence[Phase], max_epochs: int | None) -> list[Phase]:
    """Returns the phases with their epochs filled in.

    Args:
        phases: Of the method, in order.
        max_epochs: `trainer.max_epochs`; the phase that states no epochs gets what the others leave. None or -1 has no
            limit, which only a single phase can have.

    Raises:
        UserError: If the epochs do not add up.
    """
    unlimited = max_epochs is None or max_epochs < 0
    if len(phases) == 1 and phases[0].epochs is None:
        return [phases[0] if unlimited else dataclasses.replace(phases[0], epochs=max_epochs)]
    stated = sum(phase.epochs or 0 for phase in phases)
    open_phases = [phase for phase in phases if phase.epochs is None]
    names = ", ".join(f"{phase.name} {phase.epochs or 'the rest'}" for phase in phases)
    if unlimited or max_epochs is None or len(open_phases) > 1:
        raise UserError(f"trainer.max_epochs: the method's phases ({names}) need a number of epochs in all.")
    rest = max_epochs - stated
    if (open_phases and rest < 1) or (not open_phases and rest != 0):
        least = f"at least {stated + 1}" if open_phases else f"{stated}"
        raise UserError(f"trainer.max_epochs: found {max_epochs}; the method's phases ({names}) need {least}.")
    return [dataclasses.replace(phase, epochs=rest) if phase.epochs is None else phase for phase in phases]


def fit(
    trainer: lightning.Trainer, classifier: Classifier, datamodule: ImageDataModule, resume: Path | None = None
) -> None:
    """Runs all phases, or those that a checkpoint leaves to be done.

    Args:
        trainer: Its `max_epochs` is the whole fit's.
        classifier: Trained in place.
        datamodule: Its `sample_weights` are set for each phase.
        resume: A `last.ckpt`.

    Raises:
        Interrupted: If SIGTERM or SIGINT came: with a `LastCheckpoint` after the step, else at once.
    """
    keeper = next((one for one in _callbacks(trainer) if isinstance(one, LastCheckpoint)), None)
    with interruptible():
        if keeper is None:
            _fit(trainer, classifier, datamodule, resume)
            return
        with deferred() as noted:
            keeper.watch(noted)
            _fit(trainer, classifier, datamodule, resume)
            keeper.stop_if_asked()


def _fit(trainer: lightning.Trainer, classifier: Classifier, datamodule: ImageDataModule, resume: Path | None) -> None:
    phases = planned(classifier.method.phases(), trainer.max_epochs)
    classifier.num_epochs = trainer.max_epochs
    saved = read_checkpoint(resume)["phase"] if resume is not None else None
    for number in range(saved["number"] if saved else 0, len(phases)):
        phase = phases[number]
        if saved is not None:
            weights, begun = saved["sample_weights"], saved["begun"]
            datamodule.sample_weights = None if weights is None else weights.numpy()
            classifier.train()  # where a fit goes back, the phase that it was in may have frozen a part
        else:
            begun = trainer.current_epoch
            datamodule.sample_weights = begin(classifier, datamodule, phase, restart=number > 0)
            _forget_best(trainer)
        classifier.phase = phase
        classifier.phase_state = phase_state(number, begun, datamodule.sample_weights)
        if phase.epochs is not None:
            trainer.fit_loop.max_epochs = begun + phase.epochs
        _run(trainer, classifier, datamodule, resume if saved is not None else None)
        if saved is not None and trainer.fit_loop.is_resuming:
            _end_phase(trainer, classifier)  # the checkpoint was of its end, so nothing ran
        saved = None


def begin(classifier: Classifier, datamodule: ImageDataModule, phase: Phase, restart: bool) -> Weights | None:
    """Puts weights back to their initial values where the phase says so; returns its sampling weights."""
    if phase.reset and restart:
        wanted = {
            name: value for name, value in initial_values(classifier.hparams).items() if matches(name, phase.reset)
        }
        if not wanted:
            raise UserError(f"method: phase {phase.name} resets {list(phase.reset)}, and no weight has such a name.")
        classifier.load_state_dict(wanted, strict=False)
    classifier.train()  # what an earlier phase froze is in evaluation mode
    manifest = datamodule.manifest
    found = (
        classifier.method.sample_weights(manifest) if phase.sample_weights is None else phase.sample_weights(manifest)
    )
    return None if found is None else np.asarray(found, dtype=np.float64)


def phase_state(number: int, begun: int, sample_weights: Weights | None) -> dict[str, Any]:
    """Returns what a checkpoint keeps of a phase: its number, its first epoch, the weights asked for at its start."""
    weights = None if sample_weights is None else torch.from_numpy(sample_weights)
    return {"number": number, "begun": begun, "sample_weights": weights}


def _run(
    trainer: lightning.Trainer, classifier: Classifier, datamodule: ImageDataModule, checkpoint: Path | None
) -> None:
    # Lightning's own handlers end a fit without a checkpoint, and talk to other ranks in the middle of anything.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    try:
        with quiet():
            trainer.fit(classifier, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except (MisconfigurationException, ValueError) as error:
        if isinstance(error, ValueError) and "val_check_interval" not in str(error):
            raise
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        # What EarlyStopping says of a figure that nobody logs, followed by the names of all that are.
        if "conditioned on metric" in str(error):
            raise UserError(f"callbacks: {' '.join(str(error).split())}") from error
        raise


def _end_phase(trainer: lightning.Trainer, classifier: Classifier) -> None:
    """Does what the end of a fit does where a checkpoint was of that end, so that the next phase begins alike."""
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop):
        loop.on_iteration_done()
    for callback in _callbacks(trainer):
        if isinstance(callback, AverageWeights):
            callback.on_train_end(trainer, classifier)


def _callbacks(trainer: lightning.Trainer) -> list[lightning.Callback]:
    found: list[lightning.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found


def _forget_best(trainer: lightning.Trainer) -> None:
    for callback in _callbacks(trainer):
        if isinstance(callback, BestCheckpoint):
            callback.begin_phase()
