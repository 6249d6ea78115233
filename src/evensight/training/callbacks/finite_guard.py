"""A NaN or infinite loss or gradient never gets further than its own step."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.optim import Optimizer

from evensight.errors import RunError, UserError, first_line
from evensight.training.finite import Activations, Delayed, KeptBuffers, all_finite, mark, tensors_in
from evensight.training.going_back import GoBackError
from evensight.training.record import Record

log = logging.getLogger(__name__)

# Steps after which the host learns of a step's outcome; as far as it may run ahead of the device.
LAG = 4
_NAMED = 5  # images in a sentence
_TRY = "lower optimizer.lr, clip with trainer.gradient_clip_val, or look with trainer.detect_anomaly=true."


@dataclass(frozen=True)
class Step:
    """An optimizer step, to be named if it was a bad one."""

    epoch: int  # from 0
    step: int  # optimizer steps of the fit, this one included
    batches: list[tuple[int, Any]]  # (number in the epoch, batch): one, or those whose gradients were added up


class FiniteGuard(Callback):
    """Skips steps whose loss or gradient is not finite, goes back once, then ends the run with the reason.

    A bad step changes nothing: not the weights, the optimizer's state, the average of the weights (`skipped` tells it)
    or any buffer of the module, such as the running statistics that BatchNorm updated before the loss was known. One
    bad batch spoils the whole step it is accumulated into. The schedule of the learning rate, `global_step` and the
    order of the data go on as if nothing had been. `train/skipped_steps` counts them, and the first of an epoch is
    named in the log. The training figures leave out batches whose loss was not finite.

    After `max_skipped` in a row, a validation loss that is not finite, or weights that have become so, the fit goes
    back (`going_back.py`), once in a run: the checkpoint remembers. The second time the run ends with the epoch, the
    step, the batch's images and the layer. The host learns of a step `LAG` steps later, on every device alike. No
    checkpoint is written within an epoch while steps are bad (`settled`), and none at all with a value that is not
    finite.

    Runs before the forward pass, after the backward pass and after each batch; adds 0.3 ms to a step of small_cnn on
    one CPU core, whatever the batch (median of 15 rounds, middle half 0.24 to 0.37; 0.5 % of a step of shapes:
    scripts/guard_cost.py). It decides on the device and a healthy step waits for nothing: optimizers with one kernel
    (`fused`; ours are) skip by themselves. One without (of the user's own) is held back by the host: free on a CPU; on
    a GPU the host then waits for each step's gradients. Under a GradScaler (`16-mixed`) overflowing gradients are its
    own business: only the loss is judged. Several ranks decide alike: one number is reduced at each step, and each
    names the images of its own batch. It holds on to the batches of the last `LAG` + 1 steps.

    Args:
        max_skipped: This many in a row go back.
        lr_factor: The learning rate after going back / before.

    Raises:
        UserError: If a value is out of its range.

    Attributes:
        record: `train/skipped_steps` of the epoch that ended last, where there were any.
    """

    def __init__(self, max_skipped: int = 8, lr_factor: float = 0.5) -> None:
        if max_skipped < 1:
            raise UserError(f"finite_guard.max_skipped: found {max_skipped}; allowed: 1 or more.")
        if not 0 < lr_factor <= 1:
            raise UserError(f"finite_guard.lr_factor: found {lr_factor}; allowed: above 0, at most 1.")
        self.max_skipped, self.lr_factor = max_skipped, lr_factor
        self.record = Record()
        self._in_a_row = self._skipped = 0  # as the host knows them
        self._epoch = -1
        self._went_back, self._lr_scale = False, 1.0
        self._counts: Tensor | None = None  # the same two, on the device
        self._batches: list[tuple[int, Any]] = []
        self._open = False  # between the first batch of a step and its decision
        self._decided = False  # between the decision and the end of the batch
        self._last = Step(-1, 0, [])

    @property
    def skipped(self) -> Tensor:
        """1 on the device if the last step was skipped, else 0: float32, 0-dimensional."""
        return self._bad

    @property
    def settled(self) -> bool:
        """Whether the last step was a good one, so that it is worth going back to. Waits for the device."""
        return self._counts is None or float(self._counts[0]) == 0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Tells the module that bad steps are skipped, so that its figures leave them out."""
        pl_module.skips_bad_steps = True  # type: ignore[assignment]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Makes room on the device."""
        device = pl_module.device
        self._poison = torch.zeros((), device=device)  # not finite as soon as a loss was not
        self._bad = torch.zeros((), device=device)
        self._counts = torch.tensor([float(self._in_a_row), float(self._skipped)], device=device)
        self._outcomes = Delayed(self._counts, LAG)
        self._kept = KeptBuffers(pl_module)
        self._scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        self._open = self._decided = False

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Counts from 0."""
        if trainer.current_epoch != self._epoch:
            assert self._counts is not None
            self._epoch, self._skipped, self.record = trainer.current_epoch, 0, Record()
            self._counts[1] = 0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the buffers as they were before the first batch of a step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._poison.zero_()
            self._kept.keep()
            self._batches, self._open = [], True
        self._batches.append((batch_idx, batch))

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """Notes a loss that is not finite: 0 times it is NaN, 0 times any other is 0."""
        self._poison.add_(loss.detach().reshape(()), alpha=0)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        """Decides, puts the buffers back and holds the optimizer."""
        assert self._counts is not None
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self._bad.zero_()
        # A statistic can overflow while the loss stays finite: an infinite variance makes the outputs 0.
        mark([self._poison, *self._kept.floating(), *([] if self._scaled else gradients)], self._bad)
        if trainer.world_size > 1:  # a loss on one rank need not show in the gradients that all share
            torch.distributed.all_reduce(self._bad, torch.distributed.ReduceOp.MAX)
        self._kept.put_back(self._bad)
        self._counts.add_(self._bad)
        self._counts[0].mul_(self._bad)
        self._open, self._decided = False, True
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            if self._bad.item():  # an optimizer passes over parameters without a gradient
                for parameter in parameters:
                    parameter.grad = None
        elif not self._scaled:
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]
        elif gradients:  # the scaler sets found_inf itself, from the gradients
            gradients[0].masked_fill_(self._bad.bool(), math.nan)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Learns how the step `LAG` steps ago ended."""
        if not self._decided:
            return
        self._decided = False
        assert self._counts is not None
        self._last = Step(trainer.current_epoch, trainer.global_step, self._batches)
        found = self._outcomes.push(self._counts, self._last)
        if found is not None:
            self._learn(trainer, *found)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Puts the buffers back where validation comes between the batches of a bad step."""
        if self._open:
            self._bad.zero_()
            mark([self._poison, *self._kept.floating()], self._bad)
            self._kept.put_back(self._bad)
            self._poison.masked_fill_(self._bad.bool(), math.nan)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Learns how all steps ended, before anything is written of the epoch."""
        self._learn_all(trainer)
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if not math.isfinite(loss):
            self._give_up(trainer, self._last, f"val/loss is {loss} in epoch {trainer.current_epoch + 1}")
        if self._skipped:
            self.record.add("train/skipped_steps", self._skipped)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lets no checkpoint be written in which a value is not finite, nor one after too many bad steps."""
        self._learn_all(trainer)
        averages = [getattr(callback, "_average_model", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
        states = [average.state_dict() for average in averages if average is not None]
        kept = [checkpoint["state_dict"], checkpoint.get("optimizer_states"), states]
        broken = torch.tensor(0.0 if all_finite(list(tensors_in(kept))) else 1.0, device=pl_module.device)
        if float(trainer.strategy.reduce(broken, reduce_op="sum")):
            self._give_up(trainer, self._last, f"a weight is not finite at step {self._last.step}")

    def state_dict(self) -> dict[str, Any]:
        """Keeps the counts, and whether the run went back and with what learning rate."""
        counts = [self._in_a_row, self._skipped] if self._counts is None else self._counts.tolist()
        return {
            "in_a_row": int(counts[0]),
            "skipped": int(counts[1]),
            "epoch": self._epoch,
            "went_back": self._went_back,
            "lr_scale": self._lr_scale,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them over."""
        self._in_a_row, self._skipped = state_dict["in_a_row"], state_dict["skipped"]
        self._epoch, self._counts = state_dict["epoch"], None
        self._went_back, self._lr_scale = state_dict["went_back"], state_dict["lr_scale"]

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tells the module the learning rate of phases that are still to come."""
        pl_module.lr_scale = checkpoint["callbacks"].get(self.state_key, self.state_dict())["lr_scale"]

    def _learn_all(self, trainer: lightning.Trainer) -> None:
        if self._counts is not None:
            for values, step in self._outcomes.rest():
                self._learn(trainer, values, step)

    def _learn(self, trainer: lightning.Trainer, values: list[float], step: Step) -> None:
        first = not self._skipped
        self._in_a_row, self._skipped = int(values[0]), int(values[1])
        if first and self._skipped and trainer.is_global_zero:
            log.warning(
                "epoch %d, step %d: a loss or gradient is not finite; the step is skipped, as are others of the epoch "
                "(train/skipped_steps counts them).",
                *(step.epoch + 1, step.step),
            )
        if self._in_a_row >= self.max_skipped:
            self._give_up(trainer, step, f"{self._in_a_row} steps in a row had a loss or gradient that is not finite")

    def _give_up(self, trainer: lightning.Trainer, step: Step, why: str) -> None:
        """Goes back, or ends the run.

        Raises:
            GoBackError: The first time.
            RunError: The second.
        """
        where = f"epoch {step.epoch + 1}, step {step.step}"
        if not self._went_back:
            if trainer.is_global_zero:
                log.warning(
                    "%s: %s; going back to the last checkpoint, with the learning rate x %g.",
                    *(where, why, self.lr_factor),
                )
            raise GoBackError(self.state_key, self.lr_factor)
        again = f"again after going back with the learning rate x {self.lr_factor:g}"
        raise RunError(f"training is not finite: {why}, {again}, at {where}{_culprit(trainer, step)}; {_TRY}")


def _culprit(trainer: lightning.Trainer, step: Step) -> str:
    """Runs the batches of a step again and names the images and the layer."""
    module = trainer.lightning_module
    watched = Activations(module)
    batch: Any = None
    try:
        for number, batch in step.batches:
            watched = Activations(module)
            with trainer.precision_plugin.train_step_context():
                watched.run(partial(module.training_step, batch, number))
            if not watched.finite:
                break
    except RuntimeError as error:  # the reason the run ends for must not be lost to, say, full memory
        return f" (and its batch cannot be run again: {first_line(error)})"
    return f"{_images(batch)}; {watched.sentence()}"


def _images(batch: Any) -> str:
    rows = batch["index"].tolist() if isinstance(batch, dict) and "index" in batch else []
    named = [str(row) for row in rows if row >= 0]
    more = ", ..." if len(named) > _NAMED else ""
    return f", images {', '.join(named[:_NAMED])}{more} of the manifest" if named else ""
