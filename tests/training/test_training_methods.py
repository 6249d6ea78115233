"""ERM's loss, views, and the seeds of steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evensight.training.classifier import join_views, seed_device, step_seed
from evensight.training.freezing import frozen, matches
from evensight.training.methods.base import DataFacts
from evensight.training.methods.erm import ERM, balanced_weights
from evensight.training.task import SingleLabel

FACTS = DataFacts(class_counts=[60, 30, 10], num_images=100)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.tensor([0, 1, 2, 1])
    return {
        "image": torch.randn(4, 3, generator=generator),  # the "network" below maps it to logits
        "label": label,
        "target": F.one_hot(label, 3).float(),
        "weight": torch.tensor([1.0, 1.0, 1.0, 0.0]),  # the last is padding
    }


def erm(**options: object) -> ERM:
    return ERM(options, SingleLabel(["a", "b", "c"]), FACTS)


def test_loss_is_the_cross_entropy_of_what_counts() -> None:
    given = batch()
    found = erm(label_smoothing=0.1).loss(nn.Identity(), given)
    expected = F.cross_entropy(given["image"][:3], given["label"][:3], label_smoothing=0.1)
    assert found == pytest.approx(float(expected), abs=1e-6)
    assert torch.equal(given["logits"], given["image"])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 60 + [1] * 30 + [2] * 10
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels))
    weights = balanced_weights(FACTS.class_counts)
    assert weights.tolist() == pytest.approx(expected.tolist())
    given = batch()
    losses = F.cross_entropy(given["image"], given["label"], reduction="none")[:3]
    expected_loss = (losses * weights[given["label"][:3]]).mean()
    assert erm(class_weights="balanced").loss(nn.Identity(), given) == pytest.approx(float(expected_loss), abs=1e-6)
    assert balanced_weights([5, 0, 5]).tolist() == [1.0, 0.0, 1.0]


def test_a_batch_of_padding_has_no_loss_and_no_gradient() -> None:
    given = batch() | {"weight": torch.zeros(4)}
    given["image"].requires_grad_(True)
    loss = erm().loss(nn.Identity(), given)
    loss.backward()
    assert loss == 0
    assert not given["image"].grad.any()


def test_views_are_trained_on_together() -> None:
    given = {**batch(), "extra": {"size": torch.arange(8).view(4, 2)}}
    joined = join_views(given, [given["image"], given["image"] + 1])
    assert torch.equal(joined["image"], torch.cat([given["image"], given["image"] + 1]))
    assert torch.equal(joined["label"], torch.cat([given["label"]] * 2))
    assert joined["extra"]["size"].shape == (8, 2)
    assert join_views(given, [given["image"] * 2])["weight"] is given["weight"]


def test_every_step_has_a_seed_of_its_own() -> None:
    seeds = {
        step_seed(seed, epoch, n, rank) for seed in (0, 1) for epoch in range(9) for n in range(40) for rank in (0, 1)
    }
    assert len(seeds) == 2 * 9 * 40 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
    seed_device(7, torch.device("cpu"))
    first = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(first, torch.rand(3))


def test_patterns_and_frozen_modules() -> None:
    assert matches("network.head.weight", ("method.*", "network.head.*"))
    assert not matches("network.backbone.weight", ("network.head.*",))
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU())
    network[1].requires_grad_(False)
    assert list(frozen(network)) == [network[1]]
