"""Mirrors: offline they are complete, and when they fail the run goes on."""

from __future__ import annotations

import json
import logging
import types
from pathlib import Path
from typing import Any

import pytest
import wandb
from training_places import Workplace

from evensight.config import WandbLogger
from evensight.errors import UserError
from evensight.run import Run
from evensight.training import loggers
from evensight.training.callbacks.metrics_file import read_lines
from evensight.training.record import Record


class Service:
    """Stands for the service's run: keeps what it is given."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.closed: list[int] = []

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.closed.append(exit_code)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """Every session that is opened in place of the service's."""
    found: list[Service] = []

    def init(**arguments: Any) -> Service:
        found.append(Service(**arguments))
        return found[-1]

    monkeypatch.setattr(wandb, "init", init)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_RUN_ID", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(loggers, "_failed", set())
    return found


def test_curves_summary_and_verdicts_are_mirrored(place: Workplace, opened: list[Service]) -> None:
    fitted = place.fit("logger=wandb", "logger.tags=[a,b]", "logger.mode=offline", "reliance.cues=[]")
    lines = read_lines(fitted.run.metrics_file)
    (first,) = opened
    for row, line in zip(first.rows, lines, strict=True):
        assert row == {**line["metrics"], "epoch": line["epoch"], "step": line["step"]}
    assert first.summary["val/primary"] == lines[fitted.result.best_epoch or 0]["metrics"]["val/primary"]
    assert first.arguments["config"]["optimizer"]["lr"] == 6e-3
    assert first.arguments["tags"] == ["a", "b"]
    assert first.closed == [0]

    requirement = {"label": "accuracy", "verdict": "PASS", "estimate": 0.9, "low": 0.8, "high": 1.0, "n": 10}
    fitted.run.verdicts.mkdir()
    verdict = {
        "stage": "test",
        "verdict": "FAIL",
        "requirements": [requirement, {**requirement, "label": "b", "n": None}],
    }
    (fitted.run.verdicts / "test.json").write_text(json.dumps(verdict), encoding="utf-8")
    loggers.mirror_verdicts(fitted.config, fitted.run)
    again = opened[1]
    assert (
        again.arguments["id"]
        == first.arguments["id"]
        == json.loads((fitted.run.folder / "wandb.json").read_text())["id"]
    )
    assert again.summary["test/verdict"] == "FAIL"
    assert again.summary["test/accuracy/estimate"] == 0.9
    assert again.closed == [0]


def test_a_session_is_closed_when_training_fails(place: Workplace, opened: list[Service]) -> None:
    with pytest.raises(UserError, match=r"callbacks: .*val/none"):
        place.fit("logger=wandb", "callbacks=early_stopping", "callbacks.early_stopping.monitor=val/none")
    assert [service.closed for service in opened] == [[1]]


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_a_failing_service_is_one_warning(
    place: Workplace,
    opened: list[Service],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(*((wandb, "init") if broken == "init" else (Service, broken)), fail)
    with caplog.at_level(logging.WARNING):
        fitted = place.fit("logger=wandb", "reliance.cues=[]")
        loggers.mirror_verdicts(fitted.config, fitted.run)
    said = [record.message for record in caplog.records if "wandb" in record.message]
    assert len(said) == 1
    assert "no route to host" in said[0]
    assert "second line" not in said[0]
    assert len(read_lines(fitted.run.metrics_file)) == 2


def test_environment_fills_what_is_null(tmp_path: Path, opened: list[Service], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_PROJECT": "theirs", "WANDB_RUN_GROUP": "g", "WANDB_RUN_ID": "abc123"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    loggers.Mirror(WandbLogger(), Run(tmp_path), {})
    found = opened[0].arguments
    assert (found["project"], found["group"], found["id"], found["mode"]) == ("theirs", "g", "abc123", "disabled")
    loggers.Mirror(WandbLogger(project="ours", mode="offline"), Run(tmp_path), {})
    assert (opened[1].arguments["project"], opened[1].arguments["mode"]) == ("ours", "offline")


@pytest.mark.parametrize(("key", "mode"), [(None, "offline"), ("k" * 40, "online")])
def test_online_only_with_a_key(
    tmp_path: Path, opened: list[Service], monkeypatch: pytest.MonkeyPatch, key: str | None, mode: str
) -> None:
    monkeypatch.setattr(wandb, "api", types.SimpleNamespace(api_key=key))
    loggers.Mirror(WandbLogger(), Run(tmp_path), {})
    assert opened[0].arguments["mode"] == mode


def test_numbers_that_are_none_are_left_out(tmp_path: Path, opened: list[Service]) -> None:
    mirror = loggers.Mirror(WandbLogger(), Run(tmp_path), {})
    mirror.log(Record({"train/loss": float("nan"), "val/loss": 1.0}), 0, 4)
    assert opened[0].rows == [{"val/loss": 1.0, "epoch": 0, "step": 4}]


@pytest.mark.slow
def test_offline_with_the_real_service(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    fitted = place.fit("logger=wandb", "reliance.cues=[]")
    loggers.mirror_verdicts(fitted.config, fitted.run)
    name = json.loads((fitted.run.folder / "wandb.json").read_text(encoding="utf-8"))["id"]
    assert list(fitted.run.folder.glob(f"wandb/offline-run-*/run-{name}.wandb"))
