"""If these fail, ranks wait for the dead, or say the same thing twice, or nothing at all."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evensight.cli import main
from evensight.config import TrainerConfig
from evensight.errors import UserError
from evensight.ranks.devices import num_ranks, rank_arguments, shared
from evensight.ranks.world import World, world

SCRIPT = Path(__file__).parent / "rank_script.py"
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in VARIABLES or name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


def put(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


SRUN = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, World()),
        ({"RANK": "1", "WORLD_SIZE": "2"}, World(1, 1, 2, 2, "torchrun")),
        (
            {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"},
            World(5, 1, 8, 4, "torchrun"),
        ),
        (SRUN, World(5, 1, 8, 4, "srun")),
        ({**SRUN, "RANK": "0", "WORLD_SIZE": "1"}, World(0, 0, 1, 1, "torchrun")),
        # A shell within a job, and a batch script, are one process, whatever the job may start.
        ({**SRUN, "SLURM_JOB_NAME": "bash"}, World()),
        ({name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}, World()),
    ],
)
def test_world_is_what_started_the_process(
    variables: dict[str, str], expected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, variables)
    assert world() == expected
    assert world().num_nodes == expected.size // expected.local_size


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(1, 1), (3, 3), ("2", 2), ("auto", 1), (None, 1), (-1, 1), ("-1", 1), (0, 1), ([0, 1], 1)],
)
def test_processes_asked_for_on_a_cpu(devices: Any, expected: int) -> None:
    assert num_ranks(TrainerConfig(accelerator="cpu", devices=devices)) == expected


@pytest.mark.parametrize(
    ("devices", "expected"),
    [("auto", 4), (None, 4), (-1, 4), ([0, 2], 2), ("0,2", 2), ("2", 2), (3, 3)],
)
def test_processes_asked_for_on_gpus(devices: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert num_ranks(TrainerConfig(accelerator="gpu", devices=devices)) == expected


def test_lightning_is_told_what_torchrun_started() -> None:
    here = World(5, 1, 8, 4, "torchrun")
    expected = {"devices": 4, "num_nodes": 2, "strategy": "ddp"}
    for trainer in (TrainerConfig(devices=1), TrainerConfig(devices=4, num_nodes=2, strategy="auto")):
        trainer.accelerator = "cpu"
        assert rank_arguments(trainer, here) == expected
    assert rank_arguments(TrainerConfig(accelerator="cpu", strategy="fsdp"), here)["strategy"] == "fsdp"
    assert rank_arguments(TrainerConfig(devices=3), World()) == {}


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("devices", 3, "trainer.devices=4"), ("num_nodes", 3, "trainer.num_nodes=2"), ("strategy", "ddp_spawn", "ddp")],
)
def test_a_trainer_that_contradicts_torchrun_is_refused(key: str, value: Any, named: str) -> None:
    trainer = TrainerConfig(accelerator="cpu", **{key: value})
    with pytest.raises(UserError, match=rf"trainer\.{key}") as told:
        rank_arguments(trainer, World(5, 1, 8, 4, "torchrun"))
    assert named in str(told.value)


def test_the_images_of_a_step_are_shared_alike() -> None:
    assert shared(96, 3) == 32
    with pytest.raises(UserError, match=r"data\.batch_size: 128 cannot be shared by 3 devices; use a multiple\."):
        shared(128, 3)


def test_a_batch_that_ranks_cannot_share_is_told_before_any_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["experiment=shapes", "trainer=ddp_cpu", "trainer.devices=3", f"runs_dir={tmp_path / 'runs'}"]
    assert main(["train", *arguments]) == 2
    assert capsys.readouterr().err.count("data.batch_size: 128 cannot be shared by 3 devices") == 1
    assert not (tmp_path / "runs").exists()


def test_machines_are_not_ours_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=shapes", "trainer=cpu", "trainer.num_nodes=2"]) == 2
    assert "torchrun or srun" in capsys.readouterr().err


def started(scenario: str, size: int, slurm: bool = False) -> list[tuple[int, str]]:
    """Returns status and what was said of each rank of a scenario."""
    import torch.distributed

    store: Any = None
    port = 0
    if not slurm:
        store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        port = store.port
    processes = []
    for rank in range(size):
        here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        agent = {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_RUN_ID": "test"}
        values: dict[str, object] = {**here, **agent, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        if slurm:  # what srun sets; host and port follow from the job
            job = {"SLURM_JOB_ID": str(10_000 + os.getpid() % 9000), "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": 0}
            task = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NTASKS": size, "SLURM_NTASKS_PER_NODE": size}
            values = {**job, **task, "SLURM_NNODES": 1, "SLURM_STEP_ID": 0, "SLURM_JOB_NAME": "test"}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in values.items()}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", str(SCRIPT), scenario],
                env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=100)[0] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize(("size", "slurm"), [(3, False), (2, True)])
def test_ranks_agree_and_one_goes_on(size: int, slurm: bool) -> None:
    found = started("words", size, slurm)
    assert [status for status, _ in found] == [0] * size
    assert [said for _, said in found[1:]] == [""] * (size - 1)
    first, last = found[0][1].splitlines()
    total = [size * 2**60 + sum(range(size)), size]
    expected = [
        {"rank": rank, "agreed": "of 0", "any": True, "total": total, "share": rank * size / sum(range(size))}
        for rank in range(size)
    ]
    assert ast.literal_eval(first) == expected
    assert last == "rank 0 goes on"


@pytest.mark.parametrize(
    ("scenario", "statuses", "said"),
    [
        ("all ranks are wrong", [2, 2], ["the same mistake.", ""]),
        ("one rank is wrong", [4, 2], ["", "rank 1: a mistake of one."]),
        ("a bug on one rank", [4, 4], ["", "rank 1: evensight failed"]),
        ("killed", [4, -signal.SIGKILL, 4], ["rank 1 was lost", "", ""]),
        ("the leader is killed", [-signal.SIGKILL, 4, 4], ["", "rank 0 was lost", ""]),
        ("killed while the others hang", [4, -signal.SIGKILL], ["rank 1 was lost", ""]),
        ("signal to one, asked", [143, 143], ["interrupted (SIGTERM)", ""]),
        ("signal to one, broken into", [143, 143], ["interrupted (SIGTERM); the hint", ""]),
    ],
)
def test_how_ranks_end_together(scenario: str, statuses: list[int], said: list[str]) -> None:
    found = started(scenario, len(statuses))
    assert [status for status, _ in found] == statuses, found
    for (_, text), expected in zip(found, said, strict=True):
        lines = [line for line in text.splitlines() if line.startswith("evensight: ") and "finishing" not in line]
        assert len(lines) == bool(expected), text
        assert expected in "".join(lines)
        assert "lost" not in text or "the hint" in text
