"""What can be built without data is built before any image is decoded and any folder made, and thrown away.

A mistake in a backbone, a file of weights, a transform, a callback or an argument of the trainer is then answered in
seconds. What it costs is one more construction of the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator

import torch
from lightning.pytorch import Callback

from evensight.config import Config
from evensight.data.augment import Augment
from evensight.instantiate import check
from evensight.models.backbones import build_network
from evensight.training.mirrors import check_mirror
from evensight.training.optim import build_optimizer, build_schedule
from evensight.training.trainer import build_trainer

# A network for as many classes as there must be at least; how many there are, only the data knows.
_NUM_CLASSES = 2


def preflight(config: Config) -> None:
    """Raises what training would raise of a configuration, as far as it does not depend on the data.

    The random generator is left as it was.

    Raises:
        UserError: For the first mistake.
    """
    with _silent():
        _build(config)


def _build(config: Config) -> None:
    for name, node in config.callbacks.items():
        if node is not None:
            check(node, config.allow_targets, f"callbacks.{name}", Callback, "a Lightning callback")
    check_mirror(config)
    build_trainer(config, [])
    with torch.random.fork_rng(devices=[]):
        _, spec = build_network(config.model, _NUM_CLASSES)
    Augment(config.augment, spec.size, allow_targets=config.allow_targets)
    parameter = torch.nn.Parameter(torch.zeros(1, 1))
    settings = config.optimizer if isinstance(config.optimizer, dict) else dataclasses.asdict(config.optimizer)
    optimizer = build_optimizer(settings, [("weight", parameter)], False, config.allow_targets)
    if config.trainer.max_epochs == -1 and config.trainer.max_steps in (None, -1):
        build_schedule(dataclasses.asdict(config.schedule), optimizer, float("inf"))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What is said here of a configuration that is right, training says again."""
    logger = logging.getLogger("evensight")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
