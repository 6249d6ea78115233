"""What a configuration asks of the devices of this machine, and what Lightning is told when ranks train together."""

from __future__ import annotations

import os
from typing import Any

from evensight.config import TrainerConfig
from evensight.errors import UserError, wrong_value
from evensight.ranks.world import World

# Two ranks on one core are a test; a hundred end a machine.
_MOST_PER_CORE = 4


def num_ranks(trainer: TrainerConfig) -> int:
    """Returns the processes that a configuration asks for on this machine; 1 where it is Lightning's to refuse it."""
    devices = trainer.devices
    if isinstance(devices, str) and devices.strip().lstrip("-").isdigit():
        devices = int(devices)
    if isinstance(devices, int) and devices >= 0:
        return max(1, devices)
    if not on_gpu(trainer):
        return 1
    if devices in (None, "auto", -1):
        import torch

        return max(1, torch.cuda.device_count())
    return max(1, len(devices.split(",") if isinstance(devices, str) else devices))


def on_gpu(trainer: TrainerConfig) -> bool:
    """Returns whether training runs on CUDA devices."""
    if trainer.accelerator not in (None, "auto", "gpu", "cuda"):
        return False
    import torch

    return torch.cuda.is_available()


def check_count(trainer: TrainerConfig, count: int) -> None:
    """Raises UserError if this machine has fewer GPUs, or so few cores that as many processes would end it."""
    if on_gpu(trainer):
        import torch

        most, why = torch.cuda.device_count(), "the GPUs of this machine"
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        most, why = _MOST_PER_CORE * cores, f"{_MOST_PER_CORE} processes for each core of this machine"
    if count > most:
        raise wrong_value("trainer.devices", trainer.devices, f"at most {most} ({why})")


def shared(batch_size: int, size: int) -> int:
    """Returns the images of a step that each of `size` devices has.

    Raises:
        UserError: If they are not as many on each.
    """
    if batch_size % size:
        raise UserError(f"data.batch_size: {batch_size} cannot be shared by {size} devices; use a multiple.")
    return batch_size // size


def rank_arguments(trainer: TrainerConfig, here: World) -> dict[str, Any]:
    """Returns the arguments of `lightning.Trainer` that follow from who started how many processes.

    The number of processes is the word of who started them. A configuration that names another one is refused, but for
    1, which every trainer of ours has without being asked.

    Raises:
        UserError: If the configuration contradicts, or would start processes of its own.
    """
    if here.size == 1:
        return {}
    for key, allowed in (("devices", here.local_size), ("num_nodes", here.num_nodes)):
        value = getattr(trainer, key)
        number = num_ranks(trainer) if key == "devices" else int(value or 1)
        if number not in (1, allowed):
            raise UserError(
                f"trainer.{key}: found {value}, but {here.started_by} started {here.local_size} processes on each of "
                f"{here.num_nodes} machines; write trainer.{key}={allowed}, or leave it out."
            )
    strategy = trainer.strategy
    if isinstance(strategy, str) and any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(
            f"trainer.strategy: {strategy!r} starts processes by itself; allowed here: ddp, or leave it out."
        )
    devices = trainer.devices
    named = isinstance(devices, list | tuple) or (isinstance(devices, str) and "," in devices)
    return {
        "devices": devices if named and here.local_size > 1 else here.local_size,
        "num_nodes": here.num_nodes,
        "strategy": "ddp" if strategy in (None, "auto") else strategy,
    }
