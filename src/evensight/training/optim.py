"""Optimizer and learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from evensight.errors import UserError, unknown

ParameterGroups = list[dict[str, Any]]


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> ParameterGroups:
    """Parts parameters into those that decay and those that do not: biases, norms and other vectors.

    Args:
        named: Names and parameters; those that do not learn are left out.
        weight_decay: Of the first group.

    Raises:
        UserError: If no parameter learns.
    """
    decays: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            plain = parameter.ndim <= 1 or name.endswith(".bias")
            (others if plain else decays).append(parameter)
    if not decays and not others:
        raise UserError("method: no parameter is left to train; check the patterns in its phases' `trainable`.")
    groups = [{"params": decays, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(
    settings: Mapping[str, Any],
    named: Iterable[tuple[str, nn.Parameter]],
    fused: bool,
    allow_targets: Sequence[str] = (),
) -> Optimizer:
    """Builds AdamW, SGD, or what `_target_` names.

    Args:
        settings: The `optimizer` section.
        named: Names and parameters.
        fused: Whether one kernel updates all parameters.
        allow_targets: Further packages `_target_` may name.

    Raises:
        UserError: If the name is unknown or the arguments do not fit.
    """
    groups = parameter_groups(named, float(settings.get("weight_decay", 0.0)))
    if "_target_" in settings:
        from evensight.instantiate import instantiate

        plain = {key: value for key, value in settings.items() if key != "name"}
        optimizer: Optimizer = instantiate(plain, allow_targets, "optimizer", params=groups)
        return optimizer
    options = {key: value for key, value in settings.items() if key not in ("name", "weight_decay")}
    try:
        if settings["name"] == "adamw":
            first, second = options.pop("betas", (0.9, 0.999))
            return AdamW(groups, fused=fused, betas=(float(first), float(second)), **options)
        if settings["name"] == "sgd":
            return _with_momentum(SGD(groups, fused=fused, **options))
    except ValueError as error:  # torch refuses a value, or betas are not two
        raise UserError(f"optimizer: {error}.") from error
    raise unknown("optimizer.name", str(settings["name"]), ("adamw", "sgd"))


def _with_momentum(optimizer: SGD) -> SGD:
    """Begins every average of gradients at 0, which gives the same first step as beginning without one.

    Fused SGD makes them as uninitialised memory in its first step, and keeps that when the step is skipped.
    """
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def scale_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Multiplies the learning rate of all groups, before a schedule takes it as its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor


def clip_gradients(optimizer: Optimizer, value: float, algorithm: str) -> None:
    """Clips the gradients of what an optimizer updates, on the device.

    A norm that overflows makes finite gradients 0. Where one is NaN or infinite all may become so.

    Args:
        optimizer: Whose parameters' gradients are clipped.
        value: Largest norm of all together, or largest absolute value of each number.
        algorithm: ``norm`` or ``value``.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if algorithm == "value":
        nn.utils.clip_grad_value_(parameters, value)
    else:
        nn.utils.clip_grad_norm_(parameters, value)


def learning_rate_factor(
    step: int, num_steps: int, warmup_fraction: float, final_fraction: float, cosine: bool
) -> float:
    """Returns the learning rate of a step over its peak: a line up to 1, then half a cosine down, or 1 throughout.

    Args:
        step: Optimizer steps done, from 0.
        num_steps: Optimizer steps of the whole phase.
        warmup_fraction: Share of the steps that climb.
        final_fraction: Where the cosine ends.
        cosine: False stays at 1.
    """
    warmup = round(warmup_fraction * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def build_schedule(settings: Mapping[str, Any], optimizer: Optimizer, num_steps: float) -> LambdaLR:
    """Builds the learning rate's way over the optimizer steps of a phase.

    Raises:
        UserError: If the name is unknown, or the schedule needs an end and the fit has none.
    """
    name = str(settings["name"])
    if name not in ("cosine", "constant"):
        raise unknown("schedule.name", name, ("cosine", "constant"))
    warmup, final = float(settings["warmup_fraction"]), float(settings["final_fraction"])
    if not math.isfinite(num_steps):
        if name == "cosine" or warmup > 0:
            raise UserError(
                f"schedule.name: {name} needs to know its last step, and the fit has none; "
                "set trainer.max_epochs or trainer.max_steps, or schedule=constant schedule.warmup_fraction=0."
            )
        return LambdaLR(optimizer, lambda step: 1.0)
    steps = max(1, int(num_steps))
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, warmup, final, name == "cosine"))
