"""What each image says of a requirement: which comparison it belongs to, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.monitor.live import Ints, Live
from evensight.objective.comparisons import Comparisons
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement


@dataclass(frozen=True)
class Observations:
    """One entry an image and comparison, in the order of the images' time.

    Attributes:
        place: Of the image in the log [n].
        sequence: Position among the comparisons' names, or among the groups of a gap [n].
        value: 1 or 0 of a rate or gap; 1, -1 or 0 of a difference: only the first happened, only the second, else.
    """

    place: Ints
    sequence: Ints
    value: Ints


def observed(
    requirement: Requirement, objective: Objective, usual: dict[str, tuple[int, ...]], live: Live, row: Comparisons
) -> Observations | str:
    """Returns what the images say of a requirement, or why the monitor cannot follow its metric.

    Args:
        requirement: Measured: `row` are its comparisons over the whole log, which name the sequences.
        objective: Resolved.
        usual: By attribute the usual level of each class.
        live: The log.
        row: See above.
    """
    if requirement.metric == "reliance":
        operators = live.outcomes[requirement.cue or ""]
        parts = [
            (moves.place, moves.transplant.astype(np.int64) - moves.placebo)
            for moves in (operators[name] for name in row.names)
        ]
        return _chained(parts)
    if requirement.metric == "advantage":
        return _chained([_beaten(live, live.rivals[name]) for name in row.names])
    if requirement.metric in ("accuracy", "recall", "precision"):
        return _rates(requirement, objective, usual, live)
    return f"the monitor does not follow {requirement.metric} image by image"


def _rates(
    requirement: Requirement, objective: Objective, usual: dict[str, tuple[int, ...]], live: Live
) -> Observations:
    places = live.labelled
    label, prediction = live.labels[places], live.predictions[places]
    scope, attribute = requirement.scope, requirement.attribute
    if requirement.metric == "precision":
        sequence = prediction
    elif attribute is None:
        sequence = label if scope == "each_class" else np.zeros(len(places), dtype=np.int64)
    else:
        level = live.attributes[attribute][places]
        sequence = level
        if scope == "each_cell":
            sequence = np.where(level >= 0, label * len(objective.levels[attribute]) + level, -1)
        elif scope == "conflicting":
            expected = np.asarray(usual[attribute])[label]
            sequence = np.where((level >= 0) & (expected >= 0) & (level != expected), 0, -1)
    known = sequence >= 0
    return Observations(places[known], sequence[known], (label == prediction)[known].astype(np.int64))


def _beaten(live: Live, said: Ints) -> tuple[Ints, Ints]:
    """Compares the model with a rival on the labelled images that the rival said something of."""
    places = live.labelled
    places = places[said[places] >= 0]
    right: NDArray[np.bool_] = live.predictions[places] == live.labels[places]
    return places, right.astype(np.int64) - (said[places] == live.labels[places])


def _chained(parts: list[tuple[Ints, Ints]]) -> Observations:
    """Puts sequences of the same images into one list, ordered by image."""
    place = np.concatenate([places for places, _ in parts])
    sequence = np.repeat(np.arange(len(parts)), [len(places) for places, _ in parts])
    value = np.concatenate([values for _, values in parts])
    order = np.argsort(place, kind="stable")
    return Observations(place[order], sequence[order], value[order])
