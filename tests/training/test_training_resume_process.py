"""Real processes get real signals within an epoch: status, last line, checkpoint, and the same weights in the end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from interruptions import assert_same, found_by, lines_without_times

from evensight.run import Run

pytestmark = pytest.mark.slow  # a process imports torch and Lightning: 4 to 10 s each

REPOSITORY = Path(__file__).parent.parent.parent
# Sixteen batches an epoch, two a step; no checkpoint within it but what a signal asks for.
ARGUMENTS = (
    *(
        "experiment=shapes",
        "debug=fast",
        "trainer=cpu",
        "trainer.num_threads=1",
        "data.batch_size=32",
        "data.limit=512",
    ),
    *("data.num_workers=2", "model.size=24", "model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2"),
    *("model.drop_rate=0.2", "ema.enabled=true", "trainer.accumulate_grad_batches=2", "export=false"),
)


@dataclass(frozen=True)
class Place:
    """Where runs are made, and the data that they share."""

    folder: Path
    datasets: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        path = [str(REPOSITORY / "src"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-m", "evensight", "train", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"},
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start(*ARGUMENTS, f"runs_dir={self.folder}", f"datasets_dir={self.datasets}", *arguments)

    @property
    def run(self) -> Run:
        (found,) = self.folder.glob("shapes/2*")
        return Run(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that nobody ended."""
    folder = tmp_path_factory.mktemp("whole")
    place = Place(folder / "runs", folder / "datasets")
    process = place.begin()
    _, said = process.communicate()
    assert process.returncode == 0, said
    return place


@pytest.fixture
def place(tmp_path: Path, whole: Place) -> Place:
    return Place(tmp_path / "runs", whole.datasets)


class Held:
    """A run that is held after a batch, in the middle of an optimizer step."""

    def __init__(self, place: Place, pipe: Path) -> None:
        os.mkfifo(pipe)
        target = f"{{_target_: holding.Hold, pipe: {pipe}, epoch: 1, batch: 4}}"
        self.process = place.begin("allow_targets=[holding]", f"+callbacks.hold={target}")
        self.descriptor = self._reached(pipe)

    def _reached(self, pipe: Path) -> int:
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads it yet
                    raise
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.01)

    def let_go(self) -> None:
        os.close(self.descriptor)

    def read_until(self, text: str) -> str:
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if text in line:
                return said
        raise AssertionError(f"{text!r} was not said: {said}")


@pytest.fixture
def held(place: Place, tmp_path: Path) -> Iterator[Held]:
    found = Held(place, tmp_path / "pipe")
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.process.communicate()
    assert found.process.stderr is not None
    found.process.stderr.close()


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_after_its_step_and_it_goes_on_to_the_bit(
    signum: signal.Signals, status: int, held: Held, place: Place, whole: Place
) -> None:
    held.process.send_signal(signum)
    held.read_until("finishing the step")
    held.let_go()
    _, said = held.process.communicate()
    assert held.process.returncode == status
    command = f"evensight train run={place.run.folder} resume=true"
    assert said.splitlines()[-1] == f"evensight: interrupted ({signum.name}); go on with: {command}."
    assert "Traceback" not in said
    # The fifth batch was the first of a step, which the sixth completes.
    assert found_by(place.run) == {"epochs": 1, "batches": 6, "validation": False}
    assert not (place.run.folder / "finished.json").exists()
    assert not list(place.run.folder.rglob(".*.tmp"))

    again = place.start(*command.split()[2:], "callbacks=none", "data.num_workers=0")
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert_same(whole.run, place.run)
    assert len(lines_without_times(place.run)) == 2


def test_twice_ends_at_once(held: Held, place: Place) -> None:
    """While the step is still held: nothing is written, and what was there stands."""
    before = (place.run.checkpoints / "last.ckpt").read_bytes()
    held.process.send_signal(signal.SIGTERM)
    held.read_until("once more ends at once")
    held.process.send_signal(signal.SIGTERM)
    held.process.communicate()
    assert held.process.returncode == -signal.SIGTERM
    held.let_go()
    assert (place.run.checkpoints / "last.ckpt").read_bytes() == before
