"""One real process for each exit status: what a scheduler or a shell script goes by."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_place import SMALL, Place

REPOSITORY = Path(__file__).parent.parent.parent
SECONDS = 300


def started(here: Path, *argv: str, cramped: bool = False) -> subprocess.Popen[str]:
    """Starts `python -m evensight` in a folder; a cramped one may write no file above 20 kB."""
    limit = ("sh", "-c", 'ulimit -f 40 && exec "$@"', "sh") if cramped else ()  # of 512 bytes
    return subprocess.Popen(
        [*limit, sys.executable, "-m", "evensight", *argv],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(here: Path, *argv: str, cramped: bool = False) -> tuple[int, list[str]]:
    """Returns the status of a process, and its lines on stderr."""
    _, said = (process := started(here, *argv, cramped=cramped)).communicate(timeout=SECONDS)
    assert "Traceback" not in said
    return process.returncode, said.splitlines()


def test_0_done(place: Place, tmp_path: Path) -> None:
    status, said = ended(tmp_path, "predict", f"artifact={place.run.artifact}", f"data={place.folder / 'photos'}")
    assert (status, said) == (0, [])


def test_1_fail(place: Place, tmp_path: Path) -> None:
    small = "objective.requirements=[{metric:artifact_size,bound:1}]"
    status, said = ended(tmp_path, "train", *place.filled(SMALL), "gate=strict", small)
    assert status == 1, said


def test_2_wrong(tmp_path: Path) -> None:
    status, said = ended(tmp_path, "train", "experiment=shapes", "sed=3")
    assert status == 2 and len(said) == 1 and said[0].startswith("evensight: key: 'sed' is not known"), said


def test_3_not_decided(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.run.folder, tmp_path / "run")
    status, said = ended(tmp_path, "test", "run=run")
    assert status == 3, said


def test_4_broken(place: Place, tmp_path: Path) -> None:
    status, said = ended(tmp_path, "train", *place.filled(SMALL), cramped=True)
    assert status == 4 and said[-1].startswith("evensight: "), said


@pytest.mark.parametrize(("signum", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(signum: signal.Signals, expected: int, place: Place, tmp_path: Path) -> None:
    process = started(tmp_path, "train", *place.filled(SMALL), "trainer.max_epochs=100000")
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("epoch 1/"):
            break
    process.send_signal(signum)
    _, rest = process.communicate(timeout=SECONDS)
    assert process.returncode == expected, "".join(said) + rest
    assert "resume=true" in rest and "Traceback" not in rest
