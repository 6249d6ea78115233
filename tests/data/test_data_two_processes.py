"""If these fail, a process sees half of what another is preparing, or what one left that was killed.

The processes are real, as are the kills (SIGKILL); `preparing.py` says when.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evensight.cli import main

PROGRAM = Path(__file__).with_name("preparing.py")
SHAPES = {"num_train": 160, "num_validation": 64, "num_test": 64, "sealed": True}
pytestmark = pytest.mark.timeout(300)


class Preparing:
    """A process that prepares; it begins when told to."""

    def __init__(self, reader: str, settings: dict[str, Any], datasets: Path, **moments: str) -> None:
        spec = {"reader": reader, "settings": settings, "datasets": str(datasets), **moments}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, PROGRAM, json.dumps(spec)], text=True, **pipes)
        assert self.line() == "ready"

    def line(self) -> str:
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return json.loads(out)

    def killed(self) -> bool:
        self.process.communicate()
        return self.process.returncode == -signal.SIGKILL


Start = Callable[..., Preparing]


@pytest.fixture(params=["shapes", "folder"])
def start(request: pytest.FixtureRequest, tmp_path: Path, write_png: Callable[..., object]) -> Iterator[Start]:
    """Starts processes that prepare one data set, drawn or found."""
    settings: dict[str, Any] = SHAPES
    if request.param == "folder":
        for number in range(90):
            write_png(tmp_path / "animals" / ("cat" if number % 2 else "dog") / f"{number}.png", number)
        settings = {"name": "animals", "root": str(tmp_path / "animals")}
    begun: list[Preparing] = []

    def start(datasets: str = "sets", **moments: str) -> Preparing:
        begun.append(Preparing(request.param, settings, tmp_path / datasets, **moments))
        return begun[-1]

    start.reader = request.param
    yield start
    for each in begun:
        each.process.kill()
        each.process.communicate()


def same(answer: dict[str, Any], other: dict[str, Any]) -> None:
    # Not the recipe's: it names the folder of the images, and each test has its own.
    assert answer["digests"][1:] == other["digests"][1:] and answer["rows"] == other["rows"]
    assert answer["broken"] == other["broken"] == 0


def no_leftovers(folder: Path) -> None:
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("num_processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_at_once_all_get_the_same_and_one_does_the_work(start: Start, num_processes: int, tmp_path: Path) -> None:
    processes = [start() for _ in range(num_processes)]
    for each in processes:
        each.go()
    answers = [each.answer() for each in processes]
    for answer in answers[1:]:
        same(answer, answers[0])
    # Only where rows are to be placed are near duplicates looked for.
    work = {"decoding images", "drawing shapes" if start.reader == "shapes" else "near duplicates"}
    worked = sorted(({re.split("[,:]", what)[0] for what in answer["worked"]} for answer in answers), key=len)
    assert worked == [set()] * (num_processes - 1) + [work]
    no_leftovers(tmp_path)


MOMENTS = {
    "shapes": (
        "progress drawing shapes",
        "rename masks/train.npy",
        "rename drawn.json",
        "rename pixels.parquet",
        "rename manifest.parquet",
        "rename seal.json",
    ),
    "folder": (
        "progress decoding images",
        "rename pixels.parquet",
        "rename thumbnails.npy",
        "rename manifest.parquet",
        "rename prepared.json",
    ),
}
WHOLE: dict[str, dict[str, Any]] = {}  # what comes of an undisturbed preparation
KILLS = [pytest.param(reader, moment, id=f"{reader}-{moment}") for reader in MOMENTS for moment in MOMENTS[reader]]


@pytest.mark.slow
@pytest.mark.parametrize("start, moment", KILLS, indirect=["start"])
def test_the_next_one_finishes_what_one_left_that_was_killed(start: Start, moment: str, tmp_path: Path) -> None:
    if start.reader not in WHOLE:
        whole = start("whole")
        whole.go()
        WHOLE[start.reader] = whole.answer()
    dying = start(die=moment)
    dying.go()
    assert dying.killed(), "it never came to that moment"
    following = start()
    following.go()
    same(following.answer(), WHOLE[start.reader])
    no_leftovers(tmp_path)


def test_one_that_waits_goes_on_when_the_one_at_work_is_killed(start: Start, tmp_path: Path) -> None:
    moment = "drawing shapes" if start.reader == "shapes" else "decoding images"
    first = start(pause=f"progress {moment}")
    first.go()
    assert first.line() == "paused"
    second = start()
    second.go()
    first.process.kill()
    answer = second.answer()
    assert moment in answer["worked"]
    third = start()
    third.go()
    same(third.answer(), answer)
    no_leftovers(tmp_path)


@pytest.fixture
def little_room() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow beyond some bytes, as a full disk would not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda num_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_bytes, name", [(100, ".png"), (20_000, "train.npy")])
def test_no_room_to_draw(
    num_bytes: int, name: str, tmp_path: Path, little_room: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [f"data.{key}={value}" for key, value in SHAPES.items() if key != "sealed"]
    arguments = ["objective", "experiment=shapes", *sizes, f"datasets_dir={tmp_path / 'sets'}"]
    little_room(num_bytes)
    status = main(arguments)
    little_room(resource.RLIM_INFINITY)
    said = capsys.readouterr().err
    assert status == 4 and said.count("\n") == 1, said
    assert f"{name} in " in said and "could not be written: file too large" in said, said
    assert not list(tmp_path.rglob("drawn.json"))
    no_leftovers(tmp_path)
    assert main(arguments) == 0


@pytest.mark.parametrize("near, name", [("part", "pixels.parquet"), ("keep_together", "thumbnails.npy")])
def test_no_room_for_what_was_learned_leaves_the_old_files(
    near: str,
    name: str,
    tmp_path: Path,
    write_png: Callable[..., object],
    little_room: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def photos(first: int, last: int) -> None:
        for number in range(first, last):
            write_png(tmp_path / "animals" / "ab"[number % 2] / f"{number}.png", number)

    folders = [f"data.root={tmp_path / 'animals'}", f"datasets_dir={tmp_path / 'sets'}"]
    arguments = ["objective", "experiment=folder", f"data.near_duplicates={near}", *folders]
    photos(0, 40)
    assert main(arguments) == 0
    (old,) = (tmp_path / "sets").rglob("manifest.parquet")
    kept = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    photos(40, 200)
    capsys.readouterr()
    little_room(len(kept[name]))
    status = main(arguments)
    little_room(resource.RLIM_INFINITY)
    said = capsys.readouterr().err
    assert status == 4 and f"{name} in " in said and "the old file stands" in said, said
    assert {path.name: path.read_bytes() for path in old.parent.iterdir()} == kept
    assert main(arguments) == 0
    assert {path.name for path in old.parent.iterdir()} == set(kept)
    assert old.stat().st_size > len(kept[old.name])
