"""The `lightning.Trainer` of a run: its arguments from the configuration, our callbacks and the user's."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.plugins.io import CheckpointIO

from evensight.config import Config, TrainerConfig
from evensight.errors import UserError, shown
from evensight.instantiate import check, instantiate
from evensight.logs import unheard
from evensight.ranks.devices import rank_arguments
from evensight.ranks.world import world
from evensight.training.checkpoint import AtomicCheckpointIO

# Keys of TrainerConfig that are not Lightning's.
OURS = ("checkpoint_every", "compile", "seed_everything", "num_threads", "progress")


def trainer_arguments(config: TrainerConfig) -> dict[str, Any]:
    """Returns the arguments for `lightning.Trainer`: those that are set, and our defaults where they differ."""
    given = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in OURS and getattr(config, field.name) is not None
    }
    arguments = {
        "enable_progress_bar": False,  # ours says more
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # a bias monitor has nothing to say of three batches of an untrained network
        "use_distributed_sampler": False,  # the loader shards by itself
        "logger": False,  # metrics.jsonl and its mirrors
        **given,
    }
    if arguments.get("accelerator", "auto") == "auto" and "precision" not in given:
        arguments["precision"] = automatic_precision()
    return arguments


def automatic_precision() -> str:
    """Returns bf16-mixed on a GPU that has it, 16-mixed on an older one, else 32 bit."""
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def user_callbacks(config: Config) -> list[Callback]:
    """Builds the callbacks of the `callbacks` section.

    Raises:
        UserError: If one is no Lightning callback, or cannot be built.
    """
    found = []
    for name, node in config.callbacks.items():
        if node is None:
            continue
        check(node, config.allow_targets, f"callbacks.{name}", Callback, "a Lightning callback")
        callback = instantiate(node, config.allow_targets, f"callbacks.{name}")
        if not isinstance(callback, Callback):  # of a function
            raise UserError(f"callbacks.{name}: {node!r} is not a Lightning callback; give it a _target_ that is one.")
        found.append(callback)
    return found


def build_trainer(config: Config, callbacks: Sequence[Callback]) -> lightning.Trainer:
    """Builds the trainer.

    Args:
        config: The whole configuration; `plugins`, `profiler` and `strategy` may be `_target_` nodes.
        callbacks: In the order in which they are to run.

    Raises:
        UserError: If Lightning refuses an argument, in its own words.
    """
    if config.trainer.num_threads is not None:
        torch.set_num_threads(config.trainer.num_threads)
    here = world()
    stated = {**trainer_arguments(config.trainer), **rank_arguments(config.trainer, here)}
    arguments = {name: instantiate(value, config.allow_targets, f"trainer.{name}") for name, value in stated.items()}
    plugins = arguments.pop("plugins", None) or []
    plugins = list(plugins) if isinstance(plugins, Sequence) and not isinstance(plugins, str) else [plugins]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(AtomicCheckpointIO())
    if here.size > 1 and here.started_by == "torchrun":
        os.environ.setdefault("LOCAL_RANK", str(here.local_rank))
        plugins.append(TorchElasticEnvironment())
    try:
        with quiet():
            return lightning.Trainer(callbacks=list(callbacks), plugins=plugins, **arguments)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        wanted = str(arguments.get("accelerator", "auto"))
        hint = "" if wanted in ("auto", "cpu") or torch.cuda.is_available() else " Write trainer=auto or trainer=cpu."
        said = " ".join(str(error).split()).rstrip(".!")
        raise UserError(f"{_meant(said, config.trainer)}; Lightning says: {said}.{hint}") from error


def _meant(said: str, config: TrainerConfig) -> str:
    """Finds the key that a sentence of Lightning's is about, by its name in it, else by its value, and shows both."""
    given = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    signs = (
        lambda name, value: f"{name}={value!r}" in said,
        lambda name, value: re.search(rf"\b{name}\b", said, re.IGNORECASE) and str(value) in said,
        lambda name, value: isinstance(value, str) and value in said,
        lambda name, value: re.search(rf"\b{name}\b", said),
    )
    for sign in signs:
        for name, value in given.items():
            if sign(name, value):
                return f"trainer.{name}: found {shown(value)}"
    return "trainer"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning from saying what its user cannot act on; everything else it warns of is passed on."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)  # below it: "GPU available: False", tips, "max_epochs=20 reached"
    with unheard():
        try:
            yield
        finally:
            logger.setLevel(level)
