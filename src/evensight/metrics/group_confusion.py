"""Confusion counts of a whole data set and of every level of every attribute, in one scatter an update.

Kept apart from the rest of this room because it needs torch: import it by its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class GroupConfusion(Metric):
    """Counts images by attribute level, true class and prediction, exactly, whatever the order or number of ranks.

    The state is one int64 histogram of `K*K*(1 + all levels) + 1` places; the last is a bin for what is not counted:
    an image of weight 0 (padding, not decoded), an attribute that is unknown (-1), a class or a prediction outside
    `0..K-1`. An update is one `scatter_add_` and never waits for the device. torchmetrics adds the histograms of all
    ranks when `compute` is called.

    Args:
        num_classes: K.
        levels: Attribute name to its number of levels, in the order of the columns of `attributes`.

    Raises:
        ValueError: If a number is not positive.
    """

    full_state_update = False
    histogram: Tensor

    def __init__(self, num_classes: int, levels: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, number in {"num_classes": num_classes, **levels}.items():
            if number < 1:
                raise ValueError(f"{name}: found {number}; allowed: at least 1.")
        self.num_classes = num_classes
        self.levels = dict(levels)
        self.num_bins = num_classes * num_classes * (1 + sum(levels.values()))
        self.add_state("histogram", torch.zeros(self.num_bins + 1, dtype=torch.int64), dist_reduce_fx="sum")
        # Where each attribute's first level begins, in units of K*K; 0 is the whole data set.
        starts, start = [], 1
        for number in self.levels.values():
            starts.append(start)
            start += number
        self._starts = torch.tensor(starts, dtype=torch.int64)
        self._sizes = torch.tensor(list(self.levels.values()), dtype=torch.int64)

    def update(
        self, preds: Tensor, target: Tensor, attributes: Tensor | None = None, weight: Tensor | None = None
    ) -> None:
        """Counts a batch.

        Args:
            preds: `[B]` int, the predicted class.
            target: `[B]` int, the true class.
            attributes: `[B, A]` int, the level of every attribute, -1 unknown; may be left out where there are none.
            weight: `[B]`; an image of weight 0 is not counted, any other counts once.
        """
        if self._starts.device != preds.device:
            self._starts, self._sizes = self._starts.to(preds.device), self._sizes.to(preds.device)
        K = self.num_classes
        cell = target * K + preds  # [B]
        counted = (preds >= 0) & (preds < K) & (target >= 0) & (target < K)
        if weight is not None:
            counted = counted & (weight != 0)
        index = cell.unsqueeze(1)  # [B, 1]
        valid = counted.unsqueeze(1)
        if self.levels and attributes is not None:
            known = (attributes >= 0) & (attributes < self._sizes)  # [B, A]
            index = torch.cat([index, (self._starts + attributes) * (K * K) + index], dim=1)  # [B, 1 + A]
            valid = torch.cat([valid, known & valid], dim=1)
        index = torch.where(valid, index, self.num_bins).flatten()
        self.histogram.scatter_add_(0, index, torch.ones_like(index))

    def compute(self) -> dict[str, Tensor]:
        """Returns int64 counts: `overall` `[K, K]` true class x prediction, and per attribute `[L, K, K]`."""
        K = self.num_classes
        tables = self.histogram[: self.num_bins].view(-1, K, K)
        counts, start = {"overall": tables[0]}, 1
        for name, number in self.levels.items():
            counts[name] = tables[start : start + number]
            start += number
        return counts
