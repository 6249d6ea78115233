"""What methods have in common that are told the groups: an attribute, its cells, and who has an image where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from evensight.data.manifest import Manifest
from evensight.errors import UserError, unknown
from evensight.training.methods.base import Batch, DataFacts, Weights
from evensight.training.methods.cells import cell_counts, cell_index, even_shares, sampling_weights
from evensight.training.methods.erm import ERM
from evensight.training.task import SingleLabel


def attribute_named(facts: DataFacts, name: str | None) -> str:
    """Returns the attribute whose levels are the groups.

    Args:
        facts: Of the training data.
        name: What the options say; None takes the default.

    Raises:
        UserError: If there is no such attribute, or none that stands out.
    """
    if name is None:
        name = facts.default_attribute
    if name is None and not facts.levels:
        raise UserError(
            "method.attribute: these images come with no attribute, so nothing says their groups; run evensight audit, "
            "which finds out what each cue says, or take a method that is told no groups: jtt, lff or fg_ccdb."
        )
    if name is None:
        raise UserError(
            f"method.attribute: nothing given, and the objective's primary metric names none; "
            f"allowed: {', '.join(sorted(facts.levels))}."
        )
    if name not in facts.levels:
        raise unknown("method.attribute", name, facts.levels)
    return name


def refuse_class_weights(options: Mapping[str, Any], name: str) -> None:
    """Raises UserError if classes are to be weighted by a method that balances them by itself."""
    if options.get("class_weights", "none") != "none":
        raise UserError(
            f"method.class_weights: found {options['class_weights']!r}, but {name} balances the classes by itself; "
            "allowed is none."
        )


class Grouped(ERM):
    """A method that goes by the cells of one attribute.

    Options of its own: `attribute`, whose levels are the groups; null takes `facts.default_attribute`.

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.

    Raises:
        UserError: If the attribute is not one of the data's, or `class_weights` would balance the classes twice.

    Attributes:
        attribute: Its name.
        num_levels: L.
        counts: Training images of each cell `[K, L + 1]`, see `cells.py`.
    """

    allowed: ClassVar[tuple[str, ...]] = (*ERM.allowed, "attribute")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.attribute = attribute_named(facts, options.get("attribute"))
        self.num_levels = facts.levels[self.attribute]
        self.counts = cell_counts(facts, self.attribute)
        self._column = list(facts.levels).index(self.attribute)

    def levels_of(self, batch: Batch) -> Tensor:
        """Returns the level of each image `[B]`, -1 where unknown."""
        levels: Tensor = batch["attributes"][:, self._column]
        return levels

    def cells_of(self, batch: Batch) -> Tensor:
        """Returns the number of each image's cell `[B]`."""
        label: Tensor = batch["label"]
        return cell_index(label, self.levels_of(batch), self.num_levels)


def even_weights(manifest: Manifest, attribute: str | None, over: str) -> Weights:
    """Returns sampling weights of the training images `[N]` under which the draws are even; see `even_shares`.

    Args:
        manifest: The prepared data.
        attribute: Whose levels are the groups; None: there are no groups.
        over: ``class``, ``group`` or ``cell``.
    """
    labels = manifest.labels("train")
    levels, num_levels = np.full(len(labels), -1, np.int64), 0
    if attribute is not None:
        levels = manifest.attributes("train")[:, list(manifest.levels).index(attribute)]
        num_levels = len(manifest.levels[attribute])
    shape = len(manifest.classes), num_levels
    return sampling_weights(labels, levels, manifest.trained(), shape, lambda counts: even_shares(counts, over))
