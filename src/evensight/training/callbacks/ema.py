"""An average of the weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from evensight.training.classifier import Classifier


class AverageWeights(WeightAveraging):
    """Keeps an exponential moving average of the network, which validation, `best` and the export use.

    Runs after every optimizer step (one copy of the weights' size) and swaps the weights round validation. `last` holds
    both. The decay of update t is min(decay, (1 + t) / (10 + t)), from the first step on: with a constant .999 the
    first step would still weigh 45 % after 800, and with a late start `best` might be the untrained network.

    Args:
        decay: Of the average, at most.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
            if not averaged.is_floating_point():  # a counter has no average
                return current
            count = int(num_averaged)
            return averaged.lerp(current, 1 - min(decay, (1 + count) / (10 + count)))

        super().__init__(avg_fn=average)

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


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
