"""What trainer.compile does for a training step: the network of an experiment on random images, eager and compiled.

    python scripts/compile_speed.py [rounds] [overrides, experiment=shapes where none is given ...]

Prints the seconds that the first compiled step takes with an empty cache, then for each round the steps a second of
both in turn and the processor time of their steps; last the medians of their ratios with the smallest and the largest.
Where other processes share the cores, the processor time is the one to go by.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from evensight.compose import compose
from evensight.models.backbones import build_network
from evensight.training.compiling import compile_training

NUM_CLASSES, STEPS = 8, 30


@dataclass(frozen=True)
class Speed:
    """Of `STEPS` steps: steps a second, and milliseconds of processor time a step, over all threads."""

    steps_per_second: float
    processor_ms: float


def measured(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, num_steps: int = STEPS) -> Speed:
    """Trains for some steps."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    began, spent = time.perf_counter(), time.process_time()
    for _ in range(num_steps):
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds, processor = time.perf_counter() - began, time.process_time() - spent
    return Speed(num_steps / seconds, 1000 * processor / num_steps)


def main(rounds: int, overrides: list[str]) -> None:
    """Measures and prints."""
    config = compose(overrides)
    torch.manual_seed(0)
    eager, spec = build_network(config.model, NUM_CLASSES)
    eager.train()
    compiled = copy.deepcopy(eager)
    compile_training(compiled)
    shape = (config.data.batch_size, 3, spec.size, spec.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(memory_format=torch.channels_last)
    labels = torch.randint(0, NUM_CLASSES, shape[:1])
    measured(eager, images, labels, 3)
    began = time.perf_counter()
    measured(compiled, images, labels, 1)
    print(f"first compiled step {time.perf_counter() - began:.0f} s")
    faster, cheaper = [], []
    for _ in range(rounds):
        one, other = measured(eager, images, labels), measured(compiled, images, labels)
        faster.append(other.steps_per_second / one.steps_per_second)
        cheaper.append(one.processor_ms / other.processor_ms)
        print(f"eager {one.steps_per_second:.1f} steps/s {one.processor_ms:.0f} ms of processor; ", end="")
        print(f"compiled {other.steps_per_second:.1f} steps/s {other.processor_ms:.0f} ms", flush=True)
    for name, ratios in (("steps a second", faster), ("steps a second of processor time", cheaper)):
        print(f"{name}: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}, n = {rounds})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        main(int((sys.argv[1:] or ["5"])[0]), sys.argv[2:] or ["experiment=shapes"])
