"""What a training step of each way of focus costs over empirical risk minimisation.

    python scripts/benchmark/focus_cost.py      # 3 to 4 minutes, writes benchmarks/focus_cost.json

Processor time of one thread (so that a busy machine does not count), the median of several steps of 128 images of 64 x
64 pixels in turns with the plain step, with its quartiles.
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


def stepped(backbone: str, way: Method, removed: tuple[str, ...] = ()) -> Callable[[], None]:
    """Returns one whole step: views, loss, gradients, optimizer."""
    model = ModelConfig(backbone=backbone, size=SIDE)
    network, _ = build_network(model, CLASSES, build_cues(removed))
    way.attach(lambda: build_network(model, CLASSES)[0])
    optimizer = torch.optim.AdamW([*network.parameters(), *way.parameters()], fused=True)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (NUM, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    label = torch.arange(NUM) % CLASSES
    mask = torch.zeros(NUM, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, 16:48, 16:48] = 255
    batch: dict[str, Any] = {
        "image": image.to(memory_format=torch.channels_last),
        "label": label,
        "target": torch.nn.functional.one_hot(label, CLASSES).float(),
        "weight": torch.ones(NUM),
        "attributes": (torch.arange(NUM) // CLASSES % CLASSES)[:, None],
        "noise": torch.rand(NUM, way.noise_size, generator=generator),
        "index": torch.arange(NUM),
        "extra": {"mask": mask},
    }

    def step() -> None:
        optimizer.zero_grad()
        way.loss(network, join_views(batch, way.views(dict(batch)))).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Returns the processor time of one step."""
    began = time.process_time()
    step()
    return time.process_time() - began


def compared(backbone: str, way: Method, removed: tuple[str, ...], num: int) -> dict[str, float | int]:
    """Returns the cost of a step over a plain one's: the median ratio, its quartiles and n."""
    plain, other = stepped(backbone, method("erm")), stepped(backbone, way, removed)
    for one in (plain, other):
        one()
    ratios, millis = [], []
    for _ in range(num):
        first, second = seconds(plain), seconds(other)
        ratios.append(second / first)
        millis.append(1000 * (second - first))
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).round(3).tolist()
    return {"ratio": middle, "low": low, "high": high, "milliseconds": round(float(np.median(millis)), 1), "n": num}


def main(out: Path) -> None:
    """Measures all ways and methods with both networks, and writes the file."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for backbone, num in BACKBONES.items():
        rows = found[backbone] = {}
        for name, focus in WAYS.items():
            way = Focused(method("erm"), focus) if focus.randomized else method("erm")
            rows[name] = compared(backbone, way, focus.removed, num)
            print(backbone, name, rows[name], flush=True)
        for name in METHODS:
            rows[name] = compared(backbone, method(name), (), num)
            print(backbone, name, rows[name], flush=True)
    made_on = {key: value for key, value in environment().items() if key not in ("host", "command")}
    write_json(out, {"environment": made_on, "side": SIDE, "batch_size": NUM, "step_over_erm": found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/focus_cost.json"))
    main(parser.parse_args().out)
