"""Temperature scaling: one number that makes confidences agree with accuracy, fitted on validation logits.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017. It never changes which class is largest.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

RANGE = (0.01, 100.0)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Returns the temperature that minimises the negative log likelihood of softmax(logits / temperature).

    A share 1 / (n + 2) of each target goes to the other classes (Platt 1999), so that a network without a mistake on n
    images is not made certain of everything. Rounded to six digits: beyond that the fit depends on the machine.

    Args:
        logits: [N, C].
        labels: [N], class indices.

    Returns:
        Between 0.01 and 100; 1 where there is nothing to fit on.

    Raises:
        ValueError: If a logit is not finite.
    """
    n, num_classes = logits.shape
    if n == 0 or num_classes < 2:
        return 1.0
    if not np.isfinite(logits).all():
        raise ValueError("logits: not finite")
    smoothing = 1.0 / (n + 2)
    target = np.full((n, num_classes), smoothing / (num_classes - 1))
    target[np.arange(n), labels] = 1.0 - smoothing
    exact = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(-(target * log_softmax(exact / math.exp(log_temperature), axis=1)).sum() / n)

    # Convex in 1 / temperature, so one minimum in its logarithm too.
    found = minimize_scalar(
        loss, bounds=(math.log(RANGE[0]), math.log(RANGE[1])), method="bounded", options={"xatol": 1e-9}
    )
    return float(f"{math.exp(found.x):.6g}")
