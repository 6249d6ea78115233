"""GroupDRO: the loss of the worst cell, through weights that grow with a cell's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evensight.data.manifest import Manifest
from evensight.ranks.group import total_of_all
from evensight.training.methods.base import Batch, DataFacts, Weights
from evensight.training.methods.grouped import Grouped, even_weights, refuse_class_weights
from evensight.training.task import SingleLabel


class GroupDRO(Grouped):
    """The weighted sum of the cells' mean losses; each step multiplies a cell's weight q by exp(eta * its loss).

    "Distributionally robust neural networks for group shifts" (Sagawa et al., ICLR 2020), Algorithm 1, whose groups are
    our cells. As published: `eta` .01, q starts uniform over the cells that have images, images are drawn evenly over
    them (`balanced`), and the generalization adjustment adds `adjustment` / sqrt(images of the cell) to the loss that q
    hears (0, none; published runs try 0 to 5). A cell that a step has no image of hears a loss of 0, as in the authors'
    code. Ours: q is kept as its logarithm, so that no cell's weight can become 0 for good.

    All ranks hear the losses of all, so q is the same on each, and the loss is that of one process.

    Options: `eta`, `adjustment`, `balanced`, `attribute` (null takes the objective's), `label_smoothing`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If the attribute is unknown, or `class_weights` would balance the classes twice.

    Attributes:
        log_q: Logarithm of each cell's weight `[K * (L + 1)]`; of no meaning where the training data has no image.
    """

    allowed = (*Grouped.allowed, "eta", "adjustment", "balanced")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        refuse_class_weights(options, "group_dro")
        super().__init__(options, task, facts)
        self.eta = float(options.get("eta", 0.01))
        self.balanced = bool(options.get("balanced", True))
        counts = torch.from_numpy(np.ravel(self.counts)).float()
        self.has_images: Tensor
        self.margin: Tensor
        self.log_q: Tensor
        self.register_buffer("has_images", counts > 0, persistent=False)
        margin = float(options.get("adjustment", 0.0)) / counts.clamp(min=1).sqrt()
        self.register_buffer("margin", margin, persistent=False)
        self.register_buffer("log_q", -counts.gt(0).sum().clamp(min=1).log().expand(len(counts)).clone())

    @property
    def q(self) -> Tensor:
        """Weights of the cells `[K * (L + 1)]`, which sum to 1; 0 where the training data has no image."""
        return torch.where(self.has_images, self.log_q.exp(), 0.0)

    def sample_weights(self, manifest: Manifest) -> Weights | None:
        """Returns weights under which the cells are drawn alike `[N]`; None with balanced=false."""
        return even_weights(manifest, self.attribute, "cell") if self.balanced else None

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the sum over the cells of q times the mean loss of the step's images in it."""
        logits: Tensor = model(batch["image"])
        batch["logits"] = logits.detach()
        losses = self.losses(logits, batch["target"]) * batch["weight"]
        # [B, K * (L + 1)]; sums over it are the same each time, also on a GPU, where those of a scatter are not.
        member = F.one_hot(self.cells_of(batch), len(self.log_q)).to(losses.dtype)
        own = (member * losses[:, None]).sum(dim=0)  # this rank's sum of each cell
        with torch.no_grad():
            images = (member * batch["weight"][:, None]).sum(dim=0)
            every = total_of_all(torch.stack([own.detach(), images]))
            num = every[1].clamp(min=1)
            self._hear(every[0] / num)
            # The room weighs a rank's loss by its images in the step: see `Classifier.backward`.
            share = total_of_all(batch["weight"].sum()) / batch["weight"].sum().clamp(min=1e-8)
        robust: Tensor = (self.q * own / num).sum() * share
        return robust

    def _hear(self, losses: Tensor) -> None:
        """Multiplies q by what the step's losses `[K * (L + 1)]` ask for, and has it sum to 1 again."""
        raised = self.log_q + self.eta * (losses + self.margin)
        total = torch.where(self.has_images, raised, -torch.inf).logsumexp(0)
        self.log_q.copy_(torch.where(self.has_images, raised - total, self.log_q))
