"""The evidence against a requirement after each image, and where it became an alarm.

Labels enter by the time of their images: by arrival, complaints that come first would alarm by themselves. But labels
that come late change a sequence that was looked at before, and a monitor that looks often finds more than it should
(19 % false alarms for 10 %, at the bound, with 120 looks and delays of 300 images). So evidence from labels has to be
reached in both orders. By arrival a sequence only grows: that holds at every look, as long as how soon a label comes
does not depend on the answer. By image it holds for one look, whatever came first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import sequential
from evensight.metrics.intervals import FloatArray, IntArray
from evensight.monitor.observations import Observations
from evensight.objective.comparisons import Comparisons, num_comparisons


@dataclass(frozen=True)
class Crossing:
    """The first time that a comparison alarmed.

    Attributes:
        at: Which observation gave the last of the evidence.
        part: Name of the comparison.
        n: Images the evidence is of, within the window (of a gap: of both groups).
        estimate: Over these images.
        window: Its number (of a gap: of the group that the last image is of).
        log_e: Natural; None of a gap, which is shown by its groups' limits.
        log_needed: What log E had to reach; None of a gap.
        least: Of a gap: the difference is at least this.
    """

    at: int
    part: str
    n: int
    estimate: float
    window: int
    log_e: float | None = None
    log_needed: float | None = None
    least: float | None = None


@dataclass(frozen=True)
class Watched:
    """What the sequences of a requirement have come to.

    Attributes:
        crossings: At most one a comparison, in the order of time.
        p: By comparison the chance, at any time, of as much evidence while the bound is met; not yet corrected for
            the other comparisons. Empty for a gap.
    """

    crossings: list[Crossing]
    p: FloatArray


def watch(
    row: Comparisons,
    seen: Observations,
    alpha: float,
    size: int = sequential.WINDOW,
    arrival: IntArray | None = None,
) -> Watched:
    """Follows a requirement image by image, and where labels came in another order, in that one too.

    Args:
        row: Its comparisons, with a bound; the counts are not used.
        seen: Its images.
        alpha: Of this requirement: the chance that any comparison ever alarms while the bound is met.
        size: Of a window, in observations of one comparison.
        arrival: Order of the observations by when their labels came; None where that is their own.

    Returns:
        The crossings in the order of the images, of comparisons that cross in either order; for a gap, where any pair
        does. The larger of both p.
    """
    if row.bound is None:
        raise ValueError("watch: a requirement without a bound has nothing to alarm about.")
    by_image = _followed(row, seen, alpha, size)
    if arrival is None:
        return by_image
    came = Observations(seen.place[arrival], seen.sequence[arrival], seen.value[arrival])
    by_arrival = _followed(row, came, alpha, size)
    parts = {crossing.part for crossing in by_arrival.crossings}
    both = [one for one in by_image.crossings if one.part in parts or (row.kind == "gap" and parts)]
    return Watched(both, np.maximum(by_image.p, by_arrival.p))


def _followed(row: Comparisons, seen: Observations, alpha: float, size: int) -> Watched:
    assert row.bound is not None  # held by `watch`
    windows = sequential.windows(seen.sequence, size)
    up, down = windows.so_far(seen.value > 0), windows.so_far(seen.value < 0)
    if row.kind == "gap":
        return _watch_gap(row, seen, windows, up, alpha)
    log_e = _log_e(row, up, down, windows.n, row.bound)
    needed = sequential.log_threshold(windows.number, num_comparisons(row), alpha)
    estimate = (up - down) / np.maximum(windows.n, 1)
    crossings = [
        Crossing(
            at,
            row.names[int(seen.sequence[at])],
            int(windows.n[at]),
            float(estimate[at]),
            int(windows.number[at]),
            float(log_e[at]),
            float(needed[at]),
        )
        for at in _first_of_each(seen.sequence, log_e >= needed)
    ]
    return Watched(crossings, _p(seen.sequence, log_e, windows.number, len(row.names)))


def _log_e(row: Comparisons, up: IntArray, down: IntArray, n: IntArray, bound: float) -> FloatArray:
    at_least = row.direction == "at_least"
    if row.kind == "paired":
        one = sequential.difference_log_e_below if at_least else sequential.difference_log_e_above
        return one(up, down, n, bound)
    other = sequential.rate_log_e_below if at_least else sequential.rate_log_e_above
    return other(up, n, bound)


def _first_of_each(sequence: IntArray, crossed: NDArray[np.bool_]) -> list[int]:
    places = np.flatnonzero(crossed)
    _, first = np.unique(sequence[places], return_index=True)
    return sorted(int(place) for place in places[first])


def _p(sequence: IntArray, log_e: FloatArray, window: IntArray, count: int) -> FloatArray:
    """Returns 1 over the largest E, each window's counted at its share of the level; 1 without images."""
    largest = np.zeros(count)
    np.maximum.at(largest, sequence, log_e + np.log(sequential.share_of_window(window)))
    return np.exp(-largest)


def _watch_gap(
    row: Comparisons, seen: Observations, windows: sequential.Windows, right: IntArray, alpha: float
) -> Watched:
    """A gap is shown where one group's lower limit lies more than the bound above another's upper limit.

    Each ordered pair has its share of alpha, half of it for each group; within a group, window w has its share of it.
    """
    assert row.bound is not None  # held by `watch`
    level = alpha / num_comparisons(row) / 2 * sequential.share_of_window(windows.number)
    lower = sequential.rate_lower(right, windows.n, level)
    upper = sequential.rate_upper(right, windows.n, level)
    # The latest of each group: its observation, and the limits it has from then on.
    latest, lowest, highest = (np.full(len(row.names), start) for start in (-1, 0.0, 1.0))
    found, told = [], set()
    for at, group in enumerate(seen.sequence.tolist()):
        latest[group], lowest[group], highest[group] = at, lower[at], upper[at]
        high, low = int(lowest.argmax()), int(highest.argmin())
        least = float(lowest[high] - highest[low])
        if least <= row.bound or (high, low) in told:
            continue
        told.add((high, low))
        of = latest[[high, low]]
        rates, n = right[of] / windows.n[of], windows.n[of]
        part = f"{row.names[high]} > {row.names[low]}"
        difference = float(rates[0] - rates[1])
        found.append(Crossing(at, part, int(n.sum()), difference, int(windows.number[at]), least=least))
    return Watched(found, np.zeros(0))
