"""A process that leaves without clearing up has still done what Python does at its end."""

from __future__ import annotations

import gc
import os
import pstats
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evensight.process import uncollected

REPOSITORY = Path(__file__).parent.parent
# As cli.run: a function that is called by the module that Python runs.
SCRIPT = """
import atexit, sys, threading, time
from evensight.process import leave

class Freed:
    def __del__(self):
        print("cleared up")

kept = Freed()
atexit.register(print, "atexit")
threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()

def run():
    print("error", file=sys.stderr)
    sys.stdout.write("unflushed;")
    leave(3)

if __name__ == "__main__":
    run()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "ended.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def ended(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(REPOSITORY / "src")
    return subprocess.run([sys.executable, *arguments], text=True, env=environment, check=False, **more)  # type: ignore[call-overload, no-any-return]


def test_all_but_memory_is_seen_to(script: Path) -> None:
    found = ended(script, capture_output=True)
    assert (found.returncode, found.stderr) == (3, "error\n")
    assert found.stdout == "unflushed;thread\natexit\n"


def test_a_module_that_is_run_by_its_name_leaves_likewise(script: Path) -> None:
    found = ended("-m", script.stem, capture_output=True, cwd=script.parent)
    assert (found.returncode, found.stdout) == (3, "unflushed;thread\natexit\n")


@pytest.mark.parametrize("flag", ["-i", "-Xdev"])
def test_who_wants_to_look_at_the_end_sees_it(script: Path, flag: str) -> None:
    found = ended(flag, script, capture_output=True, stdin=subprocess.DEVNULL)
    assert "cleared up" in found.stdout
    assert found.returncode == (0 if flag == "-i" else 3)  # Python's own status after a session without a line


def test_a_profiler_gets_its_file(script: Path, tmp_path: Path) -> None:
    found = ended("-m", "cProfile", "-o", tmp_path / "profile", script, capture_output=True)
    assert "cleared up" in found.stdout
    calls = pstats.Stats(str(tmp_path / "profile")).stats  # type: ignore[attr-defined]
    assert any(name == "run" for _, _, name in calls)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_said_by_python(script: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        found = ended(script, stdout=full, stderr=subprocess.PIPE)
    assert found.returncode == 120
    assert "No space left on device" in found.stderr


def test_nothing_is_collected_within_and_a_mistake_does_not_keep_it_so() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_that_trained_is_gone_with_its_last_line(tmp_path: Path) -> None:
    """Python alone takes over a second to free what Lightning is made of; a busy machine may hold one try up."""
    path = tmp_path / "trained.py"
    path.write_text("import evensight.training.preflight\n" + SCRIPT, encoding="utf-8")
    assert any(seconds_after_the_last_line(path) < 0.7 for _ in range(3))


def seconds_after_the_last_line(path: Path) -> float:
    """Runs a script and returns how long it stayed after it had said all."""
    with subprocess.Popen([sys.executable, "-W", "ignore", path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["unflushed;thread\n", "atexit\n"]
        began = time.monotonic()
        assert process.wait(timeout=60) == 3
    return time.monotonic() - began
