"""A NaN or infinite loss or gradient: skipped, rolled back, stopped, and never in a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
import signal
import sys
import types
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_places import Fitted, Workplace

from evensight import names
from evensight.config import Config
from evensight.errors import RunError, UserError
from evensight.interruption import Interrupted
from evensight.run import Run
from evensight.training import building
from evensight.training import train as room
from evensight.training.callbacks.finite_guard import FiniteGuard
from evensight.training.callbacks.metrics_file import read_lines
from evensight.training.checkpoint import read_checkpoint
from evensight.training.methods.base import Batch, Phase
from evensight.training.methods.erm import ERM

FLAT = ("schedule=constant", "schedule.warmup_fraction=0", "reliance.cues=[colour]")  # one learning rate throughout
Where = set[tuple[int, int]]  # (epoch, batch)


class PoisonedERM(ERM):
    """A view whose first image is NaN, as a broken augmentation on the device would make it; with per-image state."""

    seen: Tensor

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("seen", torch.zeros(self.facts.num_images))

    def views(self, batch: Batch) -> list[Tensor]:
        images = batch["image"].float()
        if batch.get("poisoned"):
            images[0] = math.nan
        self.seen = self.seen.index_add(0, batch["index"], images.mean(dim=(1, 2, 3)))  # a new tensor each time
        return [images]


class TwoPhases(PoisonedERM):
    def phases(self) -> list[Phase]:
        return [Phase("first", epochs=1), Phase("second", reset=("network.head.*",))]


class LossOnly(PoisonedERM):
    """A loss that is not finite and has finite gradients."""

    def views(self, batch: Batch) -> list[Tensor]:
        return [batch["image"]]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch) + (math.inf if batch.get("poisoned") else 0.0)


class PoisonBatches(Callback):
    """Poisons the batches at `where`, at most `times` of them."""

    def __init__(self, where: Where, times: int) -> None:
        self.where, self.times = where, times

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) in self.where and self.times:
            self.times -= 1
            batch["poisoned"] = True


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("poisoned")
    for kind in (PoisonedERM, TwoPhases, LossOnly):
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(names.METHODS, kind.__name__, f"poisoned:{kind.__name__}")
    monkeypatch.setitem(sys.modules, "poisoned", module)


def fit(
    place: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    where: Where | None = None,
    times: int = -1,
    method: str = "PoisonedERM",
    others: tuple[Callback, ...] = (),
    resume: Run | None = None,
) -> Fitted:
    """A fit whose batches at `where` are poisoned, at most `times` of them."""
    config = dataclasses.replace(place.config(*overrides), method={"name": method})
    if resume is not None:
        config = dataclasses.replace(config, resume=True, run=str(resume.folder))
    run = resume or Run.create(config)

    def callbacks(config: Config) -> list[Callback]:
        return [PoisonBatches(where or set(), times), *others]

    with monkeypatch.context() as patch:
        patch.setattr(building, "user_callbacks", callbacks)
        result = room.train(config, run, place.manifest, place.objective)
    return Fitted(config, run, place.manifest, place.objective, result)


def newest(place: Workplace) -> Run:
    return Run(max(place.folder.glob("runs/shapes/*"), key=lambda folder: folder.stat().st_mtime_ns))


def tensors(value: Any) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {"": value}
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {f"{name}.{rest}": found for name, part in parts for rest, found in tensors(part).items()}


def assert_same(left: Run, right: Run, *names_of_files: str) -> None:
    """Weights, average, buffers and the optimizer's state, to the bit."""
    for name in names_of_files or ("last.ckpt",):
        expected, found = (read_checkpoint(run.checkpoints / name) for run in (left, right))
        for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
            a, b = tensors(expected.get(key)), tensors(found.get(key))
            assert a.keys() == b.keys()
            for where, value in a.items():
                assert torch.equal(value, b[where]), f"{name} {key} {where}"


def assert_finite(run: Run) -> None:
    files = sorted(run.checkpoints.glob("*.ckpt"))
    for file in files:
        for where, value in tensors(read_checkpoint(file)).items():
            assert not value.is_floating_point() or value.isfinite().all(), f"{file.name} {where}"


def skipped_steps(run: Run) -> list[float | None]:
    return [line["metrics"].get("train/skipped_steps") for line in read_lines(run.metrics_file)]


def learning_rates(run: Run) -> list[float]:
    return [line["metrics"]["train/lr"] for line in read_lines(run.metrics_file)]


# ----------------------------------------------------------------------------------------------------------- skipped


@pytest.mark.parametrize(
    ("overrides", "last_batches", "bad"),
    [
        (("ema.enabled=true",), 3, 3),
        (("optimizer=sgd", "ema.enabled=true"), 3, 3),
        (("optimizer=sgd", "trainer.gradient_clip_val=0.5"), 3, 3),  # no kernel that skips by itself
        (("trainer.accumulate_grad_batches=2", "ema.enabled=true"), 2, 2),  # the first of two spoils both
        (("trainer.accumulate_grad_batches=2", "optimizer=sgd"), 2, 3),  # and so does the second
        (("trainer.precision=bf16-mixed",), 3, 3),
    ],
    ids=["fused adamw", "fused sgd", "clipped", "first of two", "second of two", "bf16"],
)
def test_a_poisoned_step_is_as_if_it_had_not_been(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], last_batches: int, bad: int
) -> None:
    """The last step of both epochs, against a fit that ends before it: weights, statistics, average, moments."""
    without = fit(place, monkeypatch, *FLAT, *overrides, f"trainer.limit_train_batches={last_batches}")
    found = fit(place, monkeypatch, *FLAT, *overrides, where={(0, bad), (1, bad)})
    assert_same(without.run, found.run, "last.ckpt", "best.ckpt")
    assert_finite(found.run)
    assert skipped_steps(found.run) == [1, 1]
    assert skipped_steps(without.run) == [None, None]
    lines = read_lines(found.run.metrics_file)
    assert all(math.isfinite(line["metrics"]["train/loss"]) for line in lines)


@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_a_loss_with_finite_gradients_is_skipped_too(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, clip: str
) -> None:
    settings = (*FLAT, f"trainer.gradient_clip_val={clip}")
    without = fit(place, monkeypatch, *settings, "trainer.limit_train_batches=3", method="LossOnly")
    found = fit(place, monkeypatch, *settings, where={(0, 3), (1, 3)}, method="LossOnly")
    assert_same(without.run, found.run)


def test_each_epoch_names_its_first_skipped_step_once(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evensight"):
        found = fit(place, monkeypatch, *FLAT, where={(0, 1), (0, 3), (1, 2)})
    said = [record.getMessage() for record in caplog.records if "the step is skipped" in record.getMessage()]
    assert [re.match(r"epoch \d+, step \d+", text).group() for text in said] == [  # type: ignore[union-attr]
        "epoch 1, step 2",
        "epoch 2, step 7",
    ]
    assert skipped_steps(found.run) == [2, 1]


def test_the_schedule_goes_on_over_a_skipped_step(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = fit(place, monkeypatch, "reliance.cues=[colour]")
    found = fit(place, monkeypatch, "reliance.cues=[colour]", where={(0, 1), (1, 2)})
    assert learning_rates(found.run) == learning_rates(healthy.run)
    assert [line["step"] for line in read_lines(found.run.metrics_file)] == [4, 8]


def test_validation_between_the_batches_of_a_bad_step_sees_no_nan(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []

    class Listen(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            losses.append(float(trainer.callback_metrics["val/loss"]))

    found = fit(
        *(place, monkeypatch, *FLAT, "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=1"),
        where={(0, 2)},
        others=(Listen(),),
    )
    assert len(losses) == 8
    assert all(map(math.isfinite, losses))
    assert skipped_steps(found.run) == [1, None]


@pytest.mark.parametrize("overrides", [("ema.enabled=true",), ("optimizer=sgd", "trainer.gradient_clip_val=1.0")])
def test_a_healthy_run_is_the_same_to_the_bit_without_the_guard(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    guarded = fit(place, monkeypatch, "reliance.cues=[colour]", *overrides)
    bare = fit(place, monkeypatch, "reliance.cues=[colour]", "finite_guard.enabled=false", *overrides)
    assert_same(guarded.run, bare.run, "last.ckpt", "best.ckpt")


class Waits(TorchDispatchMode):
    """Counts the operators that make the host wait for a device, in its own thread."""

    names = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select", "item")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        if str(func).split(".")[1] in self.names:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Watches from the first batch to the end of the last."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.waits.__enter__()

    def on_validation_start(self, *_: Any) -> None:
        self.waits.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("overrides", "where", "num_waits"),
    [
        (("ema.enabled=true",), set(), 0),
        (("ema.enabled=true",), {(0, 2)}, 0),
        (("optimizer=sgd", "trainer.accumulate_grad_batches=2"), {(0, 2)}, 0),
        # On a CPU what clips is not fused: there the host asks at each step. It shows that this test can fail.
        (("optimizer=sgd", "trainer.gradient_clip_val=1.0"), set(), 4),
    ],
    ids=["healthy", "skipped", "accumulated", "not fused"],
)
def test_no_step_waits_for_the_device(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], where: Where, num_waits: int
) -> None:
    """What runs on a GPU runs here on a CPU, operator by operator."""
    waits = Waits()
    # The loader's own operators, in its thread, are not those of the step.
    settings = (*FLAT, "trainer.max_epochs=1", "data.num_workers=1")
    fit(place, monkeypatch, *settings, *overrides, where=where, others=(Watch(waits),))
    assert waits.seen > 4 * 50
    assert waits.found == ["aten._local_scalar_dense.default"] * num_waits


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.parametrize("overrides", [(), ("optimizer=sgd",), ("trainer.gradient_clip_val=1.0",)])
def test_no_step_waits_on_a_gpu_and_a_bad_one_is_as_if_it_had_not_been(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    class NoWaiting(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:  # in the first one, libraries choose their kernels
                torch.cuda.set_sync_debug_mode("error")

        def on_validation_start(self, *_: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

        on_exception = on_validation_start

    settings = (*FLAT, "trainer=gpu", "trainer.deterministic=true", "ema.enabled=true", *overrides)
    without = fit(place, monkeypatch, *settings, "trainer.limit_train_batches=3")
    found = fit(place, monkeypatch, *settings, where={(0, 3), (1, 3)}, others=(NoWaiting(),))
    assert_same(without.run, found.run)
    assert skipped_steps(found.run) == [1, 1]


SCALED = (
    "trainer.precision=null",
    "trainer.plugins=[{_target_: lightning.pytorch.plugins.MixedPrecision, precision: 16-mixed, device: cpu}]",
)


class Overflow(Callback):
    """Scales the loss of a step so far up that its gradients overflow."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            trainer.precision_plugin.scaler._scale.fill_(1e37)


@pytest.mark.parametrize("overrides", [(), ("optimizer=sgd", "trainer.gradient_clip_val=1.0")])
def test_overflowing_gradients_are_the_scalers_business_and_a_bad_loss_is_not(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    overflowed = fit(place, monkeypatch, *FLAT, *SCALED, *overrides, others=(Overflow(),))
    assert skipped_steps(overflowed.run) == [None, None]
    scale = read_checkpoint(overflowed.run.checkpoints / "last.ckpt")["MixedPrecision"]["scale"]
    assert scale < 1e37  # it stepped back as it does
    assert_finite(overflowed.run)
    settings = (*FLAT, *SCALED, *overrides)
    without = fit(place, monkeypatch, *settings, "trainer.limit_train_batches=3", method="LossOnly")
    found = fit(place, monkeypatch, *settings, where={(0, 3), (1, 3)}, method="LossOnly")
    assert skipped_steps(found.run) == [1, 1]
    assert_same(without.run, found.run)


@pytest.mark.slow  # compiling takes half a minute
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch 2.11's own inductor
def test_a_compiled_network_is_guarded_and_its_layers_are_named(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*FLAT, "trainer.compile=true", "finite_guard.max_skipped=1", "data.num_workers=0")
    without = fit(place, monkeypatch, *settings, "trainer.limit_train_batches=3")
    found = fit(place, monkeypatch, *settings, "finite_guard.max_skipped=8", where={(0, 3), (1, 3)})
    assert_same(without.run, found.run)
    with pytest.raises(RunError, match=r"is network\.backbone\.layers\.0 \(Conv2d\)"):
        fit(place, monkeypatch, *settings, where={(0, 3), (1, 3)})


# -------------------------------------------------------------------------------------------------------- rolled back


def test_several_in_a_row_before_any_checkpoint_begin_again_with_a_lower_learning_rate(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Against a fit that had the lower learning rate from the start."""
    settings = (
        "reliance.cues=[colour]",
        "ema.enabled=true",
        "finite_guard.max_skipped=3",
        "finite_guard.lr_factor=0.25",
    )
    with caplog.at_level(logging.WARNING, "evensight"):
        found = fit(place, monkeypatch, *settings, where={(0, 1), (0, 2), (0, 3)}, times=3)
    lower = fit(place, monkeypatch, *settings, f"optimizer.lr={found.config.optimizer.lr * 0.25}")
    assert_same(lower.run, found.run, "last.ckpt", "best.ckpt")
    assert learning_rates(found.run) == learning_rates(lower.run)
    assert skipped_steps(found.run) == [None, None]
    said = [text for text in caplog.messages if "going back" in text]
    assert said == [
        "epoch 1, step 4: 3 steps in a row had a loss or gradient that is not finite; going back to the last "
        "checkpoint, with the learning rate x 0.25."
    ]
    assert read_checkpoint(found.run.checkpoints / "last.ckpt")["callbacks"]["FiniteGuard"]["went_back"] is True


class LowerFrom(Callback):
    """What going back to the end of an epoch comes to, done by hand."""

    def __init__(self, epoch: int, factor: float) -> None:
        self.epoch, self.factor = epoch, factor

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            (schedule,) = trainer.lr_scheduler_configs
            schedule.scheduler.base_lrs = [rate * self.factor for rate in schedule.scheduler.base_lrs]
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= self.factor


@pytest.mark.parametrize("overrides", [("ema.enabled=true",), ("optimizer=sgd", "trainer.gradient_clip_val=1.0")])
def test_several_in_a_row_go_back_to_the_last_checkpoint(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    settings = ("reliance.cues=[colour]", "trainer.max_epochs=3", "finite_guard.max_skipped=2", *overrides)
    found = fit(place, monkeypatch, *settings, where={(2, 1), (2, 2)}, times=2)
    by_hand = fit(place, monkeypatch, *settings, others=(LowerFrom(2, 0.5),))
    assert_same(by_hand.run, found.run, "last.ckpt", "best.ckpt")
    assert learning_rates(found.run) == learning_rates(by_hand.run)
    assert [line["epoch"] for line in read_lines(found.run.metrics_file)] == [0, 1, 2]
    assert_finite(found.run)


def test_a_later_phase_has_the_lower_learning_rate_too(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its optimizer is new: the checkpoint it goes back to is that of the phase before."""
    settings = (*FLAT, "finite_guard.max_skipped=2")
    found = fit(place, monkeypatch, *settings, method="TwoPhases", where={(1, 0), (1, 1)}, times=2)
    lr = found.config.optimizer.lr
    assert learning_rates(found.run) == [lr, lr / 2]
    by_hand = fit(place, monkeypatch, *settings, method="TwoPhases", others=(LowerFrom(1, 0.5),))
    assert_same(by_hand.run, found.run)


class BreakWeight(Callback):
    """Breaks a weight after the last step of an epoch, once."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 3):
            self.epoch = -1
            with torch.no_grad():
                pl_module.network.head.weight[0, 0] = math.inf


@pytest.mark.parametrize(
    "overrides",
    [(), ("trainer.limit_val_batches=0",), ("trainer.enable_checkpointing=false",)],
    ids=["seen in validation", "seen when a checkpoint is written", "no checkpoints at all"],
)
def test_weights_that_broke_go_back_and_are_in_no_checkpoint(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    found = fit(place, monkeypatch, "reliance.cues=[colour]", *overrides, others=(BreakWeight(1),))
    assert all(value.isfinite().all() for value in found.result.network.state_dict().values())
    assert_finite(found.run)
    assert [line["epoch"] for line in read_lines(found.run.metrics_file)] == [0, 1]


# ------------------------------------------------------------------------------------------------------------ stopped


def test_an_exploding_learning_rate_is_rolled_back_and_then_stopped(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "evensight"), pytest.raises(RunError) as stopped:
        fit(place, monkeypatch, *FLAT, "optimizer=sgd", "optimizer.lr=1e10", "trainer.max_epochs=20")
    assert sum("going back" in text for text in caplog.messages) == 1
    sentence = str(stopped.value)
    assert re.match(r"training is not finite: .*, again after going back with the learning rate x 0\.5, at ", sentence)
    assert re.search(r"at epoch \d+, step \d+, images (\d+, ){5}\.\.\. of the manifest; ", sentence)
    assert re.search(r"layer .*is network\.[\w.]+ \(\w+\)|largest is [\d.e+]+ in network", sentence)
    assert sentence.endswith(
        "lower optimizer.lr, clip with trainer.gradient_clip_val, or look with trainer.detect_anomaly=true."
    )
    assert_finite(newest(place))


def test_the_sentence_names_the_step_its_images_and_the_layer(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batches stay poisoned after going back."""
    indices: dict[tuple[int, int], list[int]] = {}

    class Note(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            indices[trainer.current_epoch, batch_idx] = batch["index"].tolist()

    where = {(1, 1), (1, 2), (1, 3)}
    with pytest.raises(RunError) as stopped:
        settings = ("finite_guard.max_skipped=2", "ema.enabled=true", "model.drop_rate=0.2")
        fit(place, monkeypatch, "reliance.cues=[colour]", *settings, where=where, others=(Note(),))
    shown = ", ".join(str(index) for index in indices[1, 2][:5])
    assert str(stopped.value) == (
        "training is not finite: 2 steps in a row had a loss or gradient that is not finite, again after going back "
        f"with the learning rate x 0.5, at epoch 2, step 7, images {shown}, ... of the manifest; the first layer whose "
        "output is not finite is network.backbone.layers.0 (Conv2d), and what it was given is not finite already; "
        "lower optimizer.lr, clip with trainer.gradient_clip_val, or look with trainer.detect_anomaly=true."
    )
    assert_finite(newest(place))
    assert read_checkpoint(newest(place).checkpoints / "last.ckpt")["epoch"] == 0


# ------------------------------------------------------------------------------------------------------------ resumed


class KilledError(RuntimeError):
    pass


class KillAt(Callback):
    def __init__(self, epoch: int, batch: int) -> None:
        self.at = epoch, batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            raise KilledError


def killed_and_resumed(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, *overrides: str, where: Where, at: tuple[int, int]
) -> Run:
    with pytest.raises(KilledError):
        fit(place, monkeypatch, *overrides, where=where, others=(KillAt(*at),))
    return fit(place, monkeypatch, *overrides, where=where, resume=newest(place)).run


def lines_without_times(run: Run) -> list[dict[str, Any]]:
    lines = read_lines(run.metrics_file)
    for line in lines:
        del line["seconds"], line["metrics"]["train/images_per_second"]
    return lines


@pytest.mark.parametrize("every", ["null", "1"], ids=["epochs", "steps"])
@pytest.mark.parametrize(("max_skipped", "at"), [(8, (1, 2)), (3, (2, 3))], ids=["skipped", "rolled back"])
def test_a_resumed_run_equals_the_uninterrupted_one(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, max_skipped: int, at: tuple[int, int], every: str
) -> None:
    """Three bad steps in a row from one epoch into the next: the count is kept over the kill, and so is going back."""
    where = {(0, 1), (1, 2), (1, 3), (2, 0)}
    settings = ("reliance.cues=[colour]", "trainer.max_epochs=4", "ema.enabled=true", "model.drop_rate=0.3")
    settings = (*settings, f"finite_guard.max_skipped={max_skipped}", f"trainer.checkpoint_every.steps={every}")
    whole = fit(place, monkeypatch, *settings, where=where).run
    again = killed_and_resumed(place, monkeypatch, *settings, where=where, at=at)
    assert_same(whole, again, "last.ckpt", "best.ckpt")
    assert lines_without_times(whole) == lines_without_times(again)
    states = [read_checkpoint(run.checkpoints / "last.ckpt")["callbacks"]["FiniteGuard"] for run in (whole, again)]
    assert states[0] == states[1]
    assert states[0]["went_back"] is (max_skipped == 3)


def test_no_checkpoint_is_written_within_an_epoch_while_steps_are_bad(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the next batch begins, and how many batches the checkpoint had seen by then."""
    seen: dict[tuple[int, int], tuple[int, int]] = {}

    class Note(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            last = newest(place).checkpoints / "last.ckpt"
            if last.is_file():
                position = read_checkpoint(last)["position"]
                seen[trainer.current_epoch, batch_idx] = position["epochs"], position["batches"]

    settings = ("reliance.cues=[colour]", "trainer.checkpoint_every.steps=1")
    fit(place, monkeypatch, *settings, where={(0, 0), (1, 1)}, others=(Note(),))
    assert seen == {
        (0, 2): (0, 2),  # none before the first good step
        (0, 3): (0, 3),
        (1, 0): (1, 0),
        (1, 1): (1, 1),
        (1, 2): (1, 1),  # not after the bad one
        (1, 3): (1, 3),
    }


def test_a_signal_among_bad_steps_leaves_the_checkpoint_before_them(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ask(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (trainer.current_epoch, batch_idx) == (1, 1):
                os.kill(os.getpid(), signal.SIGTERM)

    settings, where = ("reliance.cues=[colour]", "trainer.max_epochs=3", "ema.enabled=true"), {(1, 1), (1, 2)}
    whole = fit(place, monkeypatch, *settings, where=where).run
    with pytest.raises(Interrupted):
        fit(place, monkeypatch, *settings, where=where, others=(Ask(),))
    run = newest(place)
    assert read_checkpoint(run.checkpoints / "last.ckpt")["position"]["batches"] == 0
    again = fit(place, monkeypatch, *settings, where=where, resume=run).run
    assert_same(whole, again, "last.ckpt", "best.ckpt")
    assert lines_without_times(whole) == lines_without_times(again)


def test_a_run_that_went_back_stops_after_it_is_resumed(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("reliance.cues=[colour]", "trainer.max_epochs=4", "finite_guard.max_skipped=2")
    with pytest.raises(KilledError):
        fit(place, monkeypatch, *settings, where={(1, 0), (1, 1)}, times=2, others=(KillAt(2, 0),))
    run = newest(place)
    with pytest.raises(RunError, match="again after going back"):
        fit(place, monkeypatch, *settings, where={(3, 0), (3, 1)}, resume=run)
    assert_finite(run)


@pytest.mark.parametrize(("key", "value"), [("max_skipped", 0), ("lr_factor", 0.0), ("lr_factor", 1.5)])
def test_values_out_of_range_are_the_users_mistake(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"finite_guard\.{key}: found {value}"):
        FiniteGuard(**{key: value})  # type: ignore[arg-type]
