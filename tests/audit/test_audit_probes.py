"""Probes against scikit-learn, and what out of fold means."""

from __future__ import annotations

import numpy as np
import pytest
from made_data import cue
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evensight.audit import probes


def accuracy(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    labels = labels.astype(np.int64)
    folds = probes.folds_of(labels, np.arange(len(labels)), probes.FOLDS, seed)
    columns = probes.Design.of(features, seed)(features)
    num_classes = int(labels.max()) + 1
    decided = probes.Folded(columns, folds).scores(probes.one_hot(labels, num_classes)).argmax(axis=1)
    return float((decided == labels).mean())


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_probe_is_as_good_as_logistic_regression(load: object) -> None:
    features, labels = load(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    expected = cross_val_score(model, features, labels, cv=5).mean()
    assert accuracy(features.astype(np.float32), labels) > expected - 0.03


def test_probe_learns_what_no_line_separates() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((800, 2)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.int64)
    assert LogisticRegression().fit(features, labels).score(features, labels) < 0.65
    assert accuracy(features, labels) > 0.9


def test_factored_folds_are_the_ridge_solved_without_the_fold() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.standard_normal((60, 3)).astype(np.float32), rng.integers(0, 3, 60)
    folds = probes.folds_of(labels, np.arange(60), 5, 0)
    columns, targets = probes.Design.of(features, 0)(features), probes.one_hot(labels, 3)
    scores = probes.Folded(columns, folds).scores(targets)
    wide = columns.astype(np.float64)
    for fold in range(5):
        out = folds == fold
        train, num = wide[~out], int((~out).sum())
        ridge = np.linalg.solve(train.T @ train + 1e-3 * num * np.eye(wide.shape[1]), train.T @ targets[~out])
        assert np.allclose(scores[out], wide[out] @ ridge, atol=2e-3)


def test_folds_hold_every_class_alike_and_part_no_group() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(4), 50)
    groups = np.arange(200) // 2  # pairs of one picture, of one class
    folds = probes.folds_of(labels, groups, 5, 3)
    assert all(len(set(folds[groups == group])) == 1 for group in range(100))
    counts = np.array([[((labels == k) & (folds == f)).sum() for f in range(5)] for k in range(4)])
    assert counts.min() == counts.max() == 10
    order = rng.permutation(200)
    again = probes.folds_of(labels[order], groups[order], 5, 3)
    assert (again == folds[order]).all()


def test_permuted_labels_are_predicted_at_chance_and_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 200)
    features = cue(labels, 0.9, rng)
    columns = probes.Design.of(features, 0)(features)
    folds = probes.folds_of(labels, np.arange(200), 5, 0)
    folded = probes.Folded(columns, folds)
    orders = np.stack([rng.permutation(200) for _ in range(40)])
    hits = folded.permuted_hits(labels, 4, orders)
    single = [int((folded.scores(probes.one_hot(labels[o], 4)).argmax(axis=1) == labels[o]).sum()) for o in orders]
    assert np.abs(hits - single).max() <= 1  # single precision decides a tie either way
    assert abs(hits.mean() / 200 - 0.25) < 0.03


def test_constant_features_and_outliers_leave_scores_finite() -> None:
    features = np.zeros((50, 3), np.float32)
    labels = np.arange(50) % 2
    probe = probes.fit(features, labels, 2, 0)
    assert np.isfinite(probe.scores(np.full((3, 3), 1e30, np.float32))).all()
