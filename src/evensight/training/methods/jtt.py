"""Just train twice: what a short training gets wrong is drawn more often in a second one, from the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evensight.data.manifest import Manifest
from evensight.training.methods.base import Batch, DataFacts, Phase, Weights
from evensight.training.methods.erm import ERM
from evensight.training.methods.per_image import seen_in_step
from evensight.training.task import SingleLabel


class JTT(ERM):
    """Two phases of empirical risk minimisation; the second draws the errors of the first `upweight` times as often.

    "Just train twice: improving group robustness without training group information" (Liu et al., ICML 2021), which
    needs no groups. Published: identification for 1 (CelebA), 2 (MultiNLI) or 60 epochs (Waterbirds), upweighting by
    6 to 100, both chosen by worst-group validation accuracy. Ours: an image is an error if it was decided wrongly when
    training last saw it, in training mode, in place of a further pass at the end of the phase; and the drawing is with
    replacement, by weights, an epoch being as many images as before.

    Options: `identify_epochs` (2, the first of which sees most images before anything is learnt), `upweight` (50),
    `label_smoothing`, `class_weights`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Attributes:
        errors: Which images of the manifest the first phase decides wrongly, bool `[N]`.
        identified: Whether that phase is over; 0-dimensional.
    """

    allowed = (*ERM.allowed, "identify_epochs", "upweight")
    per_image = ("errors",)

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.upweight = float(options.get("upweight", 50.0))
        self.errors: Tensor
        self.identified: Tensor
        self.register_buffer("errors", torch.zeros(facts.num_images, dtype=torch.bool))
        self.register_buffer("identified", torch.tensor(False))

    def phases(self) -> list[Phase]:
        """Returns the identification and, from initial weights, the training on what it leaves."""
        identify = Phase("identify", int(self.options.get("identify_epochs", 2)))
        return [identify, Phase("upweight", reset=("network.*",), sample_weights=self.weights)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean loss; the first phase notes who is decided wrongly."""
        loss = super().loss(model, batch)
        wrong = self.task.decide(batch["logits"]) != batch["label"]
        seen, found = seen_in_step(batch, wrong[:, None], self.facts.num_images)
        self.errors.copy_(torch.where(seen & ~self.identified, found[:, 0], self.errors))
        return loss

    def weights(self, manifest: Manifest) -> Weights:
        """Ends the first phase; returns `upweight` for its errors, 1 for the others, 0 for what training leaves out."""
        self.identified.fill_(True)
        errors = self.errors.cpu().numpy()[manifest.split("train")["index"].to_numpy()]
        return np.where(errors, self.upweight, 1.0) * manifest.trained()
