"""Sums of an epoch that is gone on with: by the ranks there were, or by others."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from evensight.training.epoch_sums import EpochSums, own_share

CPU = torch.device("cpu")


def test_the_ranks_that_there_were_go_on_with_their_own() -> None:
    """Adding them up in another order would round another way."""
    sums = torch.tensor([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]], dtype=torch.float64)
    for rank in range(3):
        assert torch.equal(own_share(sums, rank, 3), sums[rank])


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_another_number_of_ranks_loses_nothing(num_ranks: int) -> None:
    sums = torch.tensor([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]], dtype=torch.float64)
    total = sum(own_share(sums, rank, num_ranks) for rank in range(num_ranks))
    assert torch.allclose(torch.as_tensor(total), torch.tensor([0.6, 6.0], dtype=torch.float64))


def test_sums_and_clock_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    sums = EpochSums()
    sums.train += torch.tensor([1.5, 2.0, 1.0, 2.0])
    now[0] = 110.0
    sums.begin_validation(CPU)
    sums.validation += torch.tensor([0.5, 4.0])
    now[0] = 113.0
    state: dict[str, Any] = sums.state_dict()
    assert (sums.seconds, state["seconds"], state["seconds_trained"]) == (10.0, 13.0, 10.0)
    now[0] = 7.0  # another process, another clock
    again = EpochSums.from_state(state, 0, 1, CPU)
    assert torch.equal(again.train, sums.train)
    assert torch.equal(again.validation, sums.validation)
    assert again.seconds == 10.0
    assert again.state_dict()["seconds"] == 13.0
    again.begin_validation(CPU)
    assert not again.validation.any()
