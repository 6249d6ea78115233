"""Resampling: every class, level or cell is drawn alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evensight.data.manifest import Manifest
from evensight.errors import unknown
from evensight.training.methods.base import DataFacts, Weights
from evensight.training.methods.cells import OVER
from evensight.training.methods.erm import ERM
from evensight.training.methods.grouped import attribute_named, even_weights, refuse_class_weights
from evensight.training.task import SingleLabel


class Resample(ERM):
    """The mean loss over images that are drawn evenly over classes, levels of an attribute, or cells.

    "Simple data balancing achieves competitive worst-group accuracy" (Idrissi et al., CLeaR 2022), which calls drawing
    by cell RWG and drawing by class RWY. Each epoch draws as many images as there are, with replacement. What an empty
    cell and an unknown level get: `cells.even_shares`.

    Options: `over` (`class`, `group` or `cell`), `attribute` (whose levels are the groups; null takes the objective's,
    and over=class needs none), `label_smoothing`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If the attribute or `over` is unknown, or `class_weights` would balance the classes twice.
    """

    allowed = (*ERM.allowed, "attribute", "over")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        refuse_class_weights(options, "resample")
        super().__init__(options, task, facts)
        self.over = str(options.get("over", "cell"))
        if self.over not in OVER:
            raise unknown("method.over", self.over, OVER)
        named = options.get("attribute")
        needed = self.over != "class" or named is not None
        self.attribute = attribute_named(facts, named) if needed else None

    def sample_weights(self, manifest: Manifest) -> Weights:
        """Returns the weight of each training image `[N]`; see `even_shares`."""
        return even_weights(manifest, None if self.over == "class" else self.attribute, self.over)
