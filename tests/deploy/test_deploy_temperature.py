"""If these fail, the probabilities that ship are more certain, or less, than the model is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from evensight.deploy.temperature import fit_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_finds_the_temperature_the_labels_were_drawn_at(true: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 5)) * true
    chances = softmax(logits / true, axis=1)
    labels = (generator.random((20_000, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


def test_is_the_best_of_a_grid() -> None:
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(0, 3, (5_000, 4)), generator.integers(0, 4, 5_000)
    labels = np.where(generator.random(5_000) < 0.7, logits.argmax(axis=1), labels)
    grid = np.linspace(0.2, 10, 2_000)
    losses = [-log_softmax(logits / t, axis=1)[np.arange(5_000), labels].mean() for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[int(np.argmin(losses))], abs=0.02)


def test_a_network_without_a_mistake_is_not_made_certain() -> None:
    labels = np.arange(60) % 3
    logits = np.eye(3)[labels] * 4.0
    probs = softmax(logits / fit_temperature(logits, labels), axis=1)
    # Platt: a share 1 / (n + 2) of each target goes to the others, which here can be met exactly.
    assert probs.max(axis=1) == pytest.approx(1 - 1 / 62, abs=1e-4)


def test_nothing_to_fit_on() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1.0


def test_not_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))
