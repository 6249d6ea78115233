"""Fits that are ended at a chosen moment, gone on with, and held against one that was not ended, to the bit."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from training_places import Workplace

from evensight.config import Config
from evensight.interruption import Interrupted
from evensight.run import Run
from evensight.training import building
from evensight.training import train as room
from evensight.training.checkpoint import read_checkpoint

# What differs between two runs alike: times.
TIMES = ("seconds", "seconds_trained")


class KilledError(BaseException):
    """Where a process would be gone: nothing that follows may rely on being called."""


@dataclass(frozen=True)
class Moment:
    """The n-th call of a hook of a callback, from 1, over the whole fit."""

    hook: str
    n: int

    def __str__(self) -> str:
        return f"{self.hook.removeprefix('on_')}-{self.n}"


class EndAt(Callback):
    """Ends the fit at a moment: by an exception, as a crash would, or by a signal."""

    def __init__(self, moment: Moment, signum: int | None = None) -> None:
        self.num_calls = 0

        def end(*_: Any) -> None:
            self.num_calls += 1
            if self.num_calls == moment.n:
                if signum is None:
                    raise KilledError
                os.kill(os.getpid(), signum)

        setattr(self, moment.hook, end)


@dataclass(frozen=True)
class Ended:
    """A run that was ended, and what it was ended by."""

    run: Run
    config: Config
    error: BaseException


def end(
    place: Workplace,
    moment: Moment,
    *overrides: str,
    signum: int | None = None,
    method: dict[str, Any] | None = None,
    others: Iterable[Callback] = (),
    run: Run | None = None,
    config: Config | None = None,
) -> Ended:
    """Returns a run that was ended at a moment.

    Args:
        place: Where it is made.
        moment: When.
        overrides: Of the configuration.
        signum: By which signal; None: as a crash would.
        method: The section, where it is not in `config.py`.
        others: Further callbacks of the user.
        run: One to go on with, instead of a new one.
        config: Its configuration.
    """
    config = config or place.config(*overrides)
    if method is not None:
        config = dataclasses.replace(config, method=method)
    if run is not None:
        config = dataclasses.replace(config, resume=True, run=str(run.folder))
    run = run or Run.create(config)
    build = building.user_callbacks

    def with_end(config: Config) -> list[Callback]:
        return [*build(config), *others, EndAt(moment, signum)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "user_callbacks", with_end)
        with pytest.raises((KilledError, Interrupted)) as caught:
            room.train(config, run, place.manifest, place.objective)
    return Ended(run, config, caught.value)


def go_on(place: Workplace, ended: Ended, *overrides: str) -> room.TrainResult:
    """Resumes a run until it is done."""
    config = dataclasses.replace(ended.config, resume=True, run=str(ended.run.folder))
    for override in overrides:  # of keys that change no figure
        name, _, value = override.partition("=")
        section, _, key = name.partition(".")
        config = dataclasses.replace(
            config, **{section: dataclasses.replace(getattr(config, section), **{key: json.loads(value)})}
        )
    return room.train(config, ended.run, place.manifest, place.objective)


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the dotted names and values of nested containers."""
    if isinstance(value, dict):
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return {name: value}
    return {path: leaf for key, part in parts for path, leaf in leaves(part, f"{name}.{key}").items()}


def lines_without_times(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"], line["metrics"]["train/images_per_second"]
    return lines


def states(path: Path) -> dict[str, Any]:
    """Returns everything in a checkpoint but times and Lightning's own counting of what it shows."""
    checkpoint = read_checkpoint(path)
    del checkpoint["loops"]
    checkpoint["callback_metrics"].pop("train/images_per_second", None)
    found = leaves(checkpoint)
    return {name: value for name, value in found.items() if name.rpartition(".")[2] not in TIMES}


def assert_same(one: Run, other: Run) -> None:
    """Weights, averages, optimizers, schedules, callbacks and figures are equal to the bit."""
    assert lines_without_times(one) == lines_without_times(other)
    for name in ("last.ckpt", "best.ckpt"):
        expected, found = states(one.checkpoints / name), states(other.checkpoints / name)
        assert expected.keys() == found.keys()
        for place, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == found[place].dtype, f"{name} {place}"
                assert torch.equal(value.nan_to_num(), found[place].nan_to_num()), f"{name} {place}"
            else:
                assert value == found[place] or value != value, f"{name} {place}"


def found_by(run: Run) -> dict[str, Any]:
    """Returns where the checkpoint of a run stands."""
    position: dict[str, Any] = read_checkpoint(run.checkpoints / "last.ckpt")["position"]
    return position


Kept = Callable[..., Run]
