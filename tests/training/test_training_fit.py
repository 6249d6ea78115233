"""A small fit: what it returns, what it leaves, what the checkpoints hold, and how it ends when it goes wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file
from training_places import Fitted, Workplace

from evensight.cues.reliance import DonorBank
from evensight.data.dataset import ImageDataset
from evensight.errors import RunError, UserError
from evensight.interruption import Interrupted
from evensight.training import building
from evensight.training import train as room
from evensight.training.callbacks.ema import newest_share
from evensight.training.callbacks.metrics_file import read_lines
from evensight.training.checkpoint import network_weights, read_checkpoint
from evensight.training.classifier import Classifier
from evensight.training.methods.erm import ERM


def validation_logits(fitted: Fitted) -> tuple[torch.Tensor, torch.Tensor]:
    dataset = ImageDataset(fitted.manifest, "validation", fitted.result.spec, None, 0)
    batch = dataset.batch(0, dataset.indices * 0 + range(len(dataset)))
    with torch.inference_mode():
        return fitted.result.network(batch["image"]), batch["label"]


def test_result_is_the_best_network_and_agrees_with_its_figures(shared_fit: Fitted) -> None:
    result = shared_fit.result
    assert not result.network.training
    assert next(result.network.parameters()).device.type == "cpu"
    logits, labels = validation_logits(shared_fit)
    assert (logits.argmax(1) == labels).double().mean() == pytest.approx(result.metrics["val/accuracy"])
    loss = torch.nn.functional.cross_entropy(logits.double(), labels)
    assert float(loss) == pytest.approx(result.metrics["val/loss"], rel=1e-5)
    assert (result.num_epochs, result.spec.size) == (2, 24)
    best = read_checkpoint(shared_fit.run.checkpoints / "best.ckpt")
    assert best["epoch"] == result.best_epoch
    for name, value in network_weights(best).items():
        assert torch.equal(value, result.network.state_dict()[name])


def test_best_is_read_back_from_the_folder(shared_fit: Fitted) -> None:
    again = room.load_best(shared_fit.config, shared_fit.run, shared_fit.manifest, shared_fit.objective)
    assert (again.best_epoch, again.metrics, again.seconds) == (
        shared_fit.result.best_epoch,
        shared_fit.result.metrics,
        0,
    )
    for name, value in shared_fit.result.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    assert torch.equal(again.bank.images, shared_fit.result.bank.images)


def test_every_epoch_has_a_line_with_the_fixed_names(shared_fit: Fitted) -> None:
    lines = read_lines(shared_fit.run.metrics_file)
    assert [(line["epoch"], line["step"]) for line in lines] == [(0, 4), (1, 8)]
    for line in lines:
        for name in (
            *("train/loss", "train/accuracy", "train/images_per_second", "train/lr", "val/loss", "val/accuracy"),
            *("val/recall/circle", "val/f1/circle", "val/worst_class_recall", "val/group_accuracy/colour/red"),
            *("val/worst_group_accuracy/colour", "val/gap/size", "val/worst_cell_accuracy/background"),
            *("val/conflicting_accuracy/colour", "val/primary", "val/requirements_met"),
        ):
            assert name in line["metrics"], name
        assert line["intervals"]["val/accuracy"][2] == 256
        assert set(line["intervals"]) <= set(line["metrics"])
        assert set(line["floors"]) <= set(line["metrics"])
        assert "val/gap/colour" in line["floors"]
    # Reliance is measured every second epoch here, and an old figure is not written again.
    assert "val/reliance/colour" not in lines[0]["metrics"]
    operators = [name for name in lines[1]["metrics"] if name.startswith("val/reliance/colour/") and "=" not in name]
    assert len(operators) >= 2
    assert lines[1]["metrics"]["val/reliance/colour"] == max(lines[1]["metrics"][name] for name in operators)
    assert lines[1]["intervals"]["val/reliance/colour"][2] == 32


def test_csv_has_the_same_figures(shared_fit: Fitted) -> None:
    import polars as pl

    table = pl.read_csv(shared_fit.run.folder / "metrics.csv", infer_schema_length=None)
    lines = read_lines(shared_fit.run.metrics_file)
    assert table["epoch"].to_list() == [0, 1]
    assert table["val/accuracy"].to_list() == pytest.approx([line["metrics"]["val/accuracy"] for line in lines])
    assert table["val/reliance/colour"][0] is None


def test_donors_are_drawn_before_the_fit_and_kept(shared_fit: Fitted) -> None:
    bank = DonorBank.from_state(load_file(shared_fit.run.folder / "donors.safetensors"))
    assert torch.equal(bank.images, shared_fit.result.bank.images)
    assert torch.bincount(bank.labels).tolist() == [4] * 8
    rows = shared_fit.manifest.frame[bank.rows.tolist()]
    assert set(rows["split"]) == {"train"}
    assert rows["label"].to_list() == [shared_fit.manifest.classes[k] for k in bank.labels.tolist()]


def test_checkpoint_holds_plain_values_and_loads_by_itself(shared_fit: Fitted) -> None:
    path = shared_fit.run.checkpoints / "best.ckpt"
    again = Classifier.load_from_checkpoint(path, weights_only=True)
    for name, value in shared_fit.result.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    json.dumps(dict(again.hparams))  # nothing but dicts, lists, text and numbers


def test_same_seed_same_weights_another_seed_others(place: Workplace, shared_fit: Fitted) -> None:
    same = place.fit("data.num_workers=1").result.network.state_dict()
    other = place.fit("seed=2").result.network.state_dict()
    expected = shared_fit.result.network.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in expected.items())
    assert not torch.equal(expected["head.weight"], other["head.weight"])


def test_average_is_validated_and_kept_and_last_holds_both(place: Workplace) -> None:
    fitted = place.fit("ema.enabled=true", "ema.decay=0.9")
    last = read_checkpoint(fitted.run.checkpoints / "last.ckpt")
    average = last["state_dict"]["network.head.weight"]
    current = last["current_model_state"]["network.head.weight"]
    assert not torch.equal(average, current)
    assert last["averaging_state"]["n_averaged"] == 8
    logits, labels = validation_logits(fitted)
    assert (logits.argmax(1) == labels).double().mean() == pytest.approx(fitted.result.metrics["val/accuracy"])
    # A counter has no average: it is the network's own.
    counters = [value for name, value in last["state_dict"].items() if name.endswith("num_batches_tracked")]
    assert {int(counter) for counter in counters} == {8}


def test_average_starts_with_the_first_step() -> None:
    """Its decay is min(decay, (1 + t) / (10 + t)), so the untrained weights are soon forgotten."""
    assert newest_share(torch.tensor(0), 0.95) == 1.0
    for t in (1, 2, 100, 171, 1000):
        assert float(newest_share(torch.tensor(t), 0.95)) == 1 - min(0.95, (1 + t) / (10 + t))


def test_nan_ends_the_run_and_is_never_the_best(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ERM.loss

    def loss(self: ERM, model: Any, batch: Any) -> torch.Tensor:
        broken = float("nan") if self.facts.num_images and model.training and BREAK["now"] else 1.0
        return plain(self, model, batch) * broken

    BREAK = {"now": False}

    class BreakLater(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            BREAK["now"] = trainer.current_epoch == 1

    monkeypatch.setattr(ERM, "loss", loss)
    monkeypatch.setattr(building, "user_callbacks", lambda config: [BreakLater()])
    config = place.config("trainer.max_epochs=3", "finite_guard.enabled=false")
    run = room.Run.create(config)
    with pytest.raises(RunError, match=r"not finite: train/loss is nan in epoch 2"):
        room.train(config, run, place.manifest, place.objective)
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = read_checkpoint(run.checkpoints / name)
        assert checkpoint["epoch"] == 0
        assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    lines = read_lines(run.metrics_file)
    assert [line["metrics"]["train/loss"] is None for line in lines] == [False, True]


def test_clipping_accumulation_and_sgd_pass(place: Workplace) -> None:
    fitted = place.fit(
        *("optimizer=sgd", "trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2", "schedule=constant"),
        "model.channels_last=false",
    )
    last = read_checkpoint(fitted.run.checkpoints / "last.ckpt")
    assert last["global_step"] == 4  # two epochs of four batches, two batches a step
    assert "momentum_buffer" in last["optimizer_states"][0]["state"][0]


def test_no_checkpoints_where_none_are_wanted(place: Workplace) -> None:
    fitted = place.fit("trainer.enable_checkpointing=false", "reliance.cues=[colour]", "trainer.progress=false")
    assert not fitted.run.checkpoints.exists()
    assert fitted.result.best_epoch is None
    logits, labels = validation_logits(fitted)
    assert (logits.argmax(1) == labels).double().mean() == pytest.approx(fitted.result.metrics["val/accuracy"])


def test_an_interrupt_is_passed_on_and_the_checkpoints_stay(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    class PressKey(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(building, "user_callbacks", lambda config: [PressKey()])
    config = place.config("reliance.cues=[colour]")
    run = room.Run.create(config)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"SIGINT\); go on with: evensight train run="):
        room.train(config, run, place.manifest, place.objective)
    assert signal.getsignal(signal.SIGINT) is before
    assert read_checkpoint(run.checkpoints / "last.ckpt")["position"] == {
        "epochs": 1,
        "batches": 1,
        "validation": False,
    }


@pytest.mark.parametrize(
    ("overrides", "best_epoch"),
    [
        (("trainer.limit_val_batches=0",), 1),  # nothing to choose by: the last
        (("trainer.fast_dev_run=true",), 0),
        (("trainer.check_val_every_n_epoch=2",), 1),
        (("debug=overfit", "trainer.max_epochs=1"), 0),
        (("trainer.max_steps=3", "trainer.max_epochs=-1"), 0),
    ],
)
def test_lightnings_ways_of_cutting_a_fit_short(place: Workplace, overrides: tuple[str, ...], best_epoch: int) -> None:
    assert place.fit("reliance.cues=[colour]", *overrides).result.best_epoch == best_epoch


def test_a_gpu_that_is_not_there_is_one_sentence(place: Workplace) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match=r"^trainer\.accelerator: .*gpu"):
        place.fit("trainer=gpu")


def test_broken_checkpoint_is_named(place: Workplace, tmp_path: Any) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"best.ckpt cannot be read"):
        read_checkpoint(path)


def test_an_image_that_breaks_in_training_is_named_for_the_report(place: Workplace, tmp_path: Path) -> None:
    """Prepared whole, lost before the fit: counted, and no crash."""
    root = tmp_path / "copy"
    shutil.copytree(place.manifest.root, root)
    path = place.manifest.split("train")["path"][0]
    (root / path).write_bytes(b"broken")
    config = place.config("trainer.max_epochs=1", "reliance.cues=[colour]")
    run = room.Run.create(config)
    room.train(config, run, dataclasses.replace(place.manifest, root=root), place.objective)
    findings = json.loads((run.folder / "findings.json").read_text(encoding="utf-8"))["findings"]
    (broke,) = [finding for finding in findings if finding["code"] == "broke_in_training"]
    assert broke["count"] == 1
    assert path in broke["examples"][0]
