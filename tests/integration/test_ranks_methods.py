"""Methods with a state of their own on two ranks that are killed: if this fails, a resumed run is another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evensight.cli import main
from evensight.run import Run
from evensight.training.checkpoint import read_checkpoint

# 320 images of two ranks' batches of 32: five steps an epoch.
SMALL = (
    *("experiment=shapes", "data.num_train=320", "data.num_validation=67", "data.num_test=64", "model.size=24"),
    *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "model.kwargs.norm=group", "data.batch_size=32"),
    *("data.eval_batch_size=64", "data.num_workers=0", "reliance.cues=[border]", "reliance.max_images=16"),
    *("reliance.donors_per_class=2", "reliance.every_n_epochs=9", "trainer=ddp_cpu", "trainer.devices=2"),
    *("trainer.num_threads=1", "trainer.max_epochs=3", "trainer.progress=false", "export=false"),
    *("trainer.checkpoint_every.steps=2", "allow_targets=[rank_recorder]"),
)
# Beside words of the command, the state that only this method has.
METHODS = {"group_dro": ((), "method.log_q"), "jtt": (("method.identify_epochs=1",), "method.errors")}
# (rank, epoch, batch) a step after a checkpoint was written: jtt notes errors in the first epoch and draws them later.
KILLS = ([1, 0, 3], [0, 1, 3])
# A minute in all: each method and each moment once. The other two are in `.ci/nightly`.
CASES = [
    *(("jtt", KILLS[0]), ("group_dro", KILLS[1])),
    *(pytest.param(*case, marks=pytest.mark.nightly) for case in (("jtt", KILLS[1]), ("group_dro", KILLS[0]))),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks_methods")


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Run]:
    """A method, and its run that nothing ended."""
    status, run = started(folder, request.param, None)
    assert status == 0
    return request.param, run


def started(folder: Path, method: str, kill: list[int] | None) -> tuple[int, Run]:
    """Trains by a method on two ranks, one of which may kill itself; returns the status and the run."""
    place = folder / f"{method}-{'whole' if kill is None else '-'.join(map(str, kill))}"
    words = [f"method={method}", *METHODS[method][0], f"runs_dir={place}", f"datasets_dir={folder / 'datasets'}"]
    killed = "null" if kill is None else kill
    recorder = f"callbacks.recorder={{_target_: rank_recorder.Recorder, folder: {place / 'recorded'}, kill: {killed}}}"
    status = main(["train", *SMALL, *words, recorder])
    (found,) = (path.parent for path in place.glob("shapes/2*/config.yaml"))
    return status, Run.open(found)


def state(run: Run) -> dict[str, Any]:
    return read_checkpoint(run.checkpoints / "last.ckpt")


def figures(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"], line["metrics"]["train/images_per_second"]
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(("whole", "kill"), CASES, indirect=["whole"])
def test_two_ranks_killed_between_steps_go_on_to_the_bit(
    whole: tuple[str, Run], kill: list[int], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    method, uninterrupted = whole
    status, run = started(folder, method, kill)
    assert status == 4
    assert f"rank {kill[0]} was lost" in capfd.readouterr().err
    ended = state(run)["position"]
    assert ended["epochs"] == kill[1]
    assert ended["batches"] == 2
    assert main(["train", f"run={run.folder}", "resume=true", "callbacks.recorder=null"]) == 0
    expected, found = state(uninterrupted), state(run)
    assert METHODS[method][1] in expected["state_dict"]
    assert expected["state_dict"].keys() == found["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, found["state_dict"][name]), name
    assert torch.equal(expected["phase"]["sample_weights"], found["phase"]["sample_weights"])
    assert figures(run) == figures(uninterrupted)
    best = [read_checkpoint(one.checkpoints / "best.ckpt")["state_dict"] for one in (uninterrupted, run)]
    assert all(torch.equal(value, best[1][name]) for name, value in best[0].items())
