"""Several processes train one run: the images, figures and weights of one process, and what a death leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from evensight.cli import main
from evensight.run import Run

REPOSITORY = Path(__file__).parent.parent.parent
NUM_VALIDATION = 251  # a prime: no number of ranks shares it
SMALL = (
    *("experiment=shapes", "data.num_train=320", f"data.num_validation={NUM_VALIDATION}", "data.num_test=64"),
    *("model.size=24", "model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "model.kwargs.norm=group"),
    *("data.batch_size=48", "data.eval_batch_size=64", "data.num_workers=0", "reliance.max_images=33"),
    *("reliance.donors_per_class=4", "reliance.every_n_epochs=1", "trainer=ddp_cpu", "trainer.max_epochs=2"),
    *("trainer.num_threads=1", "ema.enabled=true", "ema.decay=0.5", "allow_targets=[rank_recorder]", "test=false"),
)
RECORDER = "callbacks.recorder={_target_: rank_recorder.Recorder, folder: %s, kill: %s}"


@dataclass(frozen=True)
class Place:
    """Where runs are made, which share one data set."""

    folder: Path

    def arguments(self, name: str, *more: str, kill: list[int] | None = None) -> list[str]:
        recorder = RECORDER % (self.folder / name / "recorded", "null" if kill is None else kill)
        folders = [f"runs_dir={self.folder / name}", f"datasets_dir={self.folder / 'datasets'}"]
        return ["train", *SMALL, *folders, recorder, *more]

    def run(self, name: str) -> Run:
        (folder,) = (path.parent for path in (self.folder / name / "shapes").glob("2*/config.yaml"))
        return Run.open(folder)

    def recorded(self, name: str) -> list[list[dict[str, Any]]]:
        """Returns the lines of each rank."""
        files = sorted((self.folder / name / "recorded").glob("*.jsonl"))
        return [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]

    def pids(self, name: str) -> list[int]:
        return [int(file.read_text(encoding="utf-8")) for file in (self.folder / name / "recorded").glob("*.pid")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def one(place: Place) -> Run:
    assert main(place.arguments("one", "export=false")) == 0
    return place.run("one")


@pytest.fixture(scope="module")
def two(place: Place, one: Run) -> Run:
    """After `one`, which has drawn the data."""
    assert main(place.arguments("two", "trainer.devices=2", "export=false")) == 0
    return place.run("two")


def steps(lines: list[list[dict[str, Any]]]) -> dict[tuple[int, int], tuple[list[Any], float]]:
    """Returns what all ranks together were shown in each step, and their mean loss."""
    shown: dict[tuple[int, int], list[Any]] = defaultdict(list)
    total: dict[tuple[int, int], float] = defaultdict(float)
    for rank in lines:
        for line in rank:
            if line["kind"] == "train":
                key = line["epoch"], line["batch"]
                shown[key] += line["shown"]
                total[key] += line["loss"] * len(line["shown"])
    return {key: (sorted(images), total[key] / len(images)) for key, images in shown.items()}


def figures(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"], line["metrics"]["train/images_per_second"]
    return lines


def weights(run: Run, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run.checkpoints / name, weights_only=True)["state_dict"]
    return found


def assert_one_run(place: Place, name: str, num_ranks: int, one: Run) -> None:
    """The run of several ranks is one run, equal to that of one rank: exactly in counts, to rounding in losses."""
    run = place.run(name)
    logs = {"run.log", *(f"run.rank{rank}.log" for rank in range(1, num_ranks))}
    assert {path.name for path in run.folder.glob("run*.log")} == logs
    ranks = place.recorded(name)
    assert len(ranks) == num_ranks
    expected, found = steps(place.recorded("one")), steps(ranks)
    assert expected.keys() == found.keys() and len(found) == 12
    for key, (images, loss) in expected.items():
        assert found[key][0] == images, f"step {key} has other images, or other augmentation"
        assert abs(found[key][1] - loss) < 1e-5, key
    validated = [index for rank in ranks for line in rank if line["kind"] == "validation" for index in line["shown"]]
    assert sorted(validated) == sorted(index for index in set(validated) for _ in range(2))
    assert len(validated) == 2 * NUM_VALIDATION
    for line, other in zip(figures(one), figures(run), strict=True):
        losses = ("train/loss", "val/loss")
        exact = [{name: value for name, value in one["metrics"].items() if name not in losses} for one in (line, other)]
        assert exact[0] == exact[1]
        assert line["intervals"] == other["intervals"] and line["floors"] == other["floors"]
        for name in losses:
            assert abs(line["metrics"][name] - other["metrics"][name]) < 1e-5
    left, right = weights(one), weights(run)
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-3, atol=1e-5)


def test_two_ranks_are_one_run(place: Place, one: Run, two: Run) -> None:
    assert_one_run(place, "two", 2, one)
    assert all(not Path(f"/proc/{pid}").exists() for pid in place.pids("two"))


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others_and_the_run_goes_on(
    place: Place, two: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    """To the bit with as many ranks, to rounding with one."""
    arguments = place.arguments(
        "killed", "trainer.devices=2", "export=false", "trainer.checkpoint_every.steps=2", kill=[1, 1, 3]
    )
    assert main(arguments) == 4
    text = capfd.readouterr().err
    said = [line for line in text.splitlines() if line.startswith("evensight: ")]
    assert len(said) == 1, text
    run = place.run("killed")
    assert "rank 1 was lost" in said[0] and f"evensight train run={run.folder} resume=true" in said[0]
    assert all(not Path(f"/proc/{pid}").exists() for pid in place.pids("killed"))

    alone = place.folder / "alone"
    shutil.copytree(run.folder, alone)
    again = ["resume=true", "callbacks.recorder=null"]
    assert main(["train", f"run={run.folder}", *again]) == 0  # two devices, as the run recorded
    assert figures(run) == figures(two)
    for name in ("last.ckpt", "best.ckpt"):
        expected, found = weights(two, name), weights(run, name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert main(["train", f"run={alone}", *again, "trainer.devices=1"]) == 0
    for name, value in weights(two).items():
        torch.testing.assert_close(value, weights(Run(alone))[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_signal_to_the_launcher_reaches_every_rank_once(place: Place, one: Run) -> None:
    arguments = place.arguments(
        "stopped", "trainer.devices=2", "trainer.max_epochs=1000", "reliance.every_n_epochs=1000"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "evensight", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read().splitlines()
        assert process.wait(100) == 143, said
    said = [line for line in said if line.startswith("evensight: ")]
    assert len(said) == 2 and "finishing the step" in said[0] and "resume=true" in said[1], said
    assert len(place.pids("stopped")) == 2
    assert all(not Path(f"/proc/{pid}").exists() for pid in place.pids("stopped"))
    assert (place.run("stopped").checkpoints / "last.ckpt").is_file()


@pytest.mark.slow
def test_torchrun_with_three_ranks_exports_and_judges_once(place: Place, one: Run) -> None:
    arguments = place.arguments("three")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3", str(REPOSITORY / "train.py")]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    found = subprocess.run(
        [*command, *arguments[1:]],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert_one_run(place, "three", 3, one)
    run = place.run("three")
    assert found.stderr.count("epoch 2/2") == 1
    assert found.stdout.count(str(run.report)) == 1
    assert (run.artifact / "model.ts").is_file() and (run.verdicts / "validation.json").is_file()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two CUDA devices")
def test_two_gpus_are_one_run_and_a_death_ends_it(
    place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gpus = ["trainer=gpu", "trainer.precision=32-true", "trainer.max_epochs=2", "trainer.devices=2", "export=false"]
    gpus += ["callbacks.recorder=null"]
    assert main([*place.arguments("gpus"), *gpus]) == 0
    assert len(figures(place.run("gpus"))) == 2
    gpus[-1] = RECORDER % (tmp_path, [1, 1, 3])
    assert main([*place.arguments("gpu_killed"), *gpus]) == 4
    assert capfd.readouterr().err.count("rank 1 was lost") == 1
