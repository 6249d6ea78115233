"""The images of a trial: which of them conflict with what goes with the label, and how two networks differ on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evensight.config import Config
from evensight.cues import Cue
from evensight.cues.probe import fit_probe
from evensight.cues.probing import describe
from evensight.data.manifest import Manifest
from evensight.data.side_tables import SAYS
from evensight.metrics.paired import tango_interval
from evensight.objective.conflicting import conflicts
from evensight.training.focus.trial_fit import Pictures, fitted, pictures, right

NUM_TRAIN, NUM_VALIDATION = 2000, 1500  # images at most
NUM_STEPS = 100  # of 64 images: three passes over the training images
LEAST_IMAGES = 10  # fewer contradicting images tell nothing

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """Both networks on the conflicting validation images of one attribute.

    Attributes:
        attribute: Its name; `<cue>_says` for what the cue itself says of the label.
        n: Conflicting images.
        without_focus: Accuracy on them of the network that sees the images as they are; 0 where there are none.
        with_focus: Of the one that was trained with the cues randomized.
        low: Lower bound of the fall, one-sided at alpha over the number of comparisons.
        high: Upper bound.
        even_without_focus: Accuracy with all cells of class and level weighted alike; None where one has no image.
        even_with_focus: The same with focus.
    """

    attribute: str
    n: int
    without_focus: float
    with_focus: float
    low: float
    high: float
    even_without_focus: float | None = None
    even_with_focus: float | None = None


@dataclass(frozen=True)
class TrialImages:
    """The images of a trial, and which of them conflict with what.

    Attributes:
        train: A sample.
        validation: A sample with at most half of its images from those that conflict.
        num_classes: K.
        seed: Of the samples and of every training.
        says: By cue, the class that it suggests of each validation image.
        conflicting: By attribute, or `<cue>_says`, the validation images that conflict.
        cells: By the same, the cell of class and level of each validation image, -1 where unknown.
        num_cells: By the same, how many cells there are.
    """

    train: Pictures
    validation: Pictures
    num_classes: int
    seed: int
    says: Mapping[str, NDArray[np.int64]]
    conflicting: Mapping[str, Bools]
    cells: Mapping[str, NDArray[np.int64]]
    num_cells: Mapping[str, int]

    @classmethod
    def prepared(cls, manifest: Manifest, cues: Sequence[Cue], config: Config, side: int, seed: int) -> TrialImages:
        """Draws the samples, decodes them and finds what conflicts."""
        generator = np.random.default_rng(seed)
        needs = sorted({name for cue in cues for name in cue.needs})
        drawn = generator.permutation(np.flatnonzero(manifest.trained()))[:NUM_TRAIN]
        train = pictures(manifest, "train", np.sort(drawn), config, side, needs)
        judged = _validation_rows(manifest, generator)
        validation = pictures(manifest, "validation", judged, config, side, needs)
        labels, num_classes = validation.labels.numpy(), len(manifest.classes)
        levels = manifest.attributes("validation")[validation.positions]
        says = {cue.name: _says(cue, train, validation, num_classes, seed) for cue in cues}
        conflicting, cells, num_cells = {}, {}, {}
        for column, (name, names) in enumerate(manifest.levels.items()):
            if name in manifest.usual:
                level = levels[:, column]
                conflicting[name] = conflicts(level, labels, manifest.usual[name])
                cells[name] = np.where(level >= 0, labels * len(names) + level, -1)
                num_cells[name] = num_classes * len(names)
        if not conflicting:
            for cue, said in says.items():
                conflicting[cue + SAYS] = said != labels
                cells[cue + SAYS] = labels * num_classes + said
                num_cells[cue + SAYS] = num_classes**2
        return cls(train, validation, num_classes, seed, says, conflicting, cells, num_cells)

    def judged(self, cues: Sequence[Cue], strength: float, times: int = 1) -> Bools:
        """Trains a network and returns which validation images it names rightly."""
        network = fitted(self.train, self.num_classes, cues, strength, NUM_STEPS * times, self.seed)
        return right(network, self.validation)

    def compared(self, before: Bools, after: Bools, alpha: float) -> list[Comparison]:
        """Compares two networks on all that conflicts; alpha of all comparisons together."""
        return [
            replace(
                _comparison(name, before[where], after[where], alpha / len(self.conflicting)),
                even_without_focus=self._even(name, before),
                even_with_focus=self._even(name, after),
            )
            for name, where in self.conflicting.items()
        ]

    def contradicted(self, cue: Cue) -> bool:
        """Returns whether images of the validation split speak against the cue being the label.

        They conflict in an attribute, and the cue itself names another class for most of them: an image whose place is
        not its class's says nothing of colour while its colour is.
        """
        against = self.says[cue.name] != self.validation.labels.numpy()
        return any(where.sum() >= LEAST_IMAGES and against[where].mean() >= 0.5 for where in self.conflicting.values())

    def _even(self, name: str, correct: Bools) -> float | None:
        cell, size = self.cells[name], self.num_cells[name]
        known = cell >= 0
        n = np.bincount(cell[known], minlength=size)
        if not n.all():
            return None
        return float((np.bincount(cell[known], correct[known], size) / n).mean())


def _validation_rows(manifest: Manifest, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draws validation images, at most half of them from those that conflict in an attribute, which may be few."""
    usable = manifest.split("validation")["error"].is_null().to_numpy() & (manifest.labels("validation") >= 0)
    labels, levels = manifest.labels("validation"), manifest.attributes("validation")
    against = np.zeros(len(labels), np.bool_)
    for column, name in enumerate(manifest.levels):
        if name in manifest.usual:
            against |= conflicts(levels[:, column], labels, manifest.usual[name])
    first = generator.permutation(np.flatnonzero(usable & against))[: NUM_VALIDATION // 2]
    others = np.setdiff1d(np.flatnonzero(usable), first)
    rest = generator.permutation(others)[: NUM_VALIDATION - len(first)]
    return np.sort(np.concatenate([first, rest])).astype(np.int64)


def _says(cue: Cue, train: Pictures, validation: Pictures, num_classes: int, seed: int) -> NDArray[np.int64]:
    """The class that the cue alone suggests of each validation image, by a probe of the training images."""
    probe = fit_probe(describe(cue, train.images, train.extra), train.labels, num_classes, seed)
    found: NDArray[np.int64] = probe.predict(describe(cue, validation.images, validation.extra)).numpy()
    return found


def _comparison(name: str, before: Bools, after: Bools, alpha: float) -> Comparison:
    lost, gained, n = int((before & ~after).sum()), int((after & ~before).sum()), len(before)
    low, high = tango_interval(lost, gained, n, alpha)
    return Comparison(name, n, share(before), share(after), float(low), float(high))


def share(correct: Bools) -> float:
    """Returns the share of right answers, 0 where there is no image."""
    return float(correct.mean()) if len(correct) else 0.0
