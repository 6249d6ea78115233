"""In which split an answered image goes, and which are left out: a pure function of what is known of each.

Only the control sample, which is uniform, may go to validation or test, by a hash of its content. What was picked for
another reason goes to training: its share of mistakes says nothing of the traffic. A top-up of a cell would have to
count for its cell alone, which the counts of a verdict cannot express, so it goes to training, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evensight.data.reading import SPLITS
from evensight.update.choosing import CONTROL

TRAIN, VALIDATION, TEST = SPLITS


@dataclass(frozen=True)
class Fractions:
    """Shares of the control sample; training takes the rest."""

    test: float = 0.5
    validation: float = 0.2


@dataclass(frozen=True)
class Addition:
    """An answered image.

    Attributes:
        id: The server's.
        reason: Of `choosing.REASONS`.
        label: That it was given.
        pixels: Digest of its pixels.
        alike: Number of its cluster of near duplicates among the additions.
        near_test: Path of an old test image that it nearly equals; None where there is none.
    """

    id: str
    reason: str
    label: str
    pixels: str
    alike: int
    near_test: str | None = None


@dataclass(frozen=True)
class Known:
    """An old image: its split, its label and its path."""

    split: str
    label: str
    path: str


@dataclass(frozen=True)
class Placed:
    """What becomes of the additions.

    Attributes:
        splits: By id, of those that are used.
        left_out: By id, why the others are not.
        leaks: By id, the old test image that one equals, or nearly equals, which would have gone to training or
            validation; they are among `left_out`, too.
    """

    splits: dict[str, str]
    left_out: dict[str, str]
    leaks: dict[str, str]


def placed(additions: Sequence[Addition], old: Mapping[str, Known], fractions: Fractions, seed: int) -> Placed:
    """Places additions.

    Near duplicates share a split; where one of the control sample is tested or validated on, no near duplicate of it
    is trained on.

    Args:
        additions: Each id once.
        old: The rows that the data set has, by the digest of their pixels.
        fractions: Of the control sample.
        seed: Of the hash.
    """
    wanted = _wanted(additions, fractions, seed)
    held_out = {one.alike for one in additions if wanted[one.id] != TRAIN}
    given: dict[str, set[str]] = defaultdict(set)
    for one in additions:
        given[one.pixels].add(one.label)
    result = Placed({}, {}, {})
    seen: set[str] = set()
    for one in sorted(additions, key=lambda one: one.reason != CONTROL):  # of equal images the control's counts
        split = wanted[one.id]
        why = _why_not(one, split, old, len(given[one.pixels]) > 1, seen, held_out)
        test = old[one.pixels].path if one.pixels in old and old[one.pixels].split == TEST else one.near_test
        if test is not None and split != TEST:
            result.leaks[one.id] = test
        if why is None:
            result.splits[one.id] = split
            seen.add(one.pixels)
        else:
            result.left_out[one.id] = why
    return result


def control_split(key: str, fractions: Fractions, seed: int) -> str:
    """Returns the split of an image of the control sample: by SHA-256 of the seed and its content."""
    digest = hashlib.sha256(f"evensight merge {seed}:{key}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < fractions.test:
        return TEST
    return VALIDATION if share < fractions.test + fractions.validation else TRAIN


def in_words(left_out: Collection[str]) -> list[str]:
    """Returns a sentence for each reason that additions were left out for, with their number."""
    return [f"{count:,} answered images are left out: {why}" for why, count in Counter(left_out).most_common()]


def _wanted(additions: Sequence[Addition], fractions: Fractions, seed: int) -> dict[str, str]:
    keys: dict[int, str] = {}
    for one in additions:
        if one.reason == CONTROL:
            keys[one.alike] = min(one.pixels, keys.get(one.alike, one.pixels))
    return {
        one.id: control_split(keys[one.alike], fractions, seed) if one.reason == CONTROL else TRAIN for one in additions
    }


def _why_not(
    one: Addition, split: str, old: Mapping[str, Known], disputed: bool, seen: set[str], held_out: set[int]
) -> str | None:
    if one.pixels in old:
        return f"the {old[one.pixels].split} split has the very same pixels"
    if disputed:
        return "the very same pixels were given several labels"
    if one.pixels in seen:
        return "the very same pixels are among the answers already"
    if one.near_test is not None and split != TEST:
        return "nearly equal to a test image"
    if split == TRAIN and one.alike in held_out:
        return "nearly equal to an image of the control sample that is not trained on"
    return None
