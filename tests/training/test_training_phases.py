"""A method is one file and one line: here with a second network, two phases, per-image state and a repair."""

from __future__ import annotations

import dataclasses
import signal
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from interruptions import Moment, assert_same, end, go_on
from torch import Tensor, nn
from training_places import Workplace

from evensight import names
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.models.backbones import build_network
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training.checkpoint import network_weights, read_checkpoint
from evensight.training.methods.base import Batch, Method, Phase, Weights, mean_loss
from evensight.training.phases import planned
from evensight.training.train import load_best, train

HEARD: list[Mapping[str, float]] = []


class TwoNetworks(Method):
    """A biased second network finds hard images; the network starts again on those, its body frozen after all."""

    allowed = ("first_epochs",)
    noise_size = 2
    hard: Tensor
    seen: Tensor

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.second = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, self.task.num_outputs))
        self.register_buffer("hard", torch.zeros(self.facts.num_images))
        self.register_buffer("seen", torch.zeros(self.facts.num_images, dtype=torch.int64))

    def views(self, batch: Batch) -> list[Tensor]:
        return [batch["image"], batch["image"].flip(-1)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert batch["noise"].shape == (len(batch["image"]), 2)
        logits, second = model(batch["image"]), self.second(batch["image"].float() / 255)
        batch["logits"] = logits.detach()
        if self.training:
            index = batch["index"]
            self.seen.index_add_(0, index, torch.ones_like(index))
            self.hard[index] = F.cross_entropy(second, batch["label"], reduction="none").detach()
        both = self.task.loss(logits, batch["target"]) + self.task.loss(second, batch["target"])
        return mean_loss(both, batch["weight"])

    def phases(self) -> list[Phase]:
        return [
            Phase("find", epochs=int(self.options["first_epochs"])),
            Phase("train", trainable=("network.head.*", "method.*"), reset=("network.*",), sample_weights=self.weights),
        ]

    def weights(self, manifest: Manifest) -> Weights:
        rows = np.array(manifest.split("train")["index"])
        hard = self.hard.cpu().numpy()[rows]
        assert (hard > 0).all()  # every training image was seen in the first phase
        return np.where(np.arange(len(rows)) < 8, hard, 0.0)

    def on_epoch_end(self, measurements: Mapping[str, float]) -> None:
        HEARD.append(dict(measurements))

    def repair(self, model: nn.Module, loader: Iterable[Batch]) -> bool:
        assert len(next(iter(loader))["image"]) > 0
        with torch.no_grad():
            model.get_parameter("head.bias").fill_(0.25)
        return True


def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Makes the method known by its name and returns its section."""
    module = types.ModuleType("two_networks")
    module.TwoNetworks = TwoNetworks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "two_networks", module)
    monkeypatch.setitem(names.METHODS, "two_networks", "two_networks:TwoNetworks")
    HEARD.clear()
    return {"name": "two_networks", "first_epochs": 2}


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return registered(monkeypatch)


TWO_PHASES = (
    *("trainer.max_epochs=4", "ema.enabled=true", "trainer.checkpoint_every.steps=1", "reliance.cues=[colour]"),
    *("trainer.progress=false", "data.eval_batch_size=256"),
)


@pytest.fixture(scope="module")
def whole_of_two_phases(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Run:
    """A run of both phases that nobody ended."""
    with pytest.MonkeyPatch.context() as patch:
        settings = registered(patch)
        return Workplace(tmp_path_factory.mktemp("phases"), *data).fit(*TWO_PHASES, method=settings).run


def test_every_hook_is_called(place: Workplace, method: dict[str, object]) -> None:
    fitted = place.fit("trainer.max_epochs=4", method=method)
    torch.manual_seed(fitted.config.seed)
    initial = build_network(fitted.config.model, 8)[0].state_dict()
    last = read_checkpoint(fitted.run.checkpoints / "last.ckpt")
    state = last["state_dict"]
    train_rows = fitted.manifest.split("train")["index"].to_torch()
    seen = state["method.seen"][train_rows]

    # views: both go through the loss. sample_weights: in the second phase only the first eight images are drawn.
    assert (seen[8:] == 2 * 2).all()
    assert seen.sum() == 2 * 4 * len(train_rows)

    # trainable and reset: the body is at its initial values, its statistics too; head and second network have moved.
    for name, value in network_weights(last).items():
        same = torch.equal(value, initial[name])
        assert same == (not name.startswith("head.")), name
    # The second network is not reset: it is a parameter like any other and is in the optimizer.
    assert len(last["optimizer_states"][0]["state"]) == 4
    assert last["phase"]["number"] == 1
    assert last["phase"]["begun"] == 2

    # on_epoch_end hears the figures by their names. The best is of the last phase alone.
    assert len(HEARD) == 4
    assert {"train/loss", "val/accuracy", "val/worst_group_accuracy/colour", "val/primary"} <= set(HEARD[-1])
    assert fitted.result.best_epoch in (2, 3)

    # repair: changes what is returned, and what is read back later.
    for result in (fitted.result, load_best(fitted.config, fitted.run, place.manifest, place.objective)):
        assert torch.equal(result.network.head.bias, torch.full((8,), 0.25))


def test_schedule_of_a_phase_runs_over_its_own_steps(place: Workplace, method: dict[str, object]) -> None:
    fitted = place.fit("trainer.max_epochs=4", "schedule.warmup_fraction=0.25", method=method)
    last = read_checkpoint(fitted.run.checkpoints / "last.ckpt")
    # Two epochs of four batches: the second phase's own schedule has made eight steps, of eight.
    assert last["lr_schedulers"][0]["last_epoch"] == 8
    assert last["lr_schedulers"][0]["_last_lr"][0] == pytest.approx(0.0, abs=1e-12)


def test_resume_within_the_second_phase(place: Workplace, method: dict[str, object]) -> None:
    # As a crash in the last epoch leaves it: the checkpoint after epoch 2 is what a fit of three epochs ends with,
    # but for the schedule, so the constant one is taken for both.
    constant = ("schedule=constant", "schedule.warmup_fraction=0.0")
    whole = place.fit("trainer.max_epochs=4", *constant, method=method)
    part = place.fit("trainer.max_epochs=3", *constant, method=method)
    config = dataclasses.replace(place.config("trainer.max_epochs=4", *constant), resume=True, method=method)
    train(config, part.run, place.manifest, place.objective)
    expected, found = (read_checkpoint(run.checkpoints / "last.ckpt") for run in (whole.run, part.run))
    assert found["epoch"] == expected["epoch"] == 3
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, found["state_dict"][name]), name


# Everything a phase may have of its own, and an average: the weights of the first phase, restarted ones, frozen parts.
@pytest.mark.parametrize("signum", [None, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(Moment("on_train_batch_end", 6), marks=pytest.mark.slow),  # in the first phase
        Moment("on_train_batch_start", 9),  # before the second has a checkpoint: that of the end of the first is there
        Moment("on_train_batch_end", 10),
        pytest.param(Moment("on_validation_batch_end", 4), marks=pytest.mark.slow),  # of the last epoch
    ],
    ids=str,
)
def test_ended_in_a_phase_and_gone_on_with_to_the_bit(
    moment: Moment, signum: int | None, place: Workplace, method: dict[str, object], whole_of_two_phases: Run
) -> None:
    ended = end(place, moment, *TWO_PHASES, method=method, signum=signum)
    go_on(place, ended)
    assert_same(whole_of_two_phases, ended.run)


@pytest.mark.parametrize(
    "batch", [9, pytest.param(8, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)]
)
def test_a_phase_goes_on_from_the_average_also_when_resumed(
    batch: int, place: Workplace, method: dict[str, object], monkeypatch: Any
) -> None:
    """A phase that restarts nothing begins with the average that the one before it ended with."""
    phases = [Phase("head", 2, trainable=("network.head.*", "method.*")), Phase("all", 2)]
    monkeypatch.setattr(TwoNetworks, "phases", lambda self: phases)
    whole = place.fit(*TWO_PHASES, method=method).run
    ended = end(place, Moment("on_train_batch_end", batch), *TWO_PHASES, method=method)
    go_on(place, ended)
    assert_same(whole, ended.run)


def test_a_repair_is_made_once(place: Workplace, method: dict[str, object], monkeypatch: Any) -> None:
    """Also where the process is killed after it, in the export: the second would begin with the repaired network."""

    def repair(self: TwoNetworks, model: nn.Module, loader: Iterable[Batch]) -> bool:
        with torch.no_grad():
            model.get_parameter("head.bias").add_(1)
        return True

    monkeypatch.setattr(TwoNetworks, "repair", repair)
    fitted = place.fit(*TWO_PHASES, method=method)
    config = dataclasses.replace(fitted.config, resume=True)
    again = train(config, fitted.run, place.manifest, place.objective)
    assert torch.equal(again.network.head.bias, fitted.result.network.head.bias)


def test_what_one_phase_froze_the_next_one_trains(
    place: Workplace, method: dict[str, object], monkeypatch: Any
) -> None:
    phases = [Phase("head", 1, trainable=("network.head.*", "method.*")), Phase("all", 1)]
    monkeypatch.setattr(TwoNetworks, "phases", lambda self: phases)
    fitted = place.fit("trainer.max_epochs=2", method=method)
    torch.manual_seed(fitted.config.seed)
    initial = build_network(fitted.config.model, 8)[0].state_dict()
    weights = network_weights(read_checkpoint(fitted.run.checkpoints / "last.ckpt"))
    for name in ("backbone.layers.0.weight", "backbone.layers.1.running_mean"):
        assert not torch.equal(weights[name], initial[name]), name
    assert int(weights["backbone.layers.1.num_batches_tracked"]) == 4  # of the second phase alone


def test_epochs_of_phases_are_filled_in() -> None:
    found = planned([Phase("a", 3), Phase("b"), Phase("c", 2)], 10)
    assert [(phase.name, phase.epochs) for phase in found] == [("a", 3), ("b", 5), ("c", 2)]
    assert planned([Phase("fit")], -1)[0].epochs is None
    assert planned([Phase("fit")], 7)[0].epochs == 7


@pytest.mark.parametrize(
    ("phases", "max_epochs"),
    [([Phase("a", 3), Phase("b")], 3), ([Phase("a", 3), Phase("b", 3)], 10), ([Phase("a"), Phase("b")], 10)],
)
def test_epochs_that_do_not_add_up_are_refused(phases: list[Phase], max_epochs: int) -> None:
    with pytest.raises(UserError, match=r"trainer.max_epochs: .*phases \(a"):
        planned(phases, max_epochs)


def test_reset_of_nothing_is_refused(place: Workplace, method: dict[str, object], monkeypatch: Any) -> None:
    phases = [Phase("a", 1), Phase("b", 1, reset=("netwrok.*",))]
    monkeypatch.setattr(TwoNetworks, "phases", lambda self: phases)
    with pytest.raises(UserError, match="netwrok"):
        place.fit("trainer.max_epochs=2", method=method)


def test_unknown_option_of_a_method_names_the_nearest(place: Workplace) -> None:
    with pytest.raises(UserError, match="Did you mean 'label_smoothing'"):
        place.fit(method={"name": "erm", "label_smothing": 0.1})
