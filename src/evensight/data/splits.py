"""Places images in splits: by a hash of their content, within their class, the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data.reading import SPLITS
from evensight.data.together import ALONE, codes, components

Ints = NDArray[np.int64]
_TRAIN = SPLITS.index("train")
_FILLED = ("test", "validation")  # in this order; training takes the rest
_PLACES = tuple(SPLITS.index(name) for name in _FILLED)


@dataclass(frozen=True)
class Fractions:
    """Shares of the images that come without a split; training takes the rest."""

    validation: float
    test: float


@dataclass(frozen=True)
class Placement:
    """The split of every row, and how many rows each missing split took from a given training split."""

    splits: list[str]
    carved: dict[str, int]


def open_splits(given: Sequence[str | None], fractions: Fractions) -> dict[str, float]:
    """Returns the splits that rows are placed in beside training, with their shares; empty where none is placed."""
    open_to = {"validation": fractions.validation, "test": fractions.test}
    if None in given:
        return open_to
    return {name: share for name, share in open_to.items() if name not in given and share > 0}


def place(
    contents: Sequence[str],
    labels: Sequence[str],
    given: Sequence[str | None],
    fractions: Fractions,
    seed: int,
    known: Mapping[str, str] | None = None,
    together: Sequence[Ints] = (),
    strata: Sequence[str] | None = None,
) -> Placement:
    """Gives every row a split.

    A given split is kept. Rows of equal content stay together, and so do rows that `together` ties to each other by
    any chain: with the given ones among them, else where `known` has them, else where they are placed. Placing is
    within a class (of several labels, the first) and a stratum of it: the images with the smallest hash of (seed,
    content) go to test, the next to validation, the rest to training; of three or more images of a class each of
    these gets at least one. Several contents that are tied are placed as one, when the hash of the smallest has its
    turn: where that brings the numbers nearer to the fractions, and leaves training an image of each class. Where
    every row has a split but none is validation (or test), that split is taken from the training rows in the same
    way.

    Args:
        contents: What each image is: its pixel digest.
        labels: Class names.
        given: Split, or None.
        fractions: Of validation and test.
        seed: Of the hash.
        known: Content -> split in the last version of the data set, which stays.
        together: Relations as of `together.components`, besides that of equal content.
        strata: What else splits should have alike, a text a row.

    Returns:
        Splits in the order of the rows.
    """
    open_to = open_splits(given, fractions)
    carving = None not in given and bool(open_to)
    rows = _Rows.of(contents, labels, given, together, strata)
    splits = rows.given.copy()
    loose = _join_given(splits, rows, carving)
    _Filling(rows, loose, open_to, seed, known or {}).fill(splits)
    names = [SPLITS[split] for split in splits.tolist()]
    carved = Counter(split for split, old in zip(names, given, strict=True) if old is not None and split != old)
    return Placement(names, dict(carved))


@dataclass(frozen=True)
class _Rows:
    """The rows as numbers: `content`, `unit` (of contents that stay together), `given`, `cell` `[N]`, and names."""

    content: Ints
    unit: Ints
    given: Ints  # position in SPLITS, ALONE for none
    cell: Ints  # class and stratum
    keys: list[str]  # of each content
    cell_class: Ints  # class of each cell

    @classmethod
    def of(
        cls,
        contents: Sequence[str],
        labels: Sequence[str],
        given: Sequence[str | None],
        together: Sequence[Ints],
        strata: Sequence[str] | None,
    ) -> _Rows:
        names = pl.Series("content", contents, pl.String)
        content = codes(names)
        unit = components([content, *together], len(content)) if together else content
        label = codes(pl.Series(labels, dtype=pl.String))
        stratum = np.zeros_like(label) if strata is None else codes(pl.Series(strata, dtype=pl.String))
        cells, cell = np.unique(np.stack([label, stratum], axis=1), axis=0, return_inverse=True)
        positions = {name: position for position, name in enumerate(SPLITS)}
        places = np.array([ALONE if split is None else positions[split] for split in given], np.int64)
        cell_class = cells[:, 0] if len(cells) else np.zeros(0, np.int64)
        return cls(content, unit, places, cell.reshape(-1), names.unique().sort().to_list(), cell_class)


def _join_given(splits: Ints, rows: _Rows, carving: bool) -> NDArray[np.bool_]:
    """Gives the rows of a unit that is given to a split that split, and returns the rows that are to be placed.

    Of several splits the first of `SPLITS` counts. While carving, units given to training alone are to be placed.
    """
    num_units = int(rows.unit.max(initial=-1)) + 1
    first = np.full(num_units, len(SPLITS), np.int64)
    last = np.full(num_units, ALONE, np.int64)
    stated = rows.given != ALONE
    np.minimum.at(first, rows.unit[stated], rows.given[stated])
    np.maximum.at(last, rows.unit[stated], rows.given[stated])
    loose = first == len(SPLITS)
    if carving:
        loose |= last == _TRAIN
    joining = ~stated & ~loose[rows.unit]
    splits[joining] = first[rows.unit[joining]]
    found: NDArray[np.bool_] = loose[rows.unit]
    return found


class _Filling:
    """Fills the open splits with contents that have none, counting down what each cell has room for."""

    def __init__(
        self,
        rows: _Rows,
        loose: NDArray[np.bool_],
        open_to: Mapping[str, float],
        seed: int,
        known: Mapping[str, str],
    ) -> None:
        self.rows, self.seed, self.loose = rows, seed, loose
        at = np.flatnonzero(loose)
        table = pl.DataFrame({"content": rows.content[at], "unit": rows.unit[at], "cell": rows.cell[at]})
        table = table.group_by("content").agg(pl.col("unit").first(), pl.col("cell").min(), pl.len().alias("size"))
        table = table.sort("content")
        self.content, self.unit = (table[name].to_numpy().astype(np.int64) for name in ("content", "unit"))
        # Lists from here on: they are counted down one by one.
        self.cell: list[int] = table["cell"].to_list()
        self.size: list[int] = table["size"].to_list()
        self.cell_class: list[int] = rows.cell_class.tolist()
        num_cells, num_classes = len(rows.cell_class), int(rows.cell_class.max(initial=-1)) + 1
        sizes = np.bincount(table["cell"].to_numpy(), table["size"].to_numpy(), num_cells).astype(np.int64)
        self.room: list[list[int]] = _room(sizes, rows.cell_class, num_classes, open_to).tolist()  # [_FILLED, cells]
        self.wanted = [sum(room) > 0 for room in self.room]
        # Images of each class that training keeps, as long as nothing is placed elsewhere.
        kept = (rows.given == _TRAIN) & ~loose
        of_class = np.bincount(rows.cell_class[rows.cell[kept]], minlength=num_classes)
        self.left: list[int] = (of_class + np.bincount(rows.cell_class, sizes, num_classes).astype(np.int64)).tolist()
        self.split = np.full(len(self.content), ALONE, np.int64)  # of each content
        self.known = [known.get(rows.keys[content]) for content in self.content.tolist()] if known else []
        self.open = {"train", *(name for name, share in open_to.items() if share > 0)}

    def fill(self, splits: Ints) -> None:
        """Writes the split of each row that is to be placed."""
        if len(self.content) == 0:
            return
        self._keep_known()
        units = self._units()
        for members in units:
            self._put(members, self._chosen(members))
        self._fill_empty(units)
        of_content = np.full(len(self.rows.keys), ALONE, np.int64)
        of_content[self.content] = self.split
        splits[self.loose] = of_content[self.rows.content[self.loose]]

    def _keep_known(self) -> None:
        """Keeps the splits of the last version; a new content joins those that it is tied to."""
        stated = np.array([SPLITS.index(name) if name in self.open else ALONE for name in self.known], np.int64)
        has = stated != ALONE
        if not has.any():
            return
        joined = np.full(int(self.rows.unit.max()) + 1, len(SPLITS), np.int64)
        np.minimum.at(joined, self.unit[has], stated[has])
        found = np.where(has, stated, joined[self.unit])
        found[found == len(SPLITS)] = ALONE
        for place in _PLACES:
            self._put(np.flatnonzero(found == place).tolist(), place)
        self.split = found

    def _units(self) -> list[list[int]]:
        """Returns what has no split yet, the contents of a unit together, in order of the hash of the smallest.

        One order for all, so that what is tied lies in every split as often as what is alone.
        """
        free = np.flatnonzero(self.split == ALONE)
        order = free[np.argsort(self.unit[free], kind="stable")]  # contents of a unit are in order of their keys
        bounds = [*np.flatnonzero(np.diff(self.unit[order], prepend=-1)).tolist(), len(order)]
        units = [order[first:last].tolist() for first, last in pairwise(bounds)]
        keys, contents = self.rows.keys, self.content.tolist()
        hashes = [hashlib.sha256(f"{self.seed}:{keys[contents[unit[0]]]}".encode()).digest() for unit in units]
        return [units[place] for place in sorted(range(len(units)), key=hashes.__getitem__)]

    def _chosen(self, members: list[int]) -> int:
        """Returns the split of a unit: the first with room; of several contents, where it comes nearer to its numbers.

        Those are large, so they must also leave training an image of each class.
        """
        for number in range(len(_FILLED)):
            if len(members) == 1:
                if self.room[number][self.cell[members[0]]] > 0:
                    return _PLACES[number]
            elif self._gain(members, number) >= 0 and self._spared(members):
                return _PLACES[number]
        return _TRAIN

    def _counts(self, members: list[int]) -> dict[int, int]:
        counts: dict[int, int] = {}
        for member in members:
            counts[self.cell[member]] = counts.get(self.cell[member], 0) + self.size[member]
        return counts

    def _gain(self, members: list[int], number: int) -> int:
        """Returns by how much the distance from the wanted numbers shrinks where a unit goes to a split."""
        room = self.room[number]
        return sum(abs(room[cell]) - abs(room[cell] - added) for cell, added in self._counts(members).items())

    def _spared(self, members: list[int]) -> bool:
        """Says whether training keeps an image of each class without these."""
        taken: dict[int, int] = {}
        for cell, number in self._counts(members).items():
            taken[self.cell_class[cell]] = taken.get(self.cell_class[cell], 0) + number
        return all(self.left[label] > number for label, number in taken.items())

    def _put(self, members: list[int], split: int) -> None:
        self.split[members] = split
        if split == _TRAIN:
            return
        room = self.room[_PLACES.index(split)]
        for member in members:
            room[self.cell[member]] -= self.size[member]
            self.left[self.cell_class[self.cell[member]]] -= self.size[member]

    def _fill_empty(self, units: list[list[int]]) -> None:
        """Gives a split that every unit was too large for the one that fits best."""
        for number, place in enumerate(_PLACES):
            if not self.wanted[number] or (self.split == place).any() or (self.rows.given == place).any():
                continue
            left = [unit for unit in units if self.split[unit[0]] == _TRAIN and self._spared(unit)]
            if left:
                self._put(max(left, key=lambda unit: self._gain(unit, number)), place)


def _room(sizes: Ints, cell_class: Ints, num_classes: int, open_to: Mapping[str, float]) -> Ints:
    """Returns how many images each open split takes of each cell `[2, cells]`: by class, then by cell in proportion."""
    room = np.zeros((len(_FILLED), len(sizes)), np.int64)
    starts = np.searchsorted(cell_class, np.arange(num_classes + 1))  # cells are in order of their class
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        free = sizes[first:last].copy()
        targets = _targets(int(free.sum()), open_to)
        for number, name in enumerate(_FILLED):
            share = _apportioned(targets.get(name, 0), sizes[first:last], free)
            room[number, first:last] = share
            free -= share
    return room


def _apportioned(total: int, sizes: Ints, free: Ints) -> Ints:
    """Divides a number among cells in proportion to their sizes, none more than is free, by largest remainders."""
    quota = total * sizes / max(1, int(sizes.sum()))
    share = np.minimum(np.floor(quota).astype(np.int64), free)
    while (missing := total - int(share.sum())) > 0 and (share < free).any():
        rest = np.where(share < free, quota - share, -np.inf)
        best = np.argsort(-rest, kind="stable")[: min(missing, int((share < free).sum()))]
        share[best] += 1
    return share


def _targets(num_images: int, open_to: Mapping[str, float]) -> dict[str, int]:
    """Returns how many of a class's images each open split takes; training keeps at least one."""
    targets = {name: round(share * num_images) for name, share in open_to.items() if share > 0}
    if num_images >= 3:
        targets = {name: max(1, number) for name, number in targets.items()}
    while targets and sum(targets.values()) >= num_images and max(targets.values()) > 0:
        largest = max(targets, key=lambda name: targets[name])
        targets[largest] -= 1
    return targets
