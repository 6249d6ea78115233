"""What drawn data sets share: their images are drawn again with another level, several at once."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.datasets.shapes_draw import SIZE
from evensight.errors import unknown

Ints = NDArray[np.int64]


class Redrawn(abc.ABC):
    """Draws images of ``images/<split>/<number>.png`` anew; see `testing.truth.RedrawsBatches`."""

    @abc.abstractmethod
    def _redrawable(self, attribute: str) -> Mapping[str, Sequence[str]]:
        """Returns the levels of every attribute that can be drawn anew.

        Raises:
            UserError: If none can, so not `attribute`.
        """

    @abc.abstractmethod
    def _redrawn(self, split: str, index: Ints, attribute: str, level: Ints) -> NDArray[np.uint8]:
        """Returns pixels `[K, 64, 64, 3]` of images `index` `[K]` of a split with the levels numbered `level` `[K]`."""

    def redraw(self, row: Mapping[str, Any], attribute: str, level: str) -> NDArray[np.uint8]:
        """Draws an image of the manifest again with another level of an attribute, all else equal.

        Args:
            row: A row of the manifest; its ``path`` says which image.
            attribute: To be drawn anew.
            level: One of its levels.

        Returns:
            Pixels uint8 [64, 64, 3].

        Raises:
            UserError: If the attribute cannot be redrawn, or `level` is not one of its levels.
        """
        redrawn: NDArray[np.uint8] = self.redraw_batch([row], attribute, [level])[0]
        return redrawn

    def redraw_batch(
        self, rows: Sequence[Mapping[str, Any]], attribute: str, levels: Sequence[str]
    ) -> NDArray[np.uint8]:
        """Draws several images again, as `redraw` does, in less time.

        Args:
            rows: Of the manifest, N.
            attribute: To be drawn anew.
            levels: The level of each, N.

        Returns:
            Pixels uint8 [N, 64, 64, 3].

        Raises:
            UserError: As `redraw`.
        """
        number = _numbered(attribute, levels, self._redrawable(attribute))
        redrawn = np.empty((len(rows), SIZE, SIZE, 3), np.uint8)
        for split, (at, index) in _by_split(rows).items():
            redrawn[at] = self._redrawn(split, index, attribute, number[at])
        return redrawn


def _by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Ints, Ints]]:
    """Returns by split, of rows whose ``path`` is ``images/<split>/<number>.png``: positions `[K]`, numbers `[K]`."""
    paths = [PurePosixPath(str(row["path"])) for row in rows]
    found: dict[str, tuple[list[int], list[int]]] = {}
    for position, path in enumerate(paths):
        positions, numbers = found.setdefault(path.parent.name, ([], []))
        positions.append(position)
        numbers.append(int(path.stem))
    return {split: (np.asarray(at, np.int64), np.asarray(index, np.int64)) for split, (at, index) in found.items()}


def _numbered(attribute: str, asked: Sequence[str], levels: Mapping[str, Sequence[str]]) -> Ints:
    """Returns the numbers of levels that are asked for `[N]`.

    Args:
        attribute: To be drawn anew.
        asked: Its level of each image, N.
        levels: Of every attribute that can be drawn anew.

    Raises:
        UserError: If the attribute cannot be redrawn, or a level is not one of its own.
    """
    if attribute not in levels:
        raise unknown("attribute to redraw", attribute, levels)
    number = {level: place for place, level in enumerate(levels[attribute])}
    for level in asked:
        if level not in number:
            raise unknown(attribute, level, levels[attribute])
    return np.asarray([number[level] for level in asked], dtype=np.int64)
