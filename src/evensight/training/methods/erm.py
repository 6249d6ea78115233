"""Empirical risk minimisation: the mean loss over the training images, the baseline of every other method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from evensight.training.methods.base import Batch, DataFacts, Method, mean_loss
from evensight.training.task import SingleLabel


def balanced_weights(class_counts: list[int]) -> Tensor:
    """Returns a weight a class `[K]`, proportional to 1 / frequency, whose mean over the images is 1.

    A class without images has weight 0: nothing is ever multiplied by it.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32)
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), torch.zeros(()))


class ERM(Method):
    """Options: `label_smoothing` (0 to 1) and `class_weights` (`none` or `balanced`)."""

    allowed: ClassVar[tuple[str, ...]] = ("label_smoothing", "class_weights")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.label_smoothing = float(options.get("label_smoothing", 0.0))
        self.class_weights: Tensor | None
        balanced = options.get("class_weights", "none") == "balanced"
        # Follows from the facts, so it need not be in the checkpoint.
        self.register_buffer(
            "class_weights", balanced_weights(facts.class_counts) if balanced else None, persistent=False
        )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean loss of the images whose weight is not 0."""
        logits: Tensor = model(batch["image"])
        batch["logits"] = logits.detach()
        return mean_loss(self.losses(logits, batch["target"]), batch["weight"])

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each image `[B]`, smoothed and weighted by class as the options say."""
        losses = self.task.loss(logits, target, self.label_smoothing)
        return losses if self.class_weights is None else losses * (target @ self.class_weights)
