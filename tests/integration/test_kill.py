"""Kill -9 in the middle of a stage: the folder is readable, and resuming gives the uninterrupted run's bits.

Two moments chosen by stage; `scripts/kill_table.py` draws twenty at random.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("kill_table", REPOSITORY / "scripts" / "kill_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The second while the run goes on after the first.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "exporting": lambda run: any(run.glob(".artifact.*.tmp/*")),
    "testing": lambda run: (run / "verdicts" / "validation.json").exists(),
}


@pytest.mark.slow
def test_a_run_killed_in_one_stage_after_another_resumes_to_the_bit(kills: ModuleType, tmp_path: Path) -> None:
    expected, _ = kills.uninterrupted(kills.Place(tmp_path / "whole"))
    place = kills.Place(tmp_path / "killed")
    for stage, reached in MOMENTS.items():
        process = place.begin() if place.run is None else place.go_on()
        assert kills.wait_until(process, lambda reached=reached: place.run is not None and reached(place.run)), stage
        kills.kill(process)
        assert kills.stage_of(place.run) == stage
        assert kills.unreadable(place.run, place.datasets) == []
    row = kills.finish(place, process, expected)
    assert row["status"] == 0, (place.runs / "said.txt").read_text(encoding="utf-8")
    assert row["differs"] == []
    assert row["left"] == []


def test_a_signal_while_data_is_drawn_ends_with_its_status_and_how_to_go_on(tmp_path: Path, kills: ModuleType) -> None:
    place = kills.Place(tmp_path)
    process: subprocess.Popen[bytes] = place.start(
        *("experiment=shapes", f"runs_dir={place.runs}", f"datasets_dir={place.datasets}")
    )
    assert kills.wait_until(process, lambda: any(place.datasets.glob("*/*/images/train/000064.png")))
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143
    said = (place.runs / "said.txt").read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith(f"(SIGTERM); go on with: evensight train run={place.run} resume=true.")
    assert place.run is not None
    again = subprocess.run(
        [sys.executable, "-c", "import fcntl, sys; fcntl.flock(open(sys.argv[1]), 6)", place.run / "run.lock"],
        check=False,
    )
    assert again.returncode == 0  # nobody holds it


def test_two_runs_at_once_share_the_data_and_nothing_else(kills: ModuleType, tmp_path: Path) -> None:
    """Started together on an empty `datasets`: one draws while the other waits, and both come to the same weights."""
    place = kills.Place(tmp_path)
    arguments = ("experiment=shapes", "debug=fast", "data.limit=64", "trainer=cpu", "trainer.max_epochs=1")
    folders = (f"runs_dir={place.runs}", f"datasets_dir={place.datasets}", "export=false", "trainer.num_threads=1")
    processes = [place.start(*arguments, *folders) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0], (place.runs / "said.txt").read_text(encoding="utf-8")
    one, other = sorted((place.runs / "shapes").glob("2*"))
    assert not kills.unreadable(one, other, place.datasets)
    weights = [kills.checkpoint_digest(run / "checkpoints" / "best.ckpt") for run in (one, other)]
    assert weights[0] == weights[1]


def test_the_table_tells_a_torn_file_from_a_whole_one(kills: ModuleType, tmp_path: Path) -> None:
    """Otherwise twenty readable folders would say nothing."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.json").write_text("{", encoding="utf-8")
    (run / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo\n', encoding="utf-8")
    (run / "last.ckpt").write_bytes(b"PK half")
    (run / "table.parquet").write_bytes(b"PAR1")
    (run / "report.html").write_text("<html>", encoding="utf-8")
    (run / ".last.ckpt.abcdefgh.tmp").write_bytes(b"half")
    (run / "run.log").write_text("anything", encoding="utf-8")
    names = [line.split(":")[0] for line in kills.unreadable(run)]
    assert names == ["a.json", "last.ckpt", "metrics.jsonl", "report.html", "table.parquet"]
    assert kills.differing({"weights": "a", "x": 1}, {"weights": "b", "x": 1}) == ["weights"]
