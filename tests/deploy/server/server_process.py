"""The server as it runs: the command in a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

WAIT_S = 120.0  # for what has to happen; a busy machine is no fault of the server's
CLIENT = Path(__file__).parent / "traffic_client.py"


@dataclass
class Server:
    """A server that takes requests."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    errors: Path  # its stderr

    def client(self, **headers: str) -> httpx.Client:
        # verify=False: reading the certificates of the machine takes longer than most of the tests.
        return httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_S, trust_env=False, verify=False)

    def figure(self, name: str) -> float:
        """A figure of /metrics, e.g. ``evensight_errors_total{code="format"}``; 0 where it is not there."""
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        found = [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]
        return float(found[0]) if found else 0.0

    def stop(self, signum: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(WAIT_S)


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "EVENSIGHT_TOKEN"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def command(artifact: Path | str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "evensight", "serve", f"artifact={artifact}", *arguments]


@contextlib.contextmanager
def serving(artifact: Path | str, folder: Path, *arguments: str, **env: str) -> Iterator[Server]:
    """A server on `artifact`, with its log in `folder`; stopped at the end."""
    log, errors = folder / "predictions.sqlite", folder / "stderr.txt"
    stated = () if any(argument.startswith("log=") for argument in arguments) else (f"log={log}",)
    folder.mkdir(parents=True, exist_ok=True)
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command(artifact, "port=0", *stated, *arguments),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment(**env),
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on http://"), f"{line} {process.wait(WAIT_S)} {errors.read_text()}"
        yield Server(line.split()[2], process, log, errors)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            process.stdout.close()


def started_client(url: str, images: Path, count: int, out: Path, concurrency: int = 16) -> subprocess.Popen[bytes]:
    arguments = (url, str(images), str(count), str(concurrency), str(out))
    return subprocess.Popen([sys.executable, str(CLIENT), *arguments])


def until(what: Callable[[], bool]) -> None:
    """Waits for something; fails where it does not happen."""
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)
