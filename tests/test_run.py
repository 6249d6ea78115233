"""The run folder: who works in it, what resuming may change, what a mistake leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evensight import run as run_module
from evensight.compose import compose, group_option
from evensight.config import Config, CsvLogger
from evensight.environment import PACKAGES, environment, git_state
from evensight.errors import UserError
from evensight.identity import differences, identity
from evensight.interruption import Interrupted
from evensight.locking import BusyError, locked
from evensight.resuming import configuration, entered, unfinished
from evensight.run import Run

REPOSITORY = Path(__file__).parent.parent


def composed(tmp_path: Path, *overrides: str) -> Config:
    return compose(["experiment=shapes", f"runs_dir={tmp_path}", *overrides])


def created(tmp_path: Path, *overrides: str) -> Run:
    return Run.create(composed(tmp_path, *overrides))


def resumed(run: Run, *arguments: str) -> Config:
    return configuration([f"run={run.folder}", "resume=true", *arguments])


# What resuming may change


def test_a_group_option_stands_when_resuming(tmp_path: Path) -> None:
    """As a bare word it would be read as the whole section, and be ignored."""
    run = created(tmp_path)
    config = configuration([f"run={run.folder}", "resume=yes", "logger=csv", "callbacks=early_stopping"])
    assert config.logger == CsvLogger()
    assert config.callbacks["early_stopping"]["monitor"] == "val/primary"
    assert config.resume is True
    with pytest.raises(UserError, match=r"logger.*'csw'.*Did you mean 'csv'"):
        resumed(run, "logger=csw")


def test_an_empty_option_is_an_empty_section() -> None:
    assert group_option("callbacks", "none") == {}


@pytest.mark.parametrize(
    ("arguments", "named", "more"),
    [
        (["optimizer.lr=1"], ["optimizer.lr (the run has 0.006, now 1.0)"], None),
        (
            ["seed=2", "trainer.max_epochs=13"],
            ["seed (the run has 1, now 2)", "trainer.max_epochs (the run has 12"],
            None,
        ),
        (["optimizer=sgd"], ['optimizer.name (the run has "adamw", now "sgd")', "(the run has nothing"], 1),
        (["experiment=shapes", "debug=fast"], ["data.limit (the run has null, now 512)"], None),
        (["experiment=coloured_mnist"], ['experiment_name (the run has "shapes"'], True),
    ],
)
def test_a_difference_is_named(arguments: list[str], named: list[str], more: object, tmp_path: Path) -> None:
    run = created(tmp_path)
    with pytest.raises(UserError) as caught:
        resumed(run, *arguments)
    for phrase in named:
        assert phrase in str(caught.value)
    assert str(caught.value).count("(the run has") <= 5
    found = re.search(r"and (\d+) more;", str(caught.value))
    assert (found is not None) == bool(more)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["experiment=shapes"],
        ["experiment=shapes", "optimizer.lr=6e-3"],
        ["optimizer.lr=0.006", "optimizer=adamw", "optimizer.lr=0.006"],
        ["data.num_workers=0", "test=false", "gate=strict", "trainer.num_threads=1", "datasets_dir=elsewhere"],
        ["callbacks.mine={_target_: lightning.pytorch.callbacks.Timer}", "trainer.checkpoint_every.steps=3"],
    ],
)
def test_what_leads_to_the_same_figures_may_be_said(arguments: list[str], tmp_path: Path) -> None:
    run = created(tmp_path)
    config = resumed(run, *arguments)
    assert config.run == str(run.folder)
    assert config.resume is True
    assert identity(config) == identity(run.config())
    for argument in arguments:
        if argument.startswith("data.num_workers"):
            assert config.data.num_workers == 0
            assert config.trainer.num_threads == 1


def test_a_recorded_configuration_has_the_identity_of_the_composed_one(tmp_path: Path) -> None:
    for experiment in ("shapes", "coloured_mnist", "bar"):
        for more in ([], ["augment=strong"] if "strong" in group_names("augment") else [], ["debug=fast"]):
            config = compose([f"experiment={experiment}", f"runs_dir={tmp_path}", *more])
            assert identity(Run.create(config).config()) == identity(config)


def group_names(group: str) -> list[str]:
    return [path.stem for path in (REPOSITORY / "configs" / group).glob("*.yaml")]


def test_what_a_folder_lets_in_is_not_taken_from_it(tmp_path: Path) -> None:
    """`allow_targets` says which code may run: the user's to say, each time."""
    run = created(tmp_path, "allow_targets=[mine]")
    assert resumed(run).allow_targets == []
    assert resumed(run, "allow_targets=[mine]").allow_targets == ["mine"]


@pytest.mark.parametrize("argument", ["~augment.transforms", "debug=fast", "seed=1,2", "nonsense=1", "data.nonsense=1"])
def test_what_cannot_be_put_into_a_recorded_configuration_is_named(argument: str, tmp_path: Path) -> None:
    run = created(tmp_path)
    with pytest.raises(UserError, match=re.escape(argument.split("=")[0])):
        resumed(run, argument)


@pytest.mark.parametrize("value", ["ture", "2", "maybe"])
def test_a_value_of_resume_that_is_none_of_three_words(value: str) -> None:
    with pytest.raises(UserError, match=r"resume.*allowed: auto, false, true"):
        configuration(["experiment=shapes", f"resume={value}"])


def test_auto_finds_the_run_by_itself() -> None:
    with pytest.raises(UserError, match="leave run out"):
        configuration(["experiment=shapes", "resume=auto", "run=somewhere"])


def test_differences_of_equal_configurations_are_none(tmp_path: Path) -> None:
    config = composed(tmp_path)
    assert differences(config, dataclasses.replace(config, runs_dir="elsewhere", test=False)) == []


# Which run is continued


def test_auto_takes_the_newest_that_is_unfinished_and_free(tmp_path: Path) -> None:
    first, second, third, other = (created(tmp_path, f"seed={seed}") for seed in (1, 1, 1, 2))
    for age, run in enumerate((other, third, second, first)):
        path = run.folder / "config.yaml"
        os.utime(path, (path.stat().st_mtime - age, path.stat().st_mtime - age))
    config = composed(tmp_path, "resume=auto")
    assert [run.folder for run in unfinished(config)] == [third.folder, second.folder, first.folder]
    third.finish("PASS", 0)
    with locked(second.folder), entered(config) as run:
        assert run.folder == first.folder
    with entered(config) as run:
        assert run.folder == second.folder
    for run in (first, second):
        run.finish("PASS", 0)
    with entered(config) as run:
        assert run.folder not in (first.folder, second.folder, third.folder, other.folder)
        assert run.config().resume is False


def test_auto_passes_over_a_run_that_cannot_be_read(tmp_path: Path) -> None:
    good, broken = created(tmp_path), created(tmp_path)
    (broken.folder / "config.yaml").write_text("foo: [", encoding="utf-8")
    assert [run.folder for run in unfinished(composed(tmp_path))] == [good.folder]


# Who works in a folder


def test_a_second_process_is_told_who_has_the_folder(tmp_path: Path) -> None:
    """Another process, because that is who the lock is for."""
    run = created(tmp_path)
    command = [sys.executable, "-m", "evensight", "train", f"run={run.folder}", "resume=true"]
    with locked(run.folder):
        found = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert f"process {os.getpid()} on {os.uname().nodename}" in found.stderr
    with locked(run.folder):  # and then it is free
        pass


def test_a_folder_that_was_removed_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "gone"):
        pass


def test_a_busy_run_is_not_resumed(tmp_path: Path) -> None:
    run = created(tmp_path)
    with locked(run.folder), pytest.raises(BusyError), entered(resumed(run)):
        pass


def test_runs_of_the_same_second_have_their_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one letter to draw, sixteen runs at once collide for certain."""
    draw = run_module.secrets.token_hex
    monkeypatch.setattr(run_module.secrets, "token_hex", lambda count: draw(1)[:1] if count == 2 else draw(count))
    config = composed(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = [future.result().folder for future in [pool.submit(Run.make, config) for _ in range(12)]]
    assert len(set(folders)) == 12
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_is_a_run_takes_no_second_one(tmp_path: Path) -> None:
    config = composed(tmp_path)
    Run.create(config, tmp_path / "sweep" / "0")
    with pytest.raises(UserError, match="is a run already"):
        Run.create(config, tmp_path / "sweep" / "0")


# What a mistake, a signal and a kill leave


def test_the_run_that_was_meant_is_named(tmp_path: Path) -> None:
    run = created(tmp_path)
    with pytest.raises(UserError, match=r"Did you mean .*shapes/latest\?"):
        Run.open(run.folder.parent)
    mistyped = run.folder.with_name(run.folder.name[:-1])
    with pytest.raises(UserError, match=f"Did you mean {run.folder}"):
        Run.open(mistyped)


def test_a_discarded_run_leaves_the_one_before_as_the_latest(tmp_path: Path) -> None:
    config = composed(tmp_path, f"runs_dir={tmp_path / 'new' / 'runs'}")
    first, second = Run.create(config), Run.create(config)
    latest = tmp_path / "new" / "runs" / "shapes" / "latest"
    assert latest.resolve() == second.folder.resolve()
    second.discard(config)
    assert not second.folder.exists()
    assert latest.resolve() == first.folder.resolve()
    first.discard(config)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_leaves_no_run_and_a_signal_leaves_one_with_a_hint(tmp_path: Path) -> None:
    config = composed(tmp_path)
    with pytest.raises(UserError), entered(config):
        raise UserError("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Interrupted) as caught, entered(config) as run:
        raise Interrupted(15)
    assert run.folder.is_dir()
    assert str(caught.value).endswith(f"go on with: evensight train run={run.folder} resume=true")
    with pytest.raises(Interrupted, match="mine"), entered(resumed(run)):
        raise Interrupted(15, "mine")
    with pytest.raises(UserError), entered(resumed(run)):
        raise UserError("x")
    assert run.folder.is_dir()
    run.checkpoints.mkdir()
    with pytest.raises(UserError), entered(resumed(run)):
        raise UserError("x")
    assert run.folder.is_dir()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    run = created(tmp_path)
    (run.folder / ".artifact.abcdefgh.tmp").mkdir()
    (run.folder / ".last.ckpt.abcdefgh.tmp").write_bytes(b"half")
    with entered(resumed(run)):
        assert not list(run.folder.glob(".*"))


def test_a_broken_configuration_is_a_mistake_not_a_fault(tmp_path: Path) -> None:
    run = created(tmp_path)
    path = run.folder / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "foo: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        run.config()


# What a run ran on


def test_every_direct_dependency_is_recorded() -> None:
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    stated = {re.split(r"[<>=!~\[; ]", line)[0] for line in table["project"]["dependencies"]}
    assert set(PACKAGES) == stated


def test_the_environment_of_every_process_is_kept(tmp_path: Path) -> None:
    run = created(tmp_path, "seed=7", "data.seed=8")
    for number in (1, 2):
        with entered(resumed(run)):
            pass
        found = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
        assert len(found["sessions"]) == number
    assert found["seeds"] == {"seed": 7, "data.seed": 8, "data.split_seed": 0, "reliance.seed": 0}
    assert found["packages"]["torch"] == found["sessions"][1]["packages"]["torch"]
    assert found["memory_bytes"] > 2**20
    assert found["cores"] >= 1


def test_git_state_is_that_of_the_folder(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"commit": None, "branch": None, "dirty": None}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one", encoding="utf-8")
    for arguments in (["init", "-q", "-b", "trunk"], ["add", "file"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert git_state(tmp_path) == {"commit": head.stdout.strip(), "branch": "trunk", "dirty": False}
    (tmp_path / "file").write_text("two", encoding="utf-8")
    assert git_state(tmp_path)["dirty"] is True


def test_the_environment_needs_no_configuration() -> None:
    assert environment()["seeds"] == {}
