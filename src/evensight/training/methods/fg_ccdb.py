"""FG-CCDB: what a biased network takes each image for is balanced within each class, so that it says nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evensight.data.manifest import Manifest
from evensight.training.methods.base import Batch, DataFacts, Phase, Weights, mean_loss
from evensight.training.methods.cells import matched_shares, sampling_weights
from evensight.training.methods.erm import ERM
from evensight.training.methods.grouped import refuse_class_weights
from evensight.training.methods.lff import generalized_cross_entropy
from evensight.training.methods.per_image import seen_in_step
from evensight.training.task import SingleLabel

_BIAS, _SELECT, _BALANCE = range(3)


class FGCCDB(ERM):
    """Trains a biased network, then draws images so that its decision has the same distribution in every class.

    "Fine-grained class-conditional distribution balancing for debiased learning" (Zhao and Zhang, ICLR 2026), which
    needs no groups. Published, as far as its abstract and summaries say: a network that is trained again on selected
    data, in several stages, until it has overfitted to the bias; its confusion matrix, (class, decision), in place of
    groups; and weights of the confusion cells that match the distribution of each class to that of all images. Ours,
    since the details and hyperparameters were not at hand:

    1. `bias`, for `bias_epochs`: generalized cross entropy with `q`, which leaves out what is hard.
    2. `select`, for `select_epochs`, from initial weights: the same loss over the images alone that the first phase
       decided rightly when it last saw them. The others are looked at and not learnt, so that the network has no way to
       know them by heart and decides them by the shortcut. 0 leaves this phase out.
    3. `balance`, from initial weights: the mean loss over images drawn with `cells.matched_shares` of (class, decision
       when last seen): all classes alike, and within each the decisions in the proportions that all images have.

    Options: `bias_epochs` (2), `select_epochs` (2), `q` (.7), `label_smoothing` (of the last phase).

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If `class_weights` would balance the classes twice.

    Attributes:
        stage: Which of the phases it is, from 0; 0-dimensional.
        right: Which images of the manifest the first phase decides rightly, bool `[N]`.
        said: What the biased network takes each image for, int64 `[N]`; -1 where it never saw it.
    """

    allowed = (*ERM.allowed, "bias_epochs", "select_epochs", "q")
    per_image = ("right", "said")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        refuse_class_weights(options, "fg_ccdb")
        super().__init__(options, task, facts)
        self.q = float(options.get("q", 0.7))
        self.stage: Tensor
        self.right: Tensor
        self.said: Tensor
        self.register_buffer("stage", torch.tensor(_BIAS))
        self.register_buffer("right", torch.zeros(facts.num_images, dtype=torch.bool))
        self.register_buffer("said", torch.full((facts.num_images,), -1))

    def phases(self) -> list[Phase]:
        """Returns the three phases, or two."""
        again = ("network.*",)
        select = Phase("select", int(self.options.get("select_epochs", 2)), reset=again, sample_weights=self._select)
        return [
            Phase("bias", int(self.options.get("bias_epochs", 2))),
            *([select] if select.epochs else []),
            Phase("balance", reset=again, sample_weights=self.weights),
        ]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean loss of the phase, and notes what the biased network decides."""
        logits: Tensor = model(batch["image"])
        batch["logits"] = logits.detach()
        easy = generalized_cross_entropy(self.task.loss(logits, batch["target"]), self.q)
        losses = torch.where(self.stage == _BALANCE, self.losses(logits, batch["target"]), easy)
        learnt = (self.stage != _SELECT) | self.right[batch["index"].clamp(min=0)]
        self._note(batch)
        return mean_loss(torch.where(learnt, losses, 0.0), batch["weight"])

    def weights(self, manifest: Manifest) -> Weights:
        """Begins the last phase; returns the weight of each training image `[N]`."""
        self.stage.fill_(_BALANCE)
        said = self.said.cpu().numpy()[manifest.split("train")["index"].to_numpy()]
        num_classes = len(manifest.classes)
        shape = num_classes, num_classes
        return sampling_weights(manifest.labels("train"), said, manifest.trained(), shape, matched_shares)

    def _select(self, manifest: Manifest) -> None:
        """Begins the second phase; every image is shown once an epoch."""
        self.stage.fill_(_SELECT)

    def _note(self, batch: Batch) -> None:
        decided = self.task.decide(batch["logits"])
        said = torch.stack([decided, (decided == batch["label"]).long()], dim=1)
        seen, found = seen_in_step(batch, said, self.facts.num_images)
        self.said.copy_(torch.where(seen & (self.stage < _BALANCE), found[:, 0], self.said))
        self.right.copy_(torch.where(seen & (self.stage == _BIAS), found[:, 1].bool(), self.right))
