"""Counts equal an independent computation, whatever is absent, unknown or padded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from evensight.metrics.group_confusion import GroupConfusion

K, LEVELS = 5, {"colour": 4, "camera": 3}


def random_images(seed: int, num: int) -> dict[str, torch.Tensor]:
    """Level 2 of colour never occurs, level 1 of camera once; a fifth is of unknown colour, a tenth is padding."""
    rng = np.random.default_rng(seed)
    colour = rng.choice([0, 1, 3, -1], num, p=[0.3, 0.3, 0.2, 0.2])
    camera = rng.choice([0, 2], num)
    camera[0] = 1
    weight = (rng.random(num) > 0.1).astype(np.float32)
    weight[0] = 1.0
    return {
        "preds": torch.from_numpy(rng.integers(0, K, num)),
        "target": torch.from_numpy(rng.integers(0, K - 1, num)),  # the last class has no image
        "attributes": torch.from_numpy(np.stack([colour, camera], axis=1)),
        "weight": torch.from_numpy(weight),
    }


def updated(metric: GroupConfusion, images: dict[str, torch.Tensor], batch_size: int) -> GroupConfusion:
    for start in range(0, len(images["preds"]), batch_size):
        metric.update(**{name: value[start : start + batch_size] for name, value in images.items()})
    return metric


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_scikit_learn(seed: int) -> None:
    images = random_images(seed, 700)
    counts = updated(GroupConfusion(K, LEVELS), images, 64).compute()
    plain = {name: value.numpy() for name, value in images.items()}
    kept = plain["weight"] > 0
    expected = confusion_matrix(plain["target"][kept], plain["preds"][kept], labels=range(K))
    np.testing.assert_array_equal(counts["overall"].numpy(), expected)
    for column, (name, num_levels) in enumerate(LEVELS.items()):
        assert counts[name].shape == (num_levels, K, K)
        for level in range(num_levels):
            chosen = kept & (plain["attributes"][:, column] == level)
            # scikit-learn refuses an empty sample; by the definition it is zeros.
            table = np.zeros((K, K), int)
            if chosen.any():
                table = confusion_matrix(plain["target"][chosen], plain["preds"][chosen], labels=range(K))
            np.testing.assert_array_equal(counts[name][level].numpy(), table)
    assert counts["camera"][1].sum() == 1  # a group of one image


def test_batches_order_and_ranks_do_not_matter() -> None:
    images = random_images(7, 300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    whole = updated(GroupConfusion(K, LEVELS), images, 300).histogram
    shuffled = {name: value[order] for name, value in images.items()}
    assert torch.equal(updated(GroupConfusion(K, LEVELS), shuffled, 7).histogram[:-1], whole[:-1])
    halves = [{name: value[part] for name, value in images.items()} for part in (slice(0, 120), slice(120, 300))]
    ranks = [updated(GroupConfusion(K, LEVELS), half, 50).histogram for half in halves]
    assert torch.equal(sum(ranks)[:-1], whole[:-1])


def test_predictions_and_classes_outside_are_not_counted() -> None:
    metric = GroupConfusion(2, {})
    metric.update(torch.tensor([-1, 2, 0, 1]), torch.tensor([0, 0, -1, 1]))
    assert metric.compute()["overall"].tolist() == [[0, 0], [0, 1]]


def test_empty_batch_and_reset() -> None:
    metric = updated(GroupConfusion(K, LEVELS), random_images(1, 50), 50)
    metric.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2).long())
    before = metric.compute()["overall"].sum()
    assert before > 0
    metric.reset()
    assert metric.histogram.sum() == 0


def test_numbers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="colour: found 0"):
        GroupConfusion(2, {"colour": 0})
