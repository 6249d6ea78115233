"""An average of the weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from evensight.training.callbacks.finite_guard import FiniteGuard
from evensight.training.classifier import Classifier


class AverageWeights(WeightAveraging):
    """Keeps an exponential moving average of the network, which validation, `best` and the export use.

    Runs after every optimizer step (one copy of the weights' size) and swaps the weights round validation. `last` holds
    both. The decay of update t is min(decay, (1 + t) / (10 + t)), from the first step on: with a constant .999 the
    first step would still weigh 45 % after 800, and with a late start `best` might be the untrained network.

    Args:
        decay: Of the average, at most.
        guard: A step that it skips does not move the average, nor count as an update.
    """

    def __init__(self, decay: float = 0.999, guard: FiniteGuard | None = None) -> None:
        super().__init__()
        self.decay, self.guard = decay, guard
        self._swapped = False  # the network has the average, and the average the network's weights

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Begins an average of the weights as they are."""
        super().setup(trainer, pl_module, stage)
        self._swapped = False

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Gives the network the average."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Gives the network its weights back."""
        self.give_back(pl_module)

    def give_back(self, pl_module: lightning.LightningModule) -> None:
        """Gives the network its weights back, also where validation is not to be ended."""
        if self._swapped:
            self._swap_models(pl_module)
            self._swapped = False

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the average after an optimizer step, all of it on the device."""
        if trainer.global_step <= self._latest_update_step:
            return
        self._latest_update_step = trainer.global_step
        assert self._average_model is not None
        count = self._average_model.n_averaged
        share = newest_share(count, self.decay)
        if self.guard is not None:
            share = share * (1 - self.guard.skipped)
            count += self.guard.skipped == 0
        else:
            count += 1
        for averaged, current in zip(_tensors(self._average_model.module), _tensors(pl_module), strict=True):
            if averaged.is_floating_point():
                averaged.lerp_(current, share.to(averaged.dtype))
            else:  # a counter has no average; one of a skipped step was put back
                averaged.copy_(current)

    # The two below exist to average the network alone: a method's per-image state is no weight.
    def _swap_models(self, pl_module: lightning.LightningModule) -> None:
        for averaged, current in self._pairs(pl_module):
            kept = averaged.data.clone()
            averaged.data.copy_(current.data)
            current.data.copy_(kept)

    def _copy_average_to_current(self, pl_module: lightning.LightningModule) -> None:
        for averaged, current in self._pairs(pl_module):
            current.data.copy_(averaged.data)

    def _pairs(self, pl_module: lightning.LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
        assert self._average_model is not None
        averaged, current = self._average_model.module, pl_module
        assert isinstance(averaged, Classifier) and isinstance(current, Classifier)
        return zip(_tensors(averaged.network), _tensors(current.network), strict=True)


def newest_share(count: Tensor, decay: float) -> Tensor:
    """Returns what the newest weights count in an average of `count` before them: all of it in the first.

    Args:
        count: Updates so far, 0-dimensional.
        decay: Of the average, at most.
    """
    before = count.double()
    share = 1 - torch.clamp((1 + before) / (10 + before), max=decay)
    return torch.where(count == 0, 1.0, share)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
