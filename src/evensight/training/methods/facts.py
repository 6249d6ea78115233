"""What a method may know of the training data before any image is read."""

from __future__ import annotations

import numpy as np

from evensight.data.manifest import Manifest
from evensight.data.side_tables import SAYS
from evensight.objective.objective import Objective
from evensight.training.methods.base import DataFacts


def data_facts(manifest: Manifest, objective: Objective | None = None) -> DataFacts:
    """Counts the images that training uses; those left out and those that cannot be decoded are not among them.

    Args:
        manifest: The prepared data.
        objective: Whose primary metric may name the attribute that methods take where their options name none.
    """
    trained = manifest.trained()
    labels, attributes = manifest.labels("train")[trained], manifest.attributes("train")[trained]
    num_classes = len(manifest.classes)
    cells = {}
    for column, (name, levels) in enumerate(manifest.levels.items()):
        known = attributes[:, column] >= 0
        places = labels[known] * len(levels) + attributes[known, column]
        counts = np.bincount(places, minlength=num_classes * len(levels))
        cells[name] = counts.reshape(num_classes, len(levels)).tolist()
    return DataFacts(
        class_counts=np.bincount(labels, minlength=num_classes).tolist(),
        num_images=len(manifest.frame),
        levels={name: len(levels) for name, levels in manifest.levels.items()},
        cells=cells,
        default_attribute=default_attribute(manifest, objective),
    )


def default_attribute(manifest: Manifest, objective: Objective | None = None) -> str | None:
    """Returns the attribute of the primary metric, else the only one with a usual level, else the only `<cue>_says`.

    Args:
        manifest: The prepared data, with its side tables.
        objective: None: the manifest alone decides.

    Returns:
        A name of `manifest.levels`; None where none stands out.
    """
    primary = None if objective is None else objective.primary.attribute
    if primary in manifest.levels:
        return primary
    for found in (list(manifest.usual), [name for name in manifest.levels if name.endswith(SAYS)]):
        if len(found) == 1:
            return found[0]
    return None
