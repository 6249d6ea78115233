"""Three epochs of a run mirrored to W&B in a process of its own, as training does it: `mirrored_run.py <folder>`.

Prints what was lost in the calls of the mirror, and the warnings, as JSON. `MIRROR_TIMEOUT` is `logger.timeout`,
`BREAK` what breaks after the session began.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evensight.config import WandbLogger
from evensight.run import Run
from evensight.training.mirrors.weights_and_biases import WeightsAndBiases

LOST: list[float] = []
SAID: list[str] = []


class _Kept(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        SAID.append(record.getMessage())


@contextlib.contextmanager
def timed() -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        LOST.append(time.monotonic() - start)


def line(epoch: int) -> dict[str, Any]:
    metrics = {"train/loss": 1.0 / (epoch + 1), "val/accuracy": epoch / 10, "val/none": None}
    return {"epoch": epoch, "step": 4 * epoch + 4, "seconds": 0.1, "metrics": metrics}


def service_process() -> int:
    """The process id of W&B's own process, our only child."""
    # It was begun by a thread of ours, and is listed under that thread for as long as that has not quite ended.
    children = " ".join(file.read_text(encoding="utf-8") for file in Path("/proc/self/task").glob("*/children")).split()
    (pid,) = (int(child) for child in children if "wandb-core" in Path(f"/proc/{child}/cmdline").read_text())
    return pid


def main() -> None:
    logging.getLogger("evensight").addHandler(_Kept(logging.WARNING))
    folder, breaks = Path(sys.argv[1]), os.environ.get("BREAK", "")
    settings = WandbLogger(timeout=int(os.environ.get("MIRROR_TIMEOUT", "15")), mode=os.environ.get("MODE"))
    if breaks == "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # More than the log of W&B's library takes (2,500 bytes), less than twelve epochs.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2600, 2600))
    mirror = WeightsAndBiases(Run(folder), settings, {"seed": 1})
    with timed():
        mirror.open()
    if breaks == "stopped":
        os.kill(service_process(), signal.SIGSTOP)
    if breaks == "killed":
        os.kill(service_process(), signal.SIGKILL)
    first = int(os.environ.get("FIRST", "0"))
    for epoch in range(first, first + (12 if breaks == "disk" else 3)):
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line(epoch)) + "\n")
        with timed():
            mirror.log(line(epoch))
    if breaks == "silence":  # of the service, from here on
        print("waiting", flush=True)
        sys.stdin.readline()
    with timed():
        mirror.summary({"best_epoch": 1})
    with timed():
        mirror.close()
    print(json.dumps({"lost": sum(LOST), "said": SAID}), flush=True)


if __name__ == "__main__":
    main()
