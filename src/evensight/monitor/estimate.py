"""Accuracy where there are no labels: what the model's own confidence promises, and on what assumption."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from evensight.records.reference import Reference

ASSUMED = "confidence is calibrated here as it was on the test images"
ASSUMED_ALONE = "confidence is calibrated: the artifact has no reference figures that would say how far it is off"
WARNING = "a shift in what the classes look like breaks it without a trace: labels of a few images say more"


def gap_of(reference: Reference | None) -> tuple[float, float]:
    """Returns by how much mean confidence lay above accuracy at the test, and its standard error; 0 without a test."""
    if reference is None:
        return 0.0, 0.0
    found = reference.figures["confidence"]
    return float(found["gap"]), float(found["gap_error"])


def estimated(confidence: NDArray[np.float64], gap: tuple[float, float], alpha: float) -> dict[str, Any]:
    """Estimates the accuracy of images from the probabilities of their likeliest classes.

    The estimate is the mean confidence less the gap at the test; the band adds up the gap's error and the chance in
    which of these images are right, each side at `alpha`, by the normal distribution.

    Args:
        confidence: [n].
        gap: From `gap_of`.
        alpha: Of each side.

    Returns:
        `estimate`, `low`, `high` (null where there are no images) and `n`.
    """
    n = len(confidence)
    if not n:
        return {"estimate": None, "low": None, "high": None, "n": 0}
    z = -float(special.ndtri(alpha))
    likely = np.clip(confidence - gap[0], 0.0, 1.0)
    value = float(np.clip(confidence.mean() - gap[0], 0.0, 1.0))
    half = z * float(np.sqrt(gap[1] ** 2 + (likely * (1 - likely)).mean() / n))
    return {"estimate": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def assumption(reference: Reference | None) -> str:
    """Says what the estimate rests on."""
    said = ASSUMED_ALONE if reference is None else ASSUMED
    return f"assumes that {said}; {WARNING}"
