"""Learning from failure: a second network that is made to take shortcuts says which images are hard without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evensight.training.methods.base import Batch, DataFacts, mean_loss
from evensight.training.methods.erm import ERM
from evensight.training.methods.per_image import seen_in_step
from evensight.training.task import SingleLabel

_TINY = 1e-8


def generalized_cross_entropy(losses: Tensor, q: float) -> Tensor:
    """Returns (1 - p^q) / q of each image `[B]`, which weighs the easy ones more (Zhang and Sabuncu, NeurIPS 2018).

    Args:
        losses: Cross entropies -log p `[B]`.
        q: From above 0 (the cross entropy) to 1 (1 - p).
    """
    return -torch.expm1(-q * losses) / q


def relative_difficulty(biased: Tensor, debiased: Tensor) -> Tensor:
    """Returns how hard images are for the biased network, relative to both: from 0 to 1 `[B]`.

    Args:
        biased: Losses of the biased network, not below 0.
        debiased: Those of the other one.
    """
    return biased / (biased + debiased + _TINY)


class LfF(ERM):
    """Trains a biased network beside the network, and weighs each image by how hard it is for the biased one.

    "Learning from failure: training debiased classifier from biased classifier" (Nam et al., NeurIPS 2020), which needs
    no groups. As published: the biased network, of the same kind, minimises the generalized cross entropy with `q` .7;
    the losses of both networks are averaged for each image with decay `decay` .7, from 0; each average is divided by
    the largest one of its class; the network's loss is weighted by L_b / (L_b + L_d). The biased network ends with the
    training: only the network is kept. With trainer.compile it stays eager.

    Options: `q`, `decay`, `label_smoothing` and `class_weights` (of the network alone).

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Attributes:
        biased: The second network.
        averages: Averaged losses of the biased and the debiased network, of each image of the manifest `[N, 2]`.
        labels: Class of each image that was seen, int64 `[N]`; -1 for the others.
    """

    allowed = (*ERM.allowed, "q", "decay")
    per_image = ("averages", "labels")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.q = float(options.get("q", 0.7))
        self.decay = float(options.get("decay", 0.7))
        self.biased: nn.Module | None = None
        self.averages: Tensor
        self.labels: Tensor
        self.register_buffer("averages", torch.zeros(facts.num_images, 2))
        self.register_buffer("labels", torch.full((facts.num_images,), -1))

    def attach(self, build: Callable[[], nn.Module]) -> None:
        """Keeps the biased network."""
        self.biased = build()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean of the biased network's loss and the network's weighted one, which share no weights."""
        assert self.biased is not None
        logits, biased = model(batch["image"]), self.biased(batch["image"])
        batch["logits"] = logits.detach()
        easy = self.task.loss(biased, batch["target"])
        weights = self.weights_of(batch, easy.detach(), self.task.loss(logits.detach(), batch["target"]))
        both = generalized_cross_entropy(easy, self.q) + weights * self.losses(logits, batch["target"])
        return mean_loss(both, batch["weight"])

    @torch.no_grad()
    def weights_of(self, batch: Batch, biased: Tensor, debiased: Tensor) -> Tensor:
        """Averages the step's losses `[B]` into those of the images, and returns the weight of each image `[B]`."""
        said = torch.stack([biased, debiased, batch["label"].to(biased.dtype)], dim=1)
        seen, found = seen_in_step(batch, said, self.facts.num_images)
        moved = self.decay * self.averages + (1 - self.decay) * found[:, :2]
        self.averages.copy_(torch.where(seen[:, None], moved, self.averages))
        self.labels.copy_(torch.where(seen, found[:, 2].long(), self.labels))
        largest = self.averages.new_zeros(self.task.num_outputs, 2)
        largest.scatter_reduce_(0, self.labels.clamp(min=0)[:, None].expand(-1, 2), self.averages, "amax")
        relative = self.averages[batch["index"].clamp(min=0)] / largest[batch["label"]].clamp(min=_TINY)
        return relative_difficulty(relative[:, 0], relative[:, 1])
