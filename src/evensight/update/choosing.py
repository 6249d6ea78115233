"""Which images of the traffic are worth a label: pure functions of arrays, the same on every machine.

Four reasons. The **control** sample is drawn by a keyed hash of the ids over all images, whatever the model said of
them, so that what it shows holds for the traffic as it is. The others are picked for training, and say nothing of how
often anything happens: images of **cells** without evidence, images on which a **cue** and the decision are at odds,
and those the model is **uncertain** of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CONTROL, CELL, CUE, UNCERTAIN = "control", "cell", "cue_conflict", "uncertain"
REASONS = (CONTROL, CELL, CUE, UNCERTAIN)
# Of what the control sample leaves of a budget: cells without evidence first need few, uncertain images are many.
_OF_THE_REST = {CELL: 0.35, CUE: 0.40, UNCERTAIN: 0.25}


def keyed(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """Returns a uniform number of each id `[N]`: the first 8 bytes of SHA-256 of the seed and the id."""
    digests = (hashlib.sha256(f"evensight update {seed}:{name}".encode()).digest()[:8] for name in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def budgets(total: int, control: float) -> dict[str, int]:
    """Divides a budget of images among the reasons by largest remainders.

    Args:
        total: Images in all.
        control: Share of the control sample, 0 to 1.
    """
    shares = {CONTROL: control, **{name: (1 - control) * share for name, share in _OF_THE_REST.items()}}
    parts = {name: int(total * share + 1e-9) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: parts[name] - total * shares[name])
    for name in by_rest[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def in_turns(parts: Sequence[Ints]) -> Ints:
    """Takes one of each part in turn until all are empty; a position that several have stands where it comes first."""
    turns = [part[turn] for turn in range(max(map(len, parts), default=0)) for part in parts if turn < len(part)]
    return np.array(list(dict.fromkeys(int(one) for one in turns)), dtype=np.int64)


def of_cells(cells: Sequence[Bools], order: NDArray[np.uint64]) -> Ints:
    """Ranks images of the cells that want evidence: one of each in turn, within a cell by the hash.

    Args:
        cells: Of each wanted cell, the neediest first, which images the model puts into it `[N]`.
        order: Of `keyed` `[N]`.
    """
    return in_turns([_ordered(np.flatnonzero(cell), order) for cell in cells])


def of_cues(moved: Sequence[Bools], at_odds: Sequence[Bools], order: NDArray[np.uint64]) -> Ints:
    """Ranks images by what cues do: one of each cue in turn, first those that another image's cue moved.

    Args:
        moved: Of each cue, the one to be turned off first, the images whose decision went with a transplant and not
            with its placebo `[N]`.
        at_odds: Of each cue, the images that the cue alone gives another class than the model `[N]`.
        order: Of `keyed` `[N]`.
    """
    parts = []
    for first, second in zip(moved, at_odds, strict=True):
        rest = np.flatnonzero(second & ~first)
        parts.append(np.concatenate([_ordered(np.flatnonzero(first), order), _ordered(rest, order)]))
    return in_turns(parts)


def of_margins(probabilities: NDArray[np.floating]) -> Ints:
    """Ranks images by the distance of the two likeliest classes `[N, C]`, the smallest first."""
    if probabilities.shape[0] == 0 or probabilities.shape[1] < 2:
        return np.arange(probabilities.shape[0], dtype=np.int64)
    top = np.sort(probabilities.astype(np.float64), axis=1)
    ranked: Ints = np.argsort(top[:, -1] - top[:, -2], kind="stable").astype(np.int64)
    return ranked


def choose(
    order: NDArray[np.uint64], kept: Bools, ranked: Mapping[str, Ints], parts: Mapping[str, int], alike: Ints
) -> dict[int, str]:
    """Chooses images and says of each for which reason.

    What the other reasons do not use goes to the control sample, which is drawn first and whole, so that it stays
    uniform whatever else is picked.

    Args:
        order: Of `keyed` `[N]`.
        kept: Which images the control sample may have `[N]`.
        ranked: Of the reasons but the control, the images in the order of their worth.
        parts: Images of each reason.
        alike: Images of one number are near duplicates `[N]`; but for the control sample one of each is taken.

    Returns:
        Position -> reason, in the order in which they were chosen.
    """
    by_hash = _ordered(np.flatnonzero(kept), order)
    total = sum(parts.values())
    there = len(set(by_hash.tolist()).union(*(part.tolist() for part in ranked.values())))
    size = min(parts[CONTROL], len(by_hash))
    while True:
        chosen = dict.fromkeys(by_hash[:size].tolist(), CONTROL)
        for reason in REASONS[1:]:
            _take(chosen, ranked.get(reason, np.zeros(0, np.int64)), parts[reason], reason, alike)
        missing = min(total, there) - len(chosen)
        if missing <= 0 or size == len(by_hash):
            return chosen
        size = min(size + missing, len(by_hash))


def _take(chosen: dict[int, str], ranked: Ints, count: int, reason: str, alike: Ints) -> None:
    taken = {int(alike[position]) for position in chosen}
    for position in ranked.tolist():
        if count <= 0:
            return
        if position in chosen or int(alike[position]) in taken:
            continue
        chosen[position] = reason
        taken.add(int(alike[position]))
        count -= 1


def _ordered(positions: Ints, order: NDArray[np.uint64]) -> Ints:
    found: Ints = positions[np.argsort(order[positions], kind="stable")].astype(np.int64)
    return found
