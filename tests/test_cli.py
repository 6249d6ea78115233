"""Commands: exit statuses, help, and that a mistake leaves nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evensight import pipeline
from evensight.cli import COMMANDS, main
from evensight.config import Config
from evensight.errors import RunError, UserError
from evensight.interruption import Interrupted
from evensight.statuses import guarded

REPOSITORY = Path(__file__).parent.parent


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert command in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["tran"], ["tran", "train"]),
        (["train"], ["experiment", "none given", "shapes"]),
        (["train", "experiment=shapez"], ["experiment", "shapez", "shapes"]),
        (["train", "--multrun"], ["--multrun", "--multirun"]),
        (["test", "run=nowhere"], ["run", "nowhere"]),
        (["test"], ["run"]),
        (["test", "rum=x"], ["rum", "run"]),
        (["predict", "artifact=x"], ["data"]),
        (["predict", "artifact=nowhere", "data=nowhere", "out=x.xls"], ["out", ".csv"]),
        (["train", "resume=true"], ["resume", "run="]),
        (["train", "experiment=shapes", "resume=true", "run=x", "--multirun"], ["resume=true", "--multirun"]),
        (["train", "experiment=shapes", "experiment_name=${nothing}", "--multirun"], ["--multirun", "nothing"]),
        (["train", "experiment=shapes", "resume=yes"], ["resume", "run="]),
        (["train", "experiment=shapes", "run=somewhere"], ["run", "somewhere", "resume=true"]),
        (["train", "experiment=shapes", "reliance.cues=[color]"], ["reliance.cues", "color", "Did you mean 'colour'"]),
        (["train", "experiment=shapes", "model.backbone=smal_cnn"], ["model.backbone", "Did you mean 'small_cnn'"]),
        (["predict", "artifact=x", "data=y", "out=nowhere/x.csv"], ["out", "nowhere/x.csv", "does not exist"]),
        (["train", "experiment=shapes", "data.sealed=true"], ["test", "sealed"]),
    ],
)
def test_mistake_is_a_sentence_and_status_2(
    argv: list[str],
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "Traceback" not in text
    for part in parts:
        assert part in text
    assert list(tmp_path.iterdir()) == []


def raising(error: BaseException) -> int:
    raise error


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("error", "status", "parts"),
    [
        (UserError("seed: x."), 2, ["seed: x."]),
        (RunError("x."), 4, ["x."]),
        (RuntimeError("x"), 4, ["a fault of ours", "RuntimeError: x"]),
        (KeyboardInterrupt(), 130, ["interrupted."]),
        (Interrupted(signal.SIGINT), 130, ["interrupted (SIGINT)."]),
        (Interrupted(signal.SIGTERM, "go on with: x"), 143, ["interrupted (SIGTERM); go on with: x."]),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b.json"), 4, ["b.json in /a could not be written"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b.json"), 4, ["disk quota exceeded", "the old file stands"]),
        (OSError(errno.EFBIG, "File too large"), 4, ["a file could not be written: file too large"]),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 2, ["/a/b: cannot be read or written"]),
        (MemoryError(), 4, ["not enough memory", "data.batch_size"]),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate"), 4, ["CUDA out of memory", "data.batch_size"]),
        (RuntimeError("[enforce fail at x] DefaultCPUAllocator: can't allocate"), 4, ["not enough memory"]),
    ],
)
def test_what_is_raised_becomes_a_sentence_and_a_status(
    error: BaseException, status: int, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: raising(error)) == status
    said = capsys.readouterr().err
    for part in parts:
        assert part in said
    assert ("Traceback" in said) == ("a fault of ours" in said)
    assert said.splitlines()[-1].startswith("evensight: ")


def test_torchs_own_error_of_memory_is_known() -> None:
    """By its name alone, so that no command imports torch for it."""
    assert torch.OutOfMemoryError.__name__ == OutOfMemoryError.__name__


def sweep(*arguments: str) -> list[str]:
    return ["train", "experiment=shapes", *arguments, "--multirun"]


def test_a_sweep_stops_at_an_interrupted_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def job(config: Config, folder: Path) -> int:
        seeds.append(config.seed)
        if config.seed == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1

    monkeypatch.setattr(pipeline, "main_job", job)
    assert main(sweep("seed=1,2,3", f"runs_dir={tmp_path}")) == 143
    assert seeds == [1, 2]


@pytest.mark.parametrize("devices", ["2", "[0,1]", "'0,1'"])
def test_a_sweep_on_several_devices_is_refused_with_the_fix(
    devices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rank would read the command again and sweep by itself."""
    monkeypatch.setattr(pipeline, "main_job", lambda config, folder: raising(AssertionError("begun")))
    assert main(sweep("seed=1,2", f"trainer.devices={devices}", f"runs_dir={tmp_path}")) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in ("trainer.devices", "--multirun", "trainer.devices=1", "for seed in"):
        assert part in said


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_sweep_under_torchrun_is_refused_by_all_ranks_and_said_by_one(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", "2"), ("LOCAL_RANK", rank)):
        monkeypatch.setenv(name, value)
    assert main(sweep("seed=1,2")) == 2
    assert ("2 ranks" in capsys.readouterr().err) == (rank == "0")


def test_cfg_job_prints_the_whole_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=shapes", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "correlation: 0.95" in shown
    assert "gradient_clip_val: null" in shown


def test_save_keeps_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evensight.compose import compose

    monkeypatch.chdir(tmp_path)
    assert main(["train", "experiment=shapes", "optimizer=sgd", "optimizer.lr=0.25", "--save=mine"]) == 0
    config = compose(["experiment=mine"])
    assert (config.experiment_name, config.optimizer.name, config.optimizer.lr) == ("mine", "sgd", 0.25)
    assert main(["train", "experiment=shapes", "--save=mine"]) == 2


@pytest.mark.parametrize("argument", ["debug=fast", "~augment.transforms"])
def test_save_refuses_what_an_experiment_cannot_hold(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "experiment=shapes", argument, "--save=mine"]) == 2
    assert argument in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert main(["train", "experiment=shapes", f"datasets_dir={tmp_path / 'file'}"]) == 2
    assert "datasets_dir" in capsys.readouterr().err


def test_train_py_is_the_same_command() -> None:
    found = subprocess.run(
        [sys.executable, "train.py", "experiment=shapez"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "Did you mean 'shapes'" in found.stderr


def test_a_name_is_answered_before_torch_is_imported() -> None:
    code = (
        "import sys; from evensight.cli import main; "
        "assert main(['train', 'experiment=shapes', 'reliance.cues=[color]']) == 2; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_a_failure_before_a_run_names_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        raise RuntimeError("x")

    assert guarded(broken) == 4
    assert capsys.readouterr().err.splitlines()[-1].endswith("RuntimeError: x")
