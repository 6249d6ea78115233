from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from evensight.cues.colour import Colour
from evensight.cues.probe import Probe, fit_probe


def blobs(n: int, num_classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(0, 1, (num_classes, 12))
    labels = rng.integers(0, num_classes, n)
    features = (centres[labels] + rng.normal(0, 1.2, (n, 12))) * np.linspace(0.5, 20, 12)
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def test_equals_scikit_learn_on_standardised_features():
    x, y = blobs(1500, 5, 0)
    probe = fit_probe(x, y, 5, seed=0)
    standard = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    # sklearn: C * sum(loss) + |w|^2 / 2; ours: mean(loss) + 1e-4 |w|^2.
    reference = LogisticRegression(C=1 / (2e-4 * len(x)), max_iter=2000, tol=1e-8).fit(standard.numpy(), y.numpy())
    theirs = reference.predict_proba(standard.numpy())
    assert np.abs(probe.logits(x).softmax(1).numpy() - theirs).max() < 2e-3
    assert (probe.predict(x).numpy() == reference.predict(standard.numpy())).mean() > 0.998


def test_the_same_data_give_the_same_probe_and_it_survives_as_tensors():
    x, y = blobs(400, 3, 1)
    probe = fit_probe(x, y, 3, seed=0)
    again = Probe.from_state(fit_probe(x, y, 3, seed=5).state())
    for name, value in probe.state().items():
        assert torch.equal(value, again.state()[name])
    assert torch.equal(probe.predict(x), again.predict(x))


def test_constant_features_absent_classes_and_inference_mode():
    x, y = blobs(200, 3, 2)
    x[:, 4] = 7.0
    with torch.inference_mode():
        probe = fit_probe(x, y, 6, seed=0)
    assert torch.isfinite(probe.weight).all()
    assert (probe.predict(x) < 3).all()
    assert probe.predict(x[:0]).shape == (0,)


def test_no_images_is_refused():
    with pytest.raises(ValueError, match="none"):
        fit_probe(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2, seed=0)


def test_colour_alone_names_colours_and_not_shapes(coloured):
    images, colours, shapes = coloured
    features = Colour().describe(images, {})
    named = fit_probe(features[:64], colours[:64], 8, seed=0).predict(features[64:])
    assert (named == colours[64:]).float().mean() > 0.9
    guessed = fit_probe(features[:64], shapes[:64], 8, seed=0).predict(features[64:])
    assert (guessed == shapes[64:]).float().mean() < 0.45
