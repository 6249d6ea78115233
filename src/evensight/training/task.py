"""What the outputs of a network mean: the loss, the decision and the counts. Nothing else assumes softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from evensight.metrics.group_confusion import GroupConfusion


def soft_cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns the cross entropy of each image `[B]`, in float32 also under mixed precision.

    Args:
        logits: `[B, K]`.
        target: `[B, K]` probabilities: one-hot, or soft.
        label_smoothing: Share of the target that is spread evenly over all classes (Szegedy et al. 2016).
    """
    return F.cross_entropy(logits.float(), target, reduction="none", label_smoothing=label_smoothing)


class SingleLabel:
    """Each image has exactly one of K classes.

    Args:
        classes: Names in the objective's order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

    @property
    def num_outputs(self) -> int:
        """How many logits the network gives."""
        return len(self.classes)

    def loss(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Returns the loss of each image `[B]` from logits `[B, K]` and targets `[B, K]`."""
        return soft_cross_entropy(logits, target, label_smoothing)

    def decide(self, logits: Tensor) -> Tensor:
        """Returns the decided class of each image, int64 `[B]`."""
        return logits.argmax(dim=-1)

    def counts(self, levels: Mapping[str, int]) -> GroupConfusion:
        """Returns an empty counter of decisions, overall and by attribute level."""
        return GroupConfusion(len(self.classes), levels)
