"""What a terminal shows: bars that fit it, lines where no bar can be drawn, no library's warnings."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from training_places import Workplace

from evensight.logs import UNHEARD, logged
from evensight.progress import Lines, shortened, shown
from evensight.training.callbacks.progress import epoch_line

REPOSITORY = Path(__file__).parent.parent.parent
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The far end of a pseudo-terminal: what was written to it."""

    def __init__(self) -> None:
        self.near, self.far = pty.openpty()
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(self.near, 65536):
                self._parts.append(part)

    def text(self) -> str:
        """Returns all of it, once the other end is closed."""
        self._thread.join()
        os.close(self.near)
        return b"".join(self._parts).decode()


@contextlib.contextmanager
def as_stderr(monkeypatch: pytest.MonkeyPatch, **env: str) -> Iterator[Terminal]:
    """Makes a terminal of this process's stderr."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", **env}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    with os.fdopen(terminal.far, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        yield terminal


def drawn(text: str) -> list[str]:
    """What stood on the line after each drawing, without colours and cursor movements."""
    return [CONTROL.sub("", part).rstrip() for part in re.split(r"[\r\n]+", text) if CONTROL.sub("", part).strip()]


# --- The bar of a fit ---


@pytest.mark.parametrize("width", [100, 80, 40, 20])
def test_the_bar_of_a_fit_is_one_line_of_any_window(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("evensight.training.callbacks.progress._SECONDS_BETWEEN", 0.0)
    with as_stderr(monkeypatch, COLUMNS=str(width)) as terminal:
        place.fit("reliance.cues=[colour]")
    text = terminal.text()
    lines = drawn(text)
    assert any("epoch 1/2" in line for line in lines)
    assert any("epoch 2/2" in line for line in lines)
    assert max(cell_len(line) for line in lines) <= width
    assert ("images/s" in "".join(lines)) == (width > 20)
    # Each is drawn over the one before, and the last is taken away: nothing is left on the screen.
    assert text.count("\n") == text.count("\x1b[1A") == 2


def test_no_color_is_honoured(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    with as_stderr(monkeypatch) as terminal:
        place.fit("reliance.cues=[colour]")
    assert COLOUR.search(terminal.text())
    with as_stderr(monkeypatch, NO_COLOR="1") as terminal:
        place.fit("reliance.cues=[colour]")
    text = terminal.text()
    assert "epoch 2/2" in text
    assert not COLOUR.search(text)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "unknown", "FORCE_COLOR": "1"}])
def test_a_dumb_terminal_gets_lines(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, env: dict[str, str]
) -> None:
    with as_stderr(monkeypatch, **env) as terminal, caplog.at_level(logging.INFO, "evensight"):
        place.fit("reliance.cues=[colour]")
    assert "\x1b" not in terminal.text()
    assert sum(re.match(r"epoch \d/2  ", message) is not None for message in caplog.messages) == 2


def test_forced_colour_does_not_make_a_terminal_of_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "out").open("w", encoding="utf-8") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        with shown() as update:
            update("decoding images", 1, 2)
    assert (tmp_path / "out").read_text(encoding="utf-8") == ""


# --- Bars and lines of other work ---


@pytest.mark.parametrize("width", [80, 20])
def test_a_log_line_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    with as_stderr(monkeypatch, COLUMNS=str(width)) as terminal, logged(), shown() as update:
        update("decoding 図" * 20, 1, 2)
        logging.getLogger("evensight.data").warning("an image is broken")
        update("decoding 図" * 20, 2, 2)
    lines = drawn(terminal.text())
    assert "warning: an image is broken" in " ".join(lines)
    assert max(cell_len(line) for line in lines) <= width


def test_lines_come_each_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    lines = Lines(clock=lambda: now)
    with caplog.at_level(logging.DEBUG, "evensight.progress"):
        for done in range(0, 1001, 100):
            lines("decoding images", done, 1000)
            now += 7.0
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert said == ["decoding images: 500 of 1,000"]  # at 35 s, and not again before the end at 70 s
    assert caplog.messages[-1] == "decoding images: 1,000 done"


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("triangle", 8) == "triangle"
    assert shortened("a class whose name is a sentence", 11) == "a cla…tence"
    for width in range(12):
        for text in ("図" * 30, "a" * 30, "図a" * 15):
            assert cell_len(shortened(text, width)) <= width
    line = epoch_line(0, 2, {"val/accuracy": 0.5, f"val/recall/{'very ' * 50}long": 0.1})
    assert cell_len(line) < 120
    assert line.startswith("epoch 1/2  accuracy 0.500  worst class 0.100 (very very")


# --- Logs ---


def test_warnings_of_libraries_go_to_the_log_and_those_without_a_remedy_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logged() as log_to:
        log_to(tmp_path / "run.log")
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", message=next(iter(UNHEARD)))
        warnings.warn("a library is about to change", FutureWarning, stacklevel=1)
        warnings.warn(f"{next(iter(UNHEARD))}, a sentence of Lightning's", UserWarning, stacklevel=1)
    log = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "a library is about to change" in log
    assert "a sentence of Lightning's" not in log
    assert capsys.readouterr().err == ""
    assert all(reason for reason in UNHEARD.values())


def test_every_session_is_in_the_log_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["train.py", "experiment=shapes"], ["train.py", "run=runs/a b", "resume=true"]):
        monkeypatch.setattr(sys, "argv", command)
        with logged() as log_to:
            log_to(tmp_path / "run.log")
    lines = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "a session begins: train.py experiment=shapes (process" in lines[0]
    assert "a session begins: train.py 'run=runs/a b' resume=true (process" in lines[1]


# --- The main job, in a process of its own ---


def job(tmp_path: Path, *more: str) -> list[str]:
    folders = [f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"]
    settings = ["experiment=shapes", "debug=fast", "trainer.num_threads=1", *folders, *more]
    return [sys.executable, "-m", "evensight", "train", *settings]


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": path, **more}


@pytest.mark.slow
def test_through_pipes_results_are_on_stdout_and_one_line_an_epoch_on_stderr(tmp_path: Path) -> None:
    """Every line on stderr is one of ours, as run.log has it: nothing of a library's, no control character."""
    done = subprocess.run(
        job(tmp_path), env=environment(TERM="xterm-256color"), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", done.stdout + done.stderr)
    out = done.stdout.splitlines()
    assert len(out) <= 15
    assert out[0].startswith("test: ")
    assert sum(line.startswith("epoch ") for line in done.stderr.splitlines()) == 2
    run = (tmp_path / "runs" / "shapes" / "latest").resolve()
    expected = []
    for line in (run / "run.log").read_text(encoding="utf-8").splitlines():
        _, _, level, name, text = line.split(" ", 4)
        if name.startswith("evensight") and level in ("INFO", "WARNING"):
            expected.append(f"warning: {text}" if level == "WARNING" else text)
    assert done.stderr.splitlines() == expected


@pytest.mark.slow
def test_in_a_window_of_80_columns(tmp_path: Path) -> None:
    """A real terminal for all three streams: the bar and the last lines fit it."""
    terminal = Terminal()
    fcntl.ioctl(terminal.far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(terminal.far) as far:
        status = subprocess.call(
            job(tmp_path, "test=false", "trainer.max_epochs=1"),
            env=environment(TERM="xterm-256color"),
            stdin=far,
            stdout=far,
            stderr=far,
            timeout=500,
        )
    text = terminal.text()
    assert status == 0, text
    lines = drawn(text)
    assert any("epoch 1/1" in line and "images/s" in line for line in lines)
    first = next(number for number, line in enumerate(lines) if line.startswith("validation: ") and "(512" not in line)
    last = lines[first:]
    assert len(last) <= 15
    folder = str(tmp_path)
    assert max(cell_len(line) for line in last if folder not in line) <= 80
    run = (tmp_path / "runs" / "shapes" / "latest").resolve()
    verdict = json.loads((run / "verdicts" / "validation.json").read_text(encoding="utf-8"))
    assert last[0].startswith(f"validation: {verdict['verdict']}")
