"""What drawn data sets share where several of their images are drawn again at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.errors import unknown

Ints = NDArray[np.int64]


def by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Ints, Ints]]:
    """Returns by split, of rows whose ``path`` is ``images/<split>/<number>.png``: positions `[K]`, numbers `[K]`."""
    paths = [PurePosixPath(str(row["path"])) for row in rows]
    found: dict[str, tuple[list[int], list[int]]] = {}
    for position, path in enumerate(paths):
        positions, numbers = found.setdefault(path.parent.name, ([], []))
        positions.append(position)
        numbers.append(int(path.stem))
    return {split: (np.asarray(at, np.int64), np.asarray(index, np.int64)) for split, (at, index) in found.items()}


def numbered(attribute: str, asked: Sequence[str], levels: Mapping[str, Sequence[str]]) -> Ints:
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
