"""Starts the ranks of a run on this machine where nobody else has: `trainer.devices=2` without torchrun or srun.

Our own forty lines rather than torch's elastic agent, which ends all ranks a tenth of a second after the first (who
would still have something to say), forgets their statuses, and prints a page for each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from evensight.config import Config
from evensight.errors import RunError, UserError
from evensight.interruption import Interrupted
from evensight.ranks.devices import check_count, num_ranks, shared
from evensight.ranks.group import LEFT
from evensight.ranks.last_words import LAUNCHER
from evensight.ranks.world import world

# Seconds that the other ranks have to end by themselves when one has ended badly.
_GRACE = 60.0


def launched(config: Config, arguments: Sequence[str]) -> int | None:
    """Runs a command once for each device, where the configuration asks for several and nobody has started them.

    SIGINT and SIGTERM reach every rank once. No rank outlives this process.

    Args:
        config: Says how many devices.
        arguments: Of the command line, e.g. ``["train", "experiment=shapes", "trainer.devices=2"]``.

    Returns:
        The status of the ranks; None where this process is to do the work by itself.

    Raises:
        UserError: If several machines are asked for, which something else has to start, or the devices cannot share a
            step's images.
        RunError: If no rank is left to say what happened.
    """
    if world().started_by is not None:
        return None
    trainer = config.trainer
    if trainer.num_nodes not in (None, 1, "1"):
        raise UserError(
            f"trainer.num_nodes: found {trainer.num_nodes}; start the command on each machine with torchrun or srun."
        )
    count = num_ranks(trainer)
    if count == 1:
        return None
    check_count(trainer, count)
    shared(config.data.batch_size, count)
    return _supervised(count, arguments)


def _supervised(count: int, arguments: Sequence[str]) -> int:
    import torch.distributed

    distributed: Any = torch.distributed
    # Kept here, so that it outlives any rank; the system chooses a port that is free.
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", "evensight", *arguments]
    try:
        for rank in range(count):
            # In a session of its own, Ctrl-C at the terminal reaches this process alone, which passes it on once.
            environment = _environment(rank, count, store.port)
            ranks.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return _status(ranks, _waited(ranks, store))
    finally:
        for process in ranks:
            if process.poll() is None:
                process.kill()
                process.wait()


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would set, which is what torch and Lightning read."""
    threads = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    ours: dict[str, object] = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "evensight",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_USE_AGENT_STORE": True,  # the launcher's
        LAUNCHER: os.getpid(),
        # What this process can import, a rank can.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109
    }
    given = {"OMP_NUM_THREADS": str(threads), "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1", **os.environ}
    return {**given, **{name: str(value) for name, value in ours.items()}}


def _waited(ranks: Sequence[subprocess.Popen[bytes]], store: Any) -> int | None:
    """Waits for the ranks and passes signals on; returns the first signal that came."""
    noted: int | None = None
    told: set[int] = set()
    deadline = float("inf")
    while any(process.poll() is None for process in ranks):
        try:
            for rank, process in enumerate(ranks):
                if process.poll() and rank not in told:
                    told.add(rank)
                    store.set(f"{LEFT}{rank}", "")
                    deadline = min(deadline, time.monotonic() + _GRACE)
            if time.monotonic() > deadline:
                for process in ranks:
                    process.kill()
            time.sleep(0.05)
        except Interrupted as interrupted:
            noted = interrupted.signum
            for process in ranks:
                process.send_signal(noted)
    return noted


def _status(ranks: Sequence[subprocess.Popen[bytes]], noted: int | None) -> int:
    """Returns the status of the first rank that has one other than 0; a rank that was killed has none."""
    codes = [process.returncode for process in ranks]
    said = [code for code in codes if code > 0]
    if all(code >= 0 for code in codes):
        return said[0] if said else 0
    if said:
        return said[0]
    if noted is not None:
        raise Interrupted(noted)
    lost = ", ".join(f"rank {rank} by {signal.Signals(-code).name}" for rank, code in enumerate(codes) if code < 0)
    raise RunError(
        f"no rank is left to say what happened ({lost}); go on with: evensight train run=<its folder> resume=true"
    )
