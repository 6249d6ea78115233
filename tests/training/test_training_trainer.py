"""Every argument of Lightning's Trainer passes by its own name."""

from __future__ import annotations

import dataclasses
import inspect

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO
from training_places import Workplace

from evensight.config import TrainerConfig
from evensight.errors import UserError
from evensight.training.checkpoint import AtomicCheckpointIO
from evensight.training.trainer import OURS, build_trainer, trainer_arguments, user_callbacks


def test_every_argument_has_a_key() -> None:
    ours = {field.name for field in dataclasses.fields(TrainerConfig)} - set(OURS)
    theirs = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self", "logger", "callbacks"}
    assert ours == theirs


def test_arguments_pass_and_null_leaves_lightnings_default() -> None:
    arguments = trainer_arguments(TrainerConfig(max_epochs=3, gradient_clip_val=0.5, accelerator="cpu", devices=1))
    assert arguments["gradient_clip_val"] == 0.5
    assert "precision" not in arguments
    assert "limit_val_batches" not in arguments
    trainer = lightning.Trainer(**arguments)
    assert (trainer.max_epochs, trainer.gradient_clip_val, trainer.logger) == (3, 0.5, None)


def test_auto_takes_mixed_precision_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, bf16, expected in ((False, False, "32-true"), (True, True, "bf16-mixed"), (True, False, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda bf16=bf16, **_: bf16)
        assert trainer_arguments(TrainerConfig(accelerator="auto"))["precision"] == expected
    assert trainer_arguments(TrainerConfig(accelerator="auto", precision="32-true"))["precision"] == "32-true"
    assert "precision" not in trainer_arguments(TrainerConfig(accelerator="cpu"))


def test_checkpoints_are_written_whole_unless_the_user_brings_a_writer(place: Workplace) -> None:
    ours = build_trainer(place.config(), [])
    assert isinstance(ours.strategy.checkpoint_io, AtomicCheckpointIO)
    theirs = "trainer.plugins=[{_target_: lightning.pytorch.plugins.io.TorchCheckpointIO}]"
    found = build_trainer(place.config(theirs), []).strategy.checkpoint_io
    assert type(found) is TorchCheckpointIO


def test_what_lightning_refuses_is_one_sentence(place: Workplace) -> None:
    with pytest.raises(UserError, match=r"^trainer\.precision: found 17; .*precision") as caught:
        build_trainer(place.config("trainer.precision=17"), [])
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_told_what_to_write(place: Workplace) -> None:
    with pytest.raises(UserError, match=r"^trainer\.accelerator: found .gpu.; .*trainer=auto or trainer=cpu"):
        build_trainer(place.config("trainer.accelerator=gpu"), [])


def test_users_callbacks_are_built(place: Workplace) -> None:
    (found,) = user_callbacks(place.config("callbacks=early_stopping", "callbacks.early_stopping.patience=3"))
    assert isinstance(found, EarlyStopping)
    assert (found.monitor, found.patience) == ("val/primary", 3)
    with pytest.raises(UserError, match=r"callbacks.mine.*not a Lightning callback"):
        user_callbacks(place.config("+callbacks.mine={_target_: torch.nn.ReLU}"))
