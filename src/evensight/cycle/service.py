"""The server of a cycle: `evensight serve` in a process of its own, as anybody would start it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evensight.errors import RunError

READY = re.compile(r"serving on (http://\S+)")
READY_SECONDS = 120.0
END_SECONDS = 30.0


@contextmanager
def served(arguments: Sequence[str], log: Path) -> Iterator[str]:
    """Starts a server, yields its address once it is ready, and ends it by SIGTERM.

    Args:
        arguments: Of `evensight serve`, ``key=value``.
        log: Receives what it prints.

    Raises:
        RunError: If it does not become ready; what it said last is in the sentence.
    """
    command = [sys.executable, "-m", "evensight", "serve", *arguments]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        address: list[str] = []
        ready = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                written.write(line)
                written.flush()
                found = READY.search(line)
                if found:
                    address.append(found[1])
                    ready.set()
            ready.set()  # it ended

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            ready.wait(READY_SECONDS)
            if not address:
                said = log.read_text(encoding="utf-8").strip().splitlines() or ["nothing"]
                raise RunError(f"the server did not become ready; it said: {said[-1]}")
            yield address[0]
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join(END_SECONDS)
            if process.stdout is not None:
                process.stdout.close()
