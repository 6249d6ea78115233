"""What a model that sees one cue alone would score: a linear probe of the cue's features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# More images than this change the probe's accuracy by less than its interval on any test set we judge.
MOST_IMAGES = 20_000
# Of the mean loss, on weights of standardised features: keeps separable classes finite, costs no accuracy.
WEIGHT_PENALTY = 1e-4


@dataclass(frozen=True)
class Probe:
    """A multinomial logistic regression on standardised features; plain tensors in float64."""

    mean: Tensor  # [F]
    scale: Tensor  # [F]
    weight: Tensor  # [C, F]
    bias: Tensor  # [C]

    def logits(self, features: Tensor) -> Tensor:
        """Returns float64 `[N, C]` for features `[N, F]`."""
        standardised = (features.to(self.mean) - self.mean) / self.scale
        return standardised @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """Returns the class of each image, int64 `[N]`, for features `[N, F]`."""
        return self.logits(features).argmax(dim=1)

    def state(self) -> dict[str, Tensor]:
        """Returns the probe as plain tensors, ready for safetensors."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Probe:
        """Returns the probe that `state` was taken of."""
        return cls(state["mean"], state["scale"], state["weight"], state["bias"])


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, seed: int) -> Probe:
    """Fits a linear probe: multinomial logistic loss, L-BFGS from zero weights, so the same data give the same probe.

    Args:
        features: `[N, F]`, of training images.
        labels: int64 `[N]`.
        num_classes: C; a class without images gets no weight of its own.
        seed: Draws the images used where there are more than 20,000.

    Raises:
        ValueError: If there are no images.
    """
    if features.size(0) == 0:
        raise ValueError("a probe needs training images, and got none")
    # Validation and export may call this where gradients are off; clones leave inference mode.
    with torch.inference_mode(False), torch.enable_grad():
        return _fit(features.detach().cpu().double().clone(), labels.detach().cpu().long().clone(), num_classes, seed)


def _fit(x: Tensor, y: Tensor, num_classes: int, seed: int) -> Probe:
    if x.size(0) > MOST_IMAGES:
        chosen = torch.randperm(x.size(0), generator=torch.Generator().manual_seed(seed))[:MOST_IMAGES]
        x, y = x[chosen], y[chosen]
    mean = x.mean(dim=0)
    spread = x.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-9, spread, torch.ones_like(spread))
    x = (x - mean) / scale
    weight = torch.zeros(num_classes, x.size(1), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, y) + WEIGHT_PENALTY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Probe(mean, scale, weight.detach(), bias.detach())
