"""Optimizer and learning rate: who decays, where the peak is, how a user's own optimizer is named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from evensight.errors import UserError
from evensight.training.optim import build_optimizer, build_schedule, learning_rate_factor, parameter_groups


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_norms_and_biases_do_not_decay(network: nn.Module) -> None:
    decays, others = parameter_groups(network.named_parameters(), 0.1)
    assert {tuple(value.shape) for value in decays["params"]} == {(4, 3, 3, 3), (2, 4)}
    assert (decays["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(others["params"]) == 6


def test_frozen_parameters_are_left_out(network: nn.Module) -> None:
    for parameter in network[:3].parameters():
        parameter.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(network.named_parameters(), 0.1)) == 2
    network.requires_grad_(False)
    with pytest.raises(UserError, match="no parameter is left"):
        parameter_groups(network.named_parameters(), 0.1)


def test_known_and_named_optimizers(network: nn.Module) -> None:
    adamw = build_optimizer(
        {"name": "adamw", "lr": 0.1, "weight_decay": 0.2, "betas": [0.8, 0.9]}, network.named_parameters(), True
    )
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.8, 0.9)
    settings = {"name": "sgd", "lr": 0.1, "weight_decay": 0.2, "momentum": 0.9, "nesterov": True}
    assert build_optimizer(settings, network.named_parameters(), False).param_groups[0]["nesterov"]
    named = {"_target_": "torch.optim.RMSprop", "lr": 0.3, "weight_decay": 0.4}
    own = build_optimizer(named, network.named_parameters(), False)
    assert isinstance(own, torch.optim.RMSprop)
    assert [group["weight_decay"] for group in own.param_groups] == [0.4, 0.0]
    with pytest.raises(UserError, match="Did you mean 'adamw'"):
        build_optimizer({"name": "adam"}, network.named_parameters(), False)


@pytest.mark.parametrize("betas", [[0.9], [2.0, 3.0], [0.9, 0.99, 0.999]])
def test_a_value_that_torch_refuses_is_a_mistake_of_the_users(network: nn.Module, betas: list[float]) -> None:
    with pytest.raises(UserError, match=r"^optimizer: "):
        build_optimizer({"name": "adamw", "lr": 0.1, "betas": betas}, network.named_parameters(), False)


def test_warmup_then_cosine() -> None:
    factors = [learning_rate_factor(step, 100, 0.2, 0.1, cosine=True) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[19] == factors[20] == 1.0
    assert factors[60] == pytest.approx(0.1 + 0.9 / 2)  # half way down
    assert factors[100] == pytest.approx(0.1)
    assert factors[:20] == sorted(factors[:20])
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert {learning_rate_factor(step, 100, 0.0, 0.0, cosine=False) for step in range(100)} == {1.0}


def test_a_schedule_that_needs_an_end_says_so(network: nn.Module) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    settings = {"name": "cosine", "warmup_fraction": 0.1, "final_fraction": 0.0}
    with pytest.raises(UserError, match=r"trainer.max_epochs or trainer.max_steps"):
        build_schedule(settings, optimizer, math.inf)
    constant = {"name": "constant", "warmup_fraction": 0.0, "final_fraction": 0.0}
    assert build_schedule(constant, optimizer, math.inf).get_last_lr() == [1.0]
