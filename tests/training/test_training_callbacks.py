"""The callbacks: alone in somebody else's Lightning project, and what they say."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from training_places import Fitted, Workplace

from evensight.cues.reliance import Outcome
from evensight.files import append_line
from evensight.training.callbacks.bias_monitor import BiasMonitor
from evensight.training.callbacks.metrics_file import as_csv, cut_back, read_lines
from evensight.training.callbacks.progress import Progress, epoch_line
from evensight.training.cue_figures import reliance_figures

pytestmark = [
    # Lightning's own, in its plain use.
    pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:.*isinstance\(treespec, LeafSpec\).*is deprecated"),
]


class SomebodysModule(lightning.LightningModule):
    """Knows nothing of evensight but the keys of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {"logits": nn.functional.one_hot(batch["guess"], 2).float()}


def images(num: int = 400) -> list[dict[str, Tensor]]:
    """Red images are right, green ones wrong half of the time; the last 100 are padding and all wrong."""
    found = []
    for i in range(num):
        label, green, padding = i % 2, i % 4 // 2, i >= 300
        wrong = padding or (green and i % 8 < 4)
        values = {"label": label, "guess": label ^ int(wrong), "weight": 0.0 if padding else 1.0}
        found.append(
            {name: torch.tensor(value) for name, value in values.items()} | {"attributes": torch.tensor([green])}
        )
    return found


def plain_trainer(*callbacks: lightning.Callback) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_checkpointing=False,
    )


def test_bias_monitor_works_in_any_lightning_project(caplog: pytest.LogCaptureFixture) -> None:
    monitor = BiasMonitor(["even", "odd"], {"colour": ["red", "green"]}, {"colour": [0, 1]})
    with caplog.at_level(logging.WARNING):
        figures = plain_trainer(monitor).validate(
            SomebodysModule(), DataLoader(images(), batch_size=64), verbose=False
        )[0]
    assert figures["val/group_accuracy/colour/red"] == 1.0
    assert figures["val/group_accuracy/colour/green"] == pytest.approx(74 / 148, abs=0.02)
    assert figures["val/conflicting_accuracy/colour"] > 0
    assert monitor.record.intervals["val/accuracy"][2] == 300
    assert monitor.standing is None
    assert "val/primary" not in figures
    behind = [record.message for record in caplog.records if "behind" in record.message]
    assert len(behind) == 1
    assert "colour=green" in behind[0]
    assert "colour=red" not in behind[0]


def test_a_group_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    monitor = BiasMonitor(["even", "odd"], {"colour": ["red", "green"]})
    trainer, module, loader = plain_trainer(monitor), SomebodysModule(), DataLoader(images(), batch_size=64)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            trainer.validate(module, loader, verbose=False)
        assert sum("behind" in record.message for record in caplog.records) == 1
        again = BiasMonitor(["even", "odd"], {"colour": ["red", "green"]})
        again.load_state_dict(monitor.state_dict())
        plain_trainer(again).validate(module, loader, verbose=False)
    assert sum("behind" in record.message for record in caplog.records) == 1


def test_requirement_out_of_reach_is_named_from_half_way_on(place: Workplace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        place.fit("trainer.max_epochs=4", "optimizer.lr=1e-6", "reliance.cues=[colour]")
    said = [record.message for record in caplog.records if "out of reach" in record.message]
    assert len(said) == 1
    assert said[0].startswith("epoch 2: ")
    assert "accuracy of each colour (bound 0.9)" in said[0]


def test_reliance_is_the_largest_over_operators_with_its_interval() -> None:
    def outcome(moved: int, placebo: int) -> Outcome:
        n, none = torch.arange(100), torch.zeros(100, dtype=torch.int64)
        return Outcome(n < moved, (n >= 50) & (n < 50 + placebo), none, none, none)

    record = reliance_figures("colour", {"hue": outcome(30, 2).paired(), "luma": outcome(10, 1).paired()}, 0.95)
    assert record.metrics["val/reliance/colour/hue"] == pytest.approx(0.28)
    assert record.metrics["val/reliance/colour"] == pytest.approx(0.28)
    low, high, n = record.intervals["val/reliance/colour"]
    assert (low < 0.28 < high, n) == (True, 100)
    assert record.intervals["val/reliance/colour/luma"][0] < 0.09
    empty = torch.zeros(0, dtype=torch.bool)
    assert reliance_figures("colour", {"hue": Outcome(empty, empty, empty, empty, empty).paired()}, 0.95).metrics == {}


def test_lines_are_cut_back_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    for epoch in range(3):
        line = {"epoch": epoch, "step": epoch, "seconds": 1.0, "metrics": {"a": epoch, "é": None}}
        append_line(path, json.dumps(line, ensure_ascii=False))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "met')
    assert [line["epoch"] for line in read_lines(path)] == [0, 1, 2]
    cut_back(path, 2)
    assert [line["epoch"] for line in read_lines(path)] == [0, 1]
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert as_csv(read_lines(path)) == "epoch,step,seconds,a,é\n0,0,1.0,0,\n1,1,1.0,1,\n"


def test_users_callbacks_are_run_and_what_they_log_is_written(place: Workplace) -> None:
    fitted = place.fit(
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=10",  # no epoch is so much better
        "+callbacks.timer={_target_: lightning.pytorch.callbacks.LambdaCallback}",
        "trainer.max_epochs=5",
    )
    assert [line["epoch"] for line in read_lines(fitted.run.metrics_file)] == [0, 1]


def test_line_of_an_epoch() -> None:
    metrics = {
        "train/images_per_second": 3021.4,
        "val/accuracy": 0.9512,
        "val/recall/star": 0.9,
        "val/recall/heart": 0.8,
        "val/group_accuracy/colour/red": 0.7,
        "val/group_accuracy/size/small": 0.75,
        "val/reliance/colour": 0.25,
        "val/reliance/colour/hue": 0.25,
    }
    assert epoch_line(2, 20, metrics) == (
        "epoch 3/20  3,021 images/s  accuracy 0.951  worst class 0.800 (heart)  worst group 0.700 (colour=red)  "
        "reliance on colour 0.250"
    )
    assert epoch_line(0, -1, {}) == "epoch 1"
    unvalidated = {"train/accuracy": 1.0}
    assert epoch_line(0, 60, unvalidated) == "epoch 1/60  training accuracy 1.000"


def test_a_line_an_epoch_without_a_terminal(place: Workplace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        place.fit("reliance.cues=[colour]")
    lines = [
        record.message
        for record in caplog.records
        if record.message.startswith("epoch ") and "images/s" in record.message
    ]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("worst class" in line and "worst group" in line for line in lines)


def test_a_bar_on_a_terminal(shared_fit: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    class Metrics:
        record = type("R", (), {"metrics": {}})

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(Metrics())  # type: ignore[arg-type]
    trainer = plain_trainer()
    progress.on_train_epoch_start(trainer, SomebodysModule())
    bar = progress._bar
    monkeypatch.setattr(bar, "update", lambda *_, **kwargs: drawn.append(kwargs["completed"]))
    for i in range(50):
        progress.on_train_batch_end(trainer, SomebodysModule(), None, {"label": [0] * 8}, i)
    assert drawn == [1]  # the other 49 came within a fifth of a second
    progress.on_exception(trainer, SomebodysModule(), RuntimeError())
    assert progress._bar is None


def test_json_lines_are_json(shared_fit: Fitted) -> None:
    for line in shared_fit.run.metrics_file.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
