"""What a training step of each way of focus costs over empirical risk minimisation.

    python scripts/benchmark/focus_cost.py                  # 3 to 4 minutes, writes benchmarks/focus_cost.json
    python scripts/benchmark/focus_cost.py --device cuda    # in bf16-mixed, writes benchmarks/focus_cost_cuda.json

The median of several steps of 128 images of 64 x 64 pixels in turns with the plain step, with its quartiles: processor
time of one thread (so that a busy machine does not count), on a GPU the time until it is done.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evensight import names
from evensight.config import METHOD_SCHEMAS, ModelConfig
from evensight.cues import build_cues
from evensight.environment import environment
from evensight.files import write_json
from evensight.models.backbones import build_network
from evensight.training.classifier import join_views
from evensight.training.focus.focused import Focused
from evensight.training.focus.settings import Focus
from evensight.training.methods.base import DataFacts, Method
from evensight.training.task import SingleLabel

SIDE, NUM, CLASSES = 64, 128, 8
BACKBONES = {"small_cnn": 15, "timm/resnet18": 5}  # steps of each
GPU_STEPS = 50
WAYS: dict[str, Focus] = {
    **{f"augment {cue}": Focus((cue,), ("augment",)) for cue in names.CUES if cue not in names.DESCRIBED_ONLY},
    "augment colour and brightness": Focus(("brightness", "colour"), ("augment",)),
    "consistency colour": Focus(("colour",), ("consistency",)),
    "remove colour": Focus(("colour",), ("remove",)),
    "remove colour and brightness": Focus(("brightness", "colour"), ("remove",)),
}
METHODS = ("resample", "logit_adjustment", "group_dro", "jtt", "lff", "fg_ccdb", "lisa")


def facts() -> DataFacts:
    """Returns those of even cells of eight classes and eight levels."""
    cells = {"colour": [[16] * CLASSES] * CLASSES}
    return DataFacts([NUM] * CLASSES, NUM * CLASSES, {"colour": CLASSES}, cells, "colour")


def method(name: str) -> Method:
    """Builds a method with the defaults of its section."""
    options = {key: value for key, value in vars(METHOD_SCHEMAS[name]()).items() if key != "name"}
    kind = names.resolve(names.METHODS, "method", name)
    built: Method = kind(options, SingleLabel([str(k) for k in range(CLASSES)]), facts())
    return built


def stepped(backbone: str, way: Method, removed: tuple[str, ...], device: str) -> Callable[[], None]:
    """Returns one whole step: views, loss, gradients, optimizer."""
    model = ModelConfig(backbone=backbone, size=SIDE)

    def network_of(removed: tuple[str, ...]) -> torch.nn.Module:
        return build_network(model, CLASSES, build_cues(removed))[0].to(device)

    network = network_of(removed)
    way.attach(lambda: network_of(()))
    way.to(device)
    optimizer = torch.optim.AdamW([*network.parameters(), *way.parameters()], fused=True)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (NUM, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    label = torch.arange(NUM) % CLASSES
    mask = torch.zeros(NUM, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, 16:48, 16:48] = 255
    on_cpu: dict[str, Any] = {
        "image": image.to(memory_format=torch.channels_last),
        "label": label,
        "target": torch.nn.functional.one_hot(label, CLASSES).float(),
        "weight": torch.ones(NUM),
        "attributes": (torch.arange(NUM) // CLASSES % CLASSES)[:, None],
        "noise": torch.rand(NUM, way.noise_size, generator=generator),
        "index": torch.arange(NUM),
    }
    batch = {**{name: value.to(device) for name, value in on_cpu.items()}, "extra": {"mask": mask.to(device)}}

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            loss = way.loss(network, join_views(batch, way.views(dict(batch))))
        loss.backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    """Returns the processor time of one step; on a GPU, the time until it is done."""
    if device == "cpu":
        began = time.process_time()
        step()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def compared(backbone: str, way: Method, removed: tuple[str, ...], num: int, device: str) -> dict[str, float | int]:
    """Returns the cost of a step over a plain one's: the median ratio, its quartiles and n."""
    plain, other = stepped(backbone, method("erm"), (), device), stepped(backbone, way, removed, device)
    for one in (plain, other):
        for _ in range(1 if device == "cpu" else 3):  # kernels are chosen in the first ones
            one()
    ratios, millis = [], []
    for _ in range(num):
        first, second = seconds(plain, device), seconds(other, device)
        ratios.append(second / first)
        millis.append(1000 * (second - first))
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).round(3).tolist()
    milliseconds = round(float(np.median(millis)), 1 if device == "cpu" else 3)
    return {"ratio": middle, "low": low, "high": high, "milliseconds": milliseconds, "n": num}


def main(out: Path, device: str) -> None:
    """Measures all ways and methods with both networks, and writes the file."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for backbone, steps in BACKBONES.items():
        num = steps if device == "cpu" else GPU_STEPS
        rows = found[backbone] = {}
        for name, focus in WAYS.items():
            way = Focused(method("erm"), focus) if focus.randomized else method("erm")
            rows[name] = compared(backbone, way, focus.removed, num, device)
            print(backbone, name, rows[name], flush=True)
        for name in METHODS:
            rows[name] = compared(backbone, method(name), (), num, device)
            print(backbone, name, rows[name], flush=True)
    made_on = {key: value for key, value in environment().items() if key not in ("host", "command")}
    write_json(out, {"environment": made_on, "side": SIDE, "batch_size": NUM, "step_over_erm": found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=None, help="benchmarks/focus_cost.json or focus_cost_cuda.json")
    options = parser.parse_args()
    standard = Path("benchmarks") / ("focus_cost.json" if options.device == "cpu" else "focus_cost_cuda.json")
    main(options.out or standard, options.device)
