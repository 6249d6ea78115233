"""What FiniteGuard costs a training step: real fits of small_cnn on random images, with and without it in turn.

    python scripts/guard_cost.py [rounds] [overrides of experiment=shapes ...]

Prints, for each optimizer, the milliseconds of a step without the guard, and what the guard adds (medians over the
rounds, and the middle half of them). Times are of the thread, on one core, so that what else the machine does counts as
little as it can; what the guard adds does not depend on the batch, so `data.batch_size=8` shows it best.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from evensight.compose import compose
from evensight.training.callbacks.finite_guard import FiniteGuard
from evensight.training.classifier import Classifier
from evensight.training.methods.base import DataFacts
from evensight.training.trainer import quiet

NUM_CLASSES, WARMUP, STEPS = 8, 10, 110


class Clock(Callback):
    """Seconds of each step after the first few."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(time.thread_time())

    @property
    def median(self) -> float:
        steps = [after - before for before, after in zip(self.seconds, self.seconds[1:], strict=False)]
        return statistics.median(steps[WARMUP:])


def batch(size: int, side: int) -> dict[str, torch.Tensor]:
    """Random images of `side` pixels, `[size, 3, side, side]`, in channels_last as the loader gives them."""
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8).to(memory_format=torch.channels_last)
    label = torch.randint(0, NUM_CLASSES, (size,))
    target = torch.nn.functional.one_hot(label, NUM_CLASSES).float()
    return {"image": images, "label": label, "target": target, "weight": torch.ones(size), "index": torch.arange(size)}


def step_seconds(overrides: list[str], guarded: bool) -> float:
    """Returns the median time of a step."""
    config = compose(["experiment=shapes", "trainer=cpu", *overrides])
    facts = dataclasses.asdict(DataFacts(class_counts=[1] * NUM_CLASSES, num_images=config.data.batch_size))
    sections = (dataclasses.asdict(part) for part in (config.model, config.method, config.optimizer, config.schedule))
    model, method, optimizer, schedule = sections
    classes = [str(k) for k in range(NUM_CLASSES)]
    classifier = Classifier(model, classes, method, optimizer, schedule, facts, seed=1)
    clock = Clock()
    with quiet():
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=config.trainer.gradient_clip_val,
            callbacks=[*([FiniteGuard()] if guarded else []), clock],
        )
        images = [batch(config.data.batch_size, classifier.spec.size)] * STEPS
        trainer.fit(classifier, DataLoader(images, batch_size=None))  # type: ignore[arg-type]
    return clock.median


def main(rounds: int = 15, *overrides: str) -> None:
    """Prints a line an optimizer."""
    warnings.simplefilter("ignore")  # no validation loop, few workers: meant
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"{rounds} rounds of {STEPS} steps, torch {torch.__version__}, one core")
    for name, more in (("adamw", []), ("sgd", ["optimizer=sgd"]), ("clipped", ["trainer.gradient_clip_val=1.0"])):
        settings = [*more, *overrides]
        step_seconds(settings, True)
        pairs = [(step_seconds(settings, False), step_seconds(settings, True)) for _ in range(rounds)]
        plain = statistics.median(without for without, _ in pairs)
        low, middle, high = statistics.quantiles([with_it - without for without, with_it in pairs], n=4)
        print(
            f"{name:8} step {1e3 * plain:6.2f} ms; the guard adds {1e3 * middle:5.2f} ms "
            f"({1e3 * low:.2f} to {1e3 * high:.2f}), {100 * middle / plain:.1f} %"
        )


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
