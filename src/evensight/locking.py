"""One process at a time in a run folder. The system lets go of the lock when a process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from evensight.errors import UserError
from evensight.files import disk_full

LOCK = "run.lock"
log = logging.getLogger(__name__)


class BusyError(UserError):
    """Another process is working in the folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process; does not wait.

    Raises:
        BusyError: Another process has it.
        UserError: The folder is gone, or cannot be written to.
        OSError: The disk is full.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if disk_full(error):
            raise
        raise UserError(f"run: {folder} cannot be written ({error.strerror}).") from None
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read().strip() or "another process"
            raise BusyError(f"run: {folder} is being worked on by {holder}; wait until it ends, or end it.") from None
        except OSError as error:  # a file system without locks
            log.warning("run: %s cannot be locked (%s); start no second process on it", folder, error.strerror)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise UserError(f"run: {folder} was removed by the process that had it.")
        _say_who(descriptor, f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield
        finally:
            _say_who(descriptor, "")


def _say_who(descriptor: int, who: str) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name in it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, who.encode(), 0)
