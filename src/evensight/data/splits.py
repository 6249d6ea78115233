"""Places images in splits: by a hash of their content, within their class, the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evensight.data.reading import SPLITS


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


def place(
    contents: Sequence[str],
    labels: Sequence[str],
    given: Sequence[str | None],
    fractions: Fractions,
    seed: int,
    known: Mapping[str, str] | None = None,
) -> Placement:
    """Gives every row a split.

    A given split is kept. Rows of equal content stay together: with the given ones among them, else where `known` has
    them, else where they are placed. Placing is within a class (of several labels, the first): the images with the
    smallest hash of (seed, content) go to test, the next to validation, the rest to training; of three or more images
    each of these gets at least one. Where every row has a split but none is validation (or test), that split is taken
    from the training rows in the same way.

    Args:
        contents: What each image is: its pixel digest.
        labels: Class names.
        given: Split, or None.
        fractions: Of validation and test.
        seed: Of the hash.
        known: Content -> split in the last version of the data set, which stays.

    Returns:
        Splits in the order of the rows.
    """
    open_to = {"validation": fractions.validation, "test": fractions.test}
    complete = None not in given
    if complete:
        open_to = {name: share for name, share in open_to.items() if name not in given}
    carving = complete and any(open_to.values())

    fixed = _fixed(contents, given, carving)
    loose: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        if content not in fixed:
            loose[content].append(row)
    placed = _placed(loose, labels, open_to, seed, known or {})

    splits = [
        (split or fixed[content]) if content in fixed else placed[content]
        for content, split in zip(contents, given, strict=True)
    ]
    carved = Counter(split for split, old in zip(splits, given, strict=True) if old is not None and split != old)
    return Placement(splits, dict(carved))


def _fixed(contents: Sequence[str], given: Sequence[str | None], carving: bool) -> dict[str, str]:
    """Returns the given split of each content; while carving, content given to training alone is open."""
    names: dict[str, set[str]] = defaultdict(set)
    for content, split in zip(contents, given, strict=True):
        if split is not None:
            names[content].add(split)
    return {
        content: min(found, key=SPLITS.index)
        for content, found in names.items()
        if not (carving and found == {"train"})
    }


def _placed(
    loose: Mapping[str, Sequence[int]],
    labels: Sequence[str],
    open_to: Mapping[str, float],
    seed: int,
    known: Mapping[str, str],
) -> dict[str, str]:
    """Places groups of rows of equal content, class by class."""
    strata: dict[str, list[str]] = defaultdict(list)
    for content, rows in loose.items():
        strata[min(labels[row] for row in rows)].append(content)
    placed: dict[str, str] = {}
    for members in strata.values():
        room = _targets(sum(len(loose[content]) for content in members), open_to)
        new = []
        for content in members:
            split = known.get(content)
            if split == "train" or split in room:
                placed[content] = split
                room[split] = room.get(split, 0) - len(loose[content])
            else:
                new.append(content)
        for content in sorted(new, key=lambda content: _hash(seed, content)):
            split = next((name for name in ("test", "validation") if room.get(name, 0) > 0), "train")
            placed[content] = split
            room[split] = room.get(split, 0) - len(loose[content])
    return placed


def _targets(num_images: int, open_to: Mapping[str, float]) -> dict[str, int]:
    """Returns how many of a class's images each open split takes; training keeps at least one."""
    targets = {name: round(share * num_images) for name, share in open_to.items() if share > 0}
    if num_images >= 3:
        targets = {name: max(1, number) for name, number in targets.items()}
    while targets and sum(targets.values()) >= num_images and max(targets.values()) > 0:
        largest = max(targets, key=lambda name: targets[name])
        targets[largest] -= 1
    return targets


def _hash(seed: int, content: str) -> str:
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
