"""Figures along the log, each of a stretch of images: what the page draws. They inform, and decide nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.paired import tango_interval
from evensight.monitor.estimate import estimated
from evensight.monitor.live import Ints, Live
from evensight.records.contract import Contract

MOST_POINTS = 40
LEAST_IMAGES = 25  # of a stretch, where there are as many


def timelines(live: Live, contract: Contract, gap: tuple[float, float], alpha: float) -> dict[str, Any]:
    """Returns accuracy, estimated accuracy, reliance by cue and operator, and shares of predicted classes.

    Each is a list of stretches: `first` and `last` request (from 1), `estimate`, `low`, `high` (each side at `alpha`,
    for one look) and `n`; `predicted` has `shares` [K] instead.

    Args:
        live: The log.
        contract: Names the classes.
        gap: From `estimate.gap_of`.
        alpha: Of each side of a band.
    """
    everywhere, places = np.arange(len(live)), live.labelled
    right = live.predictions[places] == live.labels[places]
    num_classes = len(contract.classes)
    return {
        "accuracy": [{**_span(places, part), **rate(right[part], alpha)} for part in stretches(len(places))],
        "estimated": [
            {**_span(everywhere, part), **estimated(live.confidence[part], gap, alpha)} for part in stretches(len(live))
        ],
        "reliance": {
            cue: {
                operator: [
                    {**_span(moves.place, part), **difference(moves.transplant[part], moves.placebo[part], alpha)}
                    for part in stretches(len(moves.place))
                ]
                for operator, moves in operators.items()
            }
            for cue, operators in live.outcomes.items()
        },
        "predicted": [
            {**_span(everywhere, part), "shares": _shares(live.predictions[part], num_classes)}
            for part in stretches(len(live))
        ],
    }


def groups(live: Live, contract: Contract, gap: tuple[float, float], alpha: float) -> dict[str, list[dict[str, Any]]]:
    """Returns, by attribute and level, the share of the images that came with one, their accuracy and estimated one."""
    found = {}
    places = live.labelled
    right = live.predictions[places] == live.labels[places]
    for name, levels in contract.attributes.items():
        level = live.attributes.get(name, np.full(len(live), -1))
        known = max(1, int((level >= 0).sum()))
        found[name] = [
            {
                "level": words,
                "n": int((level == number).sum()),
                "share": float((level == number).sum() / known),
                "accuracy": rate(right[level[places] == number], alpha),
                "estimated": estimated(live.confidence[level == number], gap, alpha),
            }
            for number, words in enumerate(levels)
        ]
    return found


def stretches(count: int) -> list[slice]:
    """Parts `count` images into at most 40 stretches of nearly the same length, of 25 images at least if it can be."""
    number = min(MOST_POINTS, max(1, count // LEAST_IMAGES)) if count else 0
    edges = np.linspace(0, count, number + 1).round().astype(int).tolist()
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def rate(right: NDArray[np.bool_], alpha: float) -> dict[str, Any]:
    """Returns the share of True with its Clopper-Pearson bounds; null without images."""
    x, n = int(right.sum()), len(right)
    low, high = clopper_pearson(x, n, alpha)
    if not n:
        return {"estimate": None, "low": None, "high": None, "n": 0}
    return {"estimate": x / n, "low": float(low), "high": float(high), "n": n}


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_], alpha: float) -> dict[str, Any]:
    """Returns the share of `first` less that of `second` on the same images, with Tango's bounds."""
    b, c, n = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    if not n:
        return {"estimate": None, "low": None, "high": None, "n": 0}
    low, high = tango_interval(b, c, n, alpha)
    return {"estimate": (b - c) / n, "low": float(low), "high": float(high), "n": n}


def _span(place: Ints, part: slice) -> dict[str, int]:
    of = place[part]
    return {"first": int(of[0]) + 1, "last": int(of[-1]) + 1}


def _shares(classes: Ints, num_classes: int) -> list[float]:
    shares: list[float] = (np.bincount(classes, minlength=num_classes) / max(1, len(classes))).tolist()
    return shares
