"""Automatic feature reweighting: the last layer is fitted anew on what the network is not sure of; told no groups.

Qiu, Potapczynski, Izmailov, Wilson: Simple and Fast Group Robustness by Automatic Feature Reweighting (ICML 2023).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.training.methods.base import DataFacts
from evensight.training.methods.last_layer import Embedded, LastLayer
from evensight.training.methods.linear_head import Array, Head, Scale, cross_entropy, fit_head
from evensight.training.task import SingleLabel

log = logging.getLogger(__name__)


class AFR(LastLayer):
    """Weighs an image by exp(-gamma p), p what the network gives its class, over the images of its class.

    Then minimises the weighted loss plus `strength` / 2 times the squared distance from the network's own last layer.
    The paper stops gradient descent early and chooses gamma, strength and steps by the worst group of labelled
    validation images; here the optimum is taken, nothing is chosen, and the distance is measured for standardised
    features, so that one strength suits networks of any scale.

    Options of its own beside those of `LastLayer`: `gamma` (0 or more; the paper tried 4 to 20) and `strength` (above
    0).
    """

    allowed = (*LastLayer.allowed, "gamma", "strength")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.gamma = float(options.get("gamma", 4.0))
        self.strength = float(options.get("strength", 0.01))

    def solve(self, images: Embedded, head: Head) -> Head:
        """Returns the layer at the optimum."""
        scale = Scale.of(images.features)
        features, start = scale.standardised(images.features), scale.unfolded(head)
        # Of a soft label, the chance of the label as it was given: exp(-cross-entropy).
        sure = np.exp(-cross_entropy(start.logits(features), images.target))
        weights = unsure_weights(sure, images.label, self.gamma)
        log.info(
            "afr: last layer fitted on %d images, which weigh like %.0f (gamma %g, strength %g)",
            *(len(weights), 1 / (weights**2).sum(), self.gamma, self.strength),
        )
        return scale.folded(fit_head(features, images.target, weights, "l2", self.strength, start, True))


def unsure_weights(sure: Array, label: NDArray[np.int64], gamma: float) -> Array:
    """Returns weights `[N]` of sum 1, each above 0: exp(-gamma p) / (images of the class), as the paper has it.

    Args:
        sure: What the network gives each image's class, 0 to 1 `[N]`.
        label: `[N]`.
        gamma: 0 weighs the images of a class alike.
    """
    weights = np.exp(-gamma * sure) / np.bincount(label)[label]
    return np.asarray(weights / weights.sum())
