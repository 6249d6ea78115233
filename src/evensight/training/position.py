"""Where a fit stands between two optimizer steps, and the state from which Lightning's loops go on there.

Lightning saves its loops as they are at the moment, and guesses from the counters of a checkpoint what was still to be
done: after one that was written within an epoch it leaves out a validation that was due, and with `max_steps` it ends
an epoch twice. So a checkpoint of ours says in three words where the fit is, and its counters are put to rest there:
whatever had begun and was not done is yet to begin.
"""

from __future__ import annotations

from typing import Any, TypedDict

import lightning


class Position(TypedDict):
    """What the steps have consumed, not what the loader or a prefetcher has drawn."""

    epochs: int  # that have ended, of all phases
    batches: int  # of the epoch after those, whose step is done
    validation: bool  # whether validation comes before the next batch


def position(trainer: lightning.Trainer) -> Position:
    """Returns where a fit stands, after a step, within validation or at the end of an epoch."""
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress.current
    if epochs.processed == epochs.ready:
        return Position(epochs=epochs.processed, batches=0, validation=False)
    batches: Any = loop.epoch_loop.batch_progress.current
    return Position(epochs=epochs.processed, batches=batches.processed, validation=_validation_due(trainer))


def between_steps(trainer: lightning.Trainer) -> bool:
    """Returns whether no gradient waits for others to be added to it."""
    return not trainer.fit_loop._should_accumulate()


def closes(trainer: lightning.Trainer) -> bool:
    """Returns whether nothing but a last validation and the end of the epoch follows the step that was done.

    Lightning would not go on from such a place: it would end the fit at once, or train another batch.
    """
    loop = trainer.fit_loop
    return loop.done or (loop.epoch_loop._num_ready_batches_reached() and not _validation_due(trainer))


def settle(loops: dict[str, Any], where: Position) -> None:
    """Puts the counters of Lightning's loops to rest, in place.

    Args:
        loops: `checkpoint["loops"]`.
        where: The fit stood.
    """
    state = loops["fit_loop"]
    state["state_dict"].pop("combined_loader", None)  # what was drawn; `go_on` tells the loader what was consumed
    for count in _counts(state["epoch_progress"]):
        done = count["processed"]
        begun = done + 1 if where["batches"] else done
        count.update(ready=begun, started=begun, processed=done, completed=done)
    batches = state["epoch_loop.batch_progress"]
    for count, done in zip(_counts(batches), (batches["total"]["processed"], where["batches"]), strict=True):
        count.update(ready=done, started=done, processed=done, completed=done)
    validation = state["epoch_loop.val_loop.batch_progress"]
    for count in _counts(validation):
        count.update(ready=0, started=0, processed=0, completed=0)
    if where["validation"]:  # how Lightning knows that a validation had begun
        validation["total"].update(ready=1, started=1)
    batches["is_last_batch"] = validation["is_last_batch"] = False
    steps = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - int(where["validation"])


def go_on(trainer: lightning.Trainer, where: Position) -> None:
    """Brings loader and loops, once a fit has set them up, to where a checkpoint stood."""
    if where["batches"]:
        # Lightning restores a loader only where no schedule has asked how many batches there are.
        loader: Any = trainer.train_dataloader
        loader.load_state_dict({"epoch": where["epochs"], "batches": where["batches"]})
    if where["validation"]:  # what an earlier fit of this trainer validated is not what is due
        trainer.fit_loop.epoch_loop.val_loop._has_run = False


def _validation_due(trainer: lightning.Trainer) -> bool:
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))


def _counts(progress: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    return progress["total"], progress["current"]
