"""Going back to the last good checkpoint with a lower learning rate, and training on from there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning

from evensight.training.checkpoint import read_checkpoint, write_checkpoint
from evensight.training.classifier import Classifier, initial_values


class GoBackError(Exception):
    """Too many steps in a row were not finite: the fit is to go on from its last good checkpoint.

    Args:
        state_key: Of the callback that raised it, whose state in the checkpoint is to know of it.
        factor: Of the learning rate.
    """

    def __init__(self, state_key: str, factor: float) -> None:
        super().__init__(state_key, factor)
        self.state_key, self.factor = state_key, factor


def lowered(checkpoint: dict[str, Any], state_key: str, factor: float) -> dict[str, Any]:
    """Returns a checkpoint whose learning rates are multiplied by `factor`, from now to the end of the schedule.

    The schedules keep their place. The callback's state says that this was done, and what the next phase's learning
    rate is to be multiplied by.
    """
    changed = copy.deepcopy(checkpoint)
    for optimizer in changed["optimizer_states"]:
        for group in optimizer["param_groups"]:
            for key in ("lr", "initial_lr"):
                if key in group:
                    group[key] = group[key] * factor
    for schedule in changed["lr_schedulers"]:
        for key in ("base_lrs", "_last_lr"):
            if key in schedule:
                schedule[key] = [rate * factor for rate in schedule[key]]
    state = changed["callbacks"][state_key]
    state.update(went_back=True, lr_scale=state["lr_scale"] * factor, in_a_row=0)
    return changed


class Beginning:
    """What a trainer was before its first fit, for going back where there is no checkpoint.

    Args:
        trainer: Before its first fit.
    """

    def __init__(self, trainer: lightning.Trainer) -> None:
        self.max_epochs = trainer.fit_loop.max_epochs
        self._loop = copy.deepcopy(trainer.fit_loop.state_dict())
        self._states = [(callback, copy.deepcopy(callback.state_dict())) for callback in _callbacks(trainer)]

    def again(self, trainer: lightning.Trainer, classifier: Classifier, back: GoBackError) -> None:
        """Puts trainer and weights back to where they began, with the lower learning rate."""
        trainer.fit_loop.load_state_dict(self._loop)
        for callback, state in self._states:
            if callback.state_key == back.state_key:
                state = {**state, "went_back": True, "lr_scale": back.factor}
            callback.load_state_dict(state)
        classifier.load_state_dict(initial_values(classifier.hparams), strict=False)
        classifier.lr_scale = back.factor


def going_back(
    trainer: lightning.Trainer,
    classifier: Classifier,
    last: Path,
    fit: Callable[[Path | None], None],
    forget: Callable[[int], None],
    resume: Path | None,
) -> None:
    """Fits; once, if it has to, again from the last checkpoint or the beginning, with a lower learning rate.

    Args:
        trainer: Before its first fit.
        classifier: Trained in place.
        last: The last checkpoint, if there is one. It is written again with the lower learning rate before the fit
            goes on, so that a run that is killed after that goes on with it too.
        fit: Runs all phases from a checkpoint, or from the beginning.
        forget: Is told how many epochs still count, on rank 0.
        resume: The checkpoint to begin with.
    """
    beginning = Beginning(trainer)
    try:
        fit(resume)
        return
    except GoBackError as error:
        back = error
    trainer.fit_loop.max_epochs = beginning.max_epochs  # a phase has set its own
    found = last.is_file()
    trainer.strategy.barrier("every rank has looked for the last checkpoint")
    if trainer.is_global_zero:
        if found:
            checkpoint = read_checkpoint(last)
            write_checkpoint(lowered(checkpoint, back.state_key, back.factor), last)
            forget(checkpoint["position"]["epochs"])
        else:
            forget(0)
    trainer.strategy.barrier("the last checkpoint has the lower learning rate")
    if not found:
        beginning.again(trainer, classifier, back)
    fit(last if found else None)


def _callbacks(trainer: lightning.Trainer) -> list[lightning.Callback]:
    found: list[lightning.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found
