"""LISA: pairs of images that share their class or their group are mixed, so that the rest stops to matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evensight.training.methods.base import Batch, DataFacts, mean_loss
from evensight.training.methods.grouped import Grouped
from evensight.training.task import SingleLabel


def beta_2_2(uniform: Tensor) -> Tensor:
    """Returns what a number that is uniform in [0, 1) becomes under the quantile function of Beta(2, 2)."""
    # The root in [0, 1] of 3 x^2 - 2 x^3 = u.
    return 0.5 - torch.sin(torch.asin((1 - 2 * uniform).clamp(-1, 1)) / 3)


def partners(label: Tensor, level: Tensor, usable: Tensor, within_class: Tensor, draw: Tensor) -> Tensor:
    """Returns with which image of the batch each one is mixed, int64 `[B]`; with itself where no other fits.

    Args:
        label: Class `[B]`.
        level: `[B]`, -1 where unknown: such an image is mixed with none, since nobody knows what they share.
        usable: Which images there are, bool `[B]`.
        within_class: True: of the same class and another level; False: of the same level and another class `[B]`.
        draw: Uniform in [0, 1) `[B]`.
    """
    same_class, same_level = label[:, None] == label[None], level[:, None] == level[None]
    fits = torch.where(within_class[:, None], same_class & ~same_level, same_level & ~same_class)
    known = usable & (level >= 0)
    fits = fits & known[:, None] & known[None]
    # Images stand on a circle at their draws; each takes the first that fits after its own place.
    distance = torch.where(fits, (draw[None] - draw[:, None]) % 1.0, torch.inf)
    own = torch.arange(len(label), device=label.device)
    return torch.where(fits.any(dim=1), distance.argmin(dim=1), own)


class LISA(Grouped):
    """The loss of mixed images: within a class across levels, or within a level across classes.

    "Improving out-of-distribution robustness via selective augmentation" (Yao et al., ICML 2022). As published:
    `select` is the chance of mixing within the class (.5; chosen by data set), and images and targets are mixed with a
    share from Beta(2, 2). Ours: both are drawn for each image by the noise that travels with it, in place of once for a
    batch; the partner is of the same batch (of this rank); an image without one, or of unknown level, is trained on as
    it is. Mixed pixels are rounded to whole numbers, which the network takes. There is no `train/accuracy`: a mixed
    image has no one class.

    Options: `select`, `attribute` (null takes the objective's), `label_smoothing`, `class_weights`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If the attribute is unknown.
    """

    allowed = (*Grouped.allowed, "select")
    noise_size = 3  # which way of mixing, whom with, how much

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.select = float(options.get("select", 0.5))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the mean loss of the mixed images."""
        images, targets = self.mixed(batch)
        return mean_loss(self.losses(model(images), targets), batch["weight"])

    @torch.no_grad()
    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns mixed images, uint8 `[B, 3, S, S]`, and their targets `[B, K]`."""
        way, whom, much = batch["noise"][:, :3].unbind(1)
        other = partners(batch["label"], self.levels_of(batch), batch["weight"] > 0, way < self.select, whom)
        share = beta_2_2(much)
        images, targets = batch["image"], batch["target"]
        pixels = torch.lerp(images[other].float(), images.float(), share.view(-1, 1, 1, 1))
        return pixels.round().to(images.dtype), torch.lerp(targets[other], targets, share[:, None])
