"""Logit adjustment: what the attribute says of the class is added in training, so that no weight has to say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evensight.training.methods.base import Batch, DataFacts, mean_loss
from evensight.training.methods.cells import log_prior
from evensight.training.methods.grouped import Grouped, refuse_class_weights
from evensight.training.task import SingleLabel


class LogitAdjustment(Grouped):
    """The loss of logits + tau * log p(class | level), as the training images have it.

    "Long-tail learning via logit adjustment" (Menon et al., ICLR 2021) with p(class | level of the attribute) in place
    of p(class): with tau 1 and the true p the logits alone estimate what an image says of its class where every level
    has as many images of each class. The network decides by its logits alone, and `train/accuracy` is of these.

    p is counted with `smoothing` images added to each cell, so an empty cell takes part with what its level had
    without it; images of unknown level are counted as a level of their own. With label smoothing p is of the smoothed
    targets: else images of a level's usual class would ask for even logits, and teach nothing, as soon as smoothing
    gives the other classes as much as p does.

    Options: `tau` (1 as published), `smoothing` (1, Laplace's; ours), `attribute` (null takes the objective's),
    `label_smoothing`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If the attribute is unknown, or `class_weights` would balance the classes twice.
    """

    allowed = (*Grouped.allowed, "tau", "smoothing")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        refuse_class_weights(options, "logit_adjustment")
        super().__init__(options, task, facts)
        prior = log_prior(self.counts, float(options.get("smoothing", 1.0)), self.label_smoothing)
        self.added: Tensor  # [L + 1, K], by level
        adjustment = torch.from_numpy(prior.T.copy()).float() * float(options.get("tau", 1.0))
        self.register_buffer("added", adjustment, persistent=False)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean loss of the adjusted logits."""
        logits: Tensor = model(batch["image"])
        batch["logits"] = logits.detach()
        level = self.levels_of(batch)
        adjusted = logits.float() + self.added[level % (self.num_levels + 1)]
        return mean_loss(self.losses(adjusted, batch["target"]), batch["weight"])
