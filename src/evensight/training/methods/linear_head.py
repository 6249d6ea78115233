"""The last layer by itself: softmax regression with weighted images and a penalty, to its optimum.

Pure functions over arrays in float64. The features are standardised before a fit and the standardisation is folded into
the layer afterwards, so that one penalty suits features of any scale and the network keeps its form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

Array = NDArray[np.float64]
PENALTIES = ("l1", "l2")
# On the bias, so that a class without an image has an optimum too; elsewhere it moves nothing.
_ON_BIAS = 1e-8
_MOST_STEPS = 2000
_FLATNESS = 1e-7  # of the gradient at the optimum


@dataclass(frozen=True)
class Head:
    """A linear layer: logits = features @ weight.T + bias.

    Attributes:
        weight: `[K, D]`.
        bias: `[K]`.
    """

    weight: Array
    bias: Array

    def logits(self, features: Array) -> Array:
        """Returns `[N, K]` of features `[N, D]`."""
        return np.asarray(features @ self.weight.T + self.bias)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each feature `[D]`; a feature that never changes has deviation 1."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, features: Array) -> Scale:
        """Measures features `[N, D]`."""
        deviation = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0))

    def standardised(self, features: Array) -> Array:
        """Returns features `[N, D]` with mean 0 and deviation 1."""
        return np.asarray((features - self.mean) / self.deviation)

    def folded(self, head: Head) -> Head:
        """Returns the head that says of features what `head` says of them standardised."""
        weight = head.weight / self.deviation
        return Head(weight, head.bias - weight @ self.mean)

    def unfolded(self, head: Head) -> Head:
        """Returns the head that says of standardised features what `head` says of them as they are."""
        return Head(head.weight * self.deviation, head.bias + head.weight @ self.mean)


def cross_entropy(logits: Array, target: Array) -> Array:
    """Returns the loss of each image `[N]` from logits and targets `[N, K]`."""
    return np.asarray(-(target * log_softmax(logits, axis=1)).sum(axis=1))


def fit_head(
    features: Array, target: Array, weights: Array, penalty: str, strength: float, start: Head, towards_start: bool
) -> Head:
    """Minimises the weighted mean cross-entropy plus a penalty.

    The penalty is `strength` times the sum of absolute weights (``l1``), or `strength` / 2 times the sum of their
    squares (``l2``). Without `towards_start` the bias is free.

    Args:
        features: `[N, D]`.
        target: Probabilities of the classes `[N, K]`.
        weights: Of the images `[N]`, none below 0 and one above; their sum is divided out.
        penalty: One of `PENALTIES`.
        strength: 0 or more.
        start: Where the search begins.
        towards_start: With ``l2``: weights and bias are penalised for their distance from `start` and not from 0.
    """
    num_classes, num_features = start.weight.shape
    share = weights / weights.sum()
    anchor = start if towards_start else Head(np.zeros_like(start.weight), np.zeros_like(start.bias))
    on_bias = strength if towards_start else _ON_BIAS
    squared = strength if penalty == "l2" else 0.0

    def smooth(weight: Array, bias: Array) -> tuple[float, Array, Array]:
        logs = log_softmax(features @ weight.T + bias, axis=1)
        away, off = weight - anchor.weight, bias - anchor.bias
        value = -float(share @ (target * logs).sum(axis=1))
        value += 0.5 * squared * float((away**2).sum()) + 0.5 * on_bias * float((off**2).sum())
        slope = (np.exp(logs) * target.sum(axis=1, keepdims=True) - target) * share[:, None]
        return value, slope.T @ features + squared * away, slope.sum(axis=0) + on_bias * off

    size = num_classes * num_features

    def ridge(x: Array) -> tuple[float, Array]:
        value, by_weight, by_bias = smooth(x[:size].reshape(num_classes, num_features), x[size:])
        return value, np.concatenate([by_weight.ravel(), by_bias])

    def lasso(x: Array) -> tuple[float, Array]:
        # The weights as the difference of two that are not negative: then the absolute value is their sum.
        value, by_weight, by_bias = smooth((x[:size] - x[size : 2 * size]).reshape(num_classes, -1), x[2 * size :])
        slope = by_weight.ravel()
        value += strength * float(x[: 2 * size].sum())
        return value, np.concatenate([slope + strength, strength - slope, by_bias])

    options = {"maxiter": _MOST_STEPS, "maxfun": 2 * _MOST_STEPS, "gtol": _FLATNESS, "ftol": 1e-14, "maxcor": 20}
    flat = start.weight.ravel()
    if penalty == "l2":
        found = minimize(ridge, np.concatenate([flat, start.bias]), jac=True, method="L-BFGS-B", options=options).x
        return Head(found[:size].reshape(num_classes, num_features), found[size:])
    first = np.concatenate([np.maximum(flat, 0), np.maximum(-flat, 0), start.bias])
    bounds = [(0, None)] * (2 * size) + [(None, None)] * num_classes
    found = minimize(lasso, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Head((found[:size] - found[size : 2 * size]).reshape(num_classes, num_features), found[2 * size :])
