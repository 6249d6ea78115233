"""A run that stopped after an epoch and went on gives the weights of one that did not stop, to the bit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from training_places import Workplace

from evensight.config import Config
from evensight.run import Run
from evensight.training import train as room
from evensight.training.checkpoint import read_checkpoint

# Everything that has a state or draws: dropout, the average, momentum, a norm, accumulation over epochs of 4 batches.
OVERRIDES = ("trainer.max_epochs=3", "model.drop_rate=0.3", "ema.enabled=true", "trainer.accumulate_grad_batches=2")


class KilledError(RuntimeError):
    pass


class KillAfter(Callback):
    """Ends a run inside an epoch, as a crash would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise KilledError


def tensors(value: Any) -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {"": value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {f"{name}.{rest}": found for name, part in parts for rest, found in tensors(part).items()}


def lines_without_times(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"], line["metrics"]["train/images_per_second"]
    return lines


def resumed(place: Workplace, monkeypatch: pytest.MonkeyPatch, killed_in: int, *overrides: str) -> Run:
    """Returns a run that was killed inside an epoch and then resumed."""
    config = place.config(*overrides)
    run = Run.create(config)
    build = room.user_callbacks

    def with_killer(config: Config) -> list[Callback]:
        return [*build(config), KillAfter(killed_in)]

    with monkeypatch.context() as patch:
        patch.setattr(room, "user_callbacks", with_killer)
        with pytest.raises(KilledError):
            room.train(config, run, place.manifest, place.objective)
    # The crash left a line that the checkpoint does not know of.
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"epoch": killed_in, "step": 0, "seconds": 0.0, "metrics": {}}) + "\n")
    again = dataclasses.replace(config, resume=True, run=str(run.folder))
    room.train(again, run, place.manifest, place.objective)
    return run


@pytest.mark.parametrize("killed_in", [1, 2])
def test_resumed_run_equals_the_uninterrupted_one(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, killed_in: int
) -> None:
    whole = place.fit(*OVERRIDES).run
    again = resumed(place, monkeypatch, killed_in, *OVERRIDES)
    for name in ("last.ckpt", "best.ckpt"):
        expected, found = (read_checkpoint(run.checkpoints / name) for run in (whole, again))
        assert expected["epoch"] == found["epoch"]
        assert expected["global_step"] == found["global_step"]
        for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
            left, right = tensors(expected[key]), tensors(found[key])
            assert left.keys() == right.keys()
            for place_in_file, value in left.items():
                assert torch.equal(value, right[place_in_file]), f"{name} {key} {place_in_file}"
    assert lines_without_times(again) == lines_without_times(whole)


def test_resuming_a_finished_run_changes_nothing(place: Workplace) -> None:
    first = place.fit()
    before = first.run.metrics_file.read_bytes()
    config = dataclasses.replace(first.config, resume=True, run=str(first.run.folder))
    result = room.train(config, first.run, place.manifest, place.objective)
    assert first.run.metrics_file.read_bytes() == before
    assert result.best_epoch == first.result.best_epoch
    for name, value in first.result.network.state_dict().items():
        assert torch.equal(value, result.network.state_dict()[name]), name


def test_a_run_without_a_checkpoint_cannot_be_resumed(place: Workplace) -> None:
    config = dataclasses.replace(place.config(), resume=True)
    run = Run.create(config)
    with pytest.raises(ValueError, match="has not finished an epoch"):
        room.train(config, run, place.manifest, place.objective)
