"""Streams of predictions drawn from numbers, for the objective of shapes: every truth about them is known."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from evensight.monitor.live import Live, Moves
from evensight.objective.objective import Objective
from evensight.records.contract import Contract

CONFIGS = Path(__file__).parents[2] / "configs" / "objective"
OPERATORS = ("hue", "hue_luma", "tint")
K = 8


@functools.cache
def objective() -> Objective:
    """The one that ships for shapes."""
    return Objective.from_config(yaml.safe_load((CONFIGS / "shapes.yaml").read_text(encoding="utf-8")))


def contract() -> Contract:
    """What the monitor reads of a contract."""
    stated = objective()
    usual = {"colour": tuple(range(K))}
    return cast(Contract, SimpleNamespace(classes=stated.class_names, attributes=stated.levels, usual=usual))


def stream(
    random: np.random.Generator,
    requests: int,
    accuracy: float | NDArray[np.float64] = 0.985,
    pull: float = 0.02,
    placebo: float = 0.01,
    sampled: int | None = None,
    labelled: float = 1.0,
    probe: float = 0.125,
    **changes: Any,
) -> Live:
    """Draws a stream.

    Args:
        random: Draws.
        requests: N.
        accuracy: Chance that a prediction is right: one for all, or for each image [N].
        pull: Chance that a transplant of colour moves the decision, the same images by every operator.
        placebo: Chance that a placebo does.
        sampled: Images in the reliance sample; None: each with a chance of 5 %.
        labelled: Chance that an image has a label.
        probe: Chance that the probe of colour is right.
        changes: Fields to be set otherwise.
    """
    label, colour = random.integers(0, K, requests), random.integers(0, K, requests)
    right = random.random(requests) < accuracy
    wrong = (label + random.integers(1, K, requests)) % K
    place = np.flatnonzero(random.random(requests) < 0.05)
    if sampled is not None:
        place = np.sort(random.permutation(requests)[:sampled])
    moves = Moves(place, random.random(len(place)) < pull, random.random(len(place)) < placebo)
    beaten = random.random(requests) < probe
    fields: dict[str, Any] = {
        "times": 1e9 + np.arange(requests, dtype=np.float64),
        "ties": random.random(requests),
        "predictions": np.where(right, label, wrong),
        "confidence": np.full(requests, 0.98),
        "labels": np.where(random.random(requests) < labelled, label, -1),
        "attributes": {"colour": colour, "background": colour % 3, "size": colour % 3},
        "rivals": {"majority": np.zeros(requests, dtype=np.int64), "colour": np.where(beaten, label, (label + 1) % K)},
        "outcomes": {"colour": dict.fromkeys(OPERATORS, moves)},
    }
    return Live(**{**fields, **changes})
