"""What several people said of one image, as one answer: the label of most, and which of their boxes are one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from evensight.data.annotations.boxes import Box

SAME_OBJECT = 0.5  # overlap (intersection over union) from which two people's boxes are of one object


def majority(labels: Iterable[str], order: Sequence[str]) -> tuple[str, bool]:
    """Returns the label that most gave, and whether others were given as often.

    Args:
        labels: One for each answer; at least one.
        order: Of equally many, the first in it wins; labels it lacks come after, by their code points.
    """
    counts = Counter(labels)
    most = max(counts.values())
    leading = [label for label, count in counts.items() if count == most]
    places = {label: place for place, label in enumerate(order)}
    return min(leading, key=lambda label: (places.get(label, len(places)), label)), len(leading) > 1


def matched(boxes: Sequence[Sequence[Box]]) -> list[list[tuple[int, int]]]:
    """Finds out which boxes of several people are of one object.

    Each box, person by person, goes to the object that it overlaps most with, by `SAME_OBJECT` at least, among those
    the person has no box of yet; else it is a new object. An object is where its first box is.

    Args:
        boxes: Of each person.

    Returns:
        For each object its boxes as (person, position), in the order they were met.
    """
    objects: list[list[tuple[int, int]]] = []
    places: list[Box] = []
    for person, drawn in enumerate(boxes):
        before = np.array(places, np.float64).reshape(-1, 4)
        free = np.ones(len(before), np.bool_)
        for position, box in enumerate(drawn):
            overlap = np.where(free, overlaps(before, box), 0.0)
            best = int(overlap.argmax()) if len(overlap) else -1
            if best >= 0 and overlap[best] >= SAME_OBJECT:
                objects[best].append((person, position))
                free[best] = False
            else:
                objects.append([(person, position)])
                places.append(box)
    return objects


def overlaps(boxes: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """Returns the intersection over union of each of `boxes` `[N, 4]` with `box`, `[N]`."""
    corners = np.array(box, np.float64)
    sides = np.minimum(boxes[:, 2:], corners[2:]) - np.maximum(boxes[:, :2], corners[:2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    union = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(corners[2:] - corners[:2]) - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)
    return overlap
