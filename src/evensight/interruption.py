"""SIGTERM and SIGINT: an exception where work can be dropped, a note where a step has to be finished first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from evensight.ranks.world import world

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """The process was asked to end. Not an `Exception`: nobody may swallow it on the way.

    Args:
        signum: The signal.
        hint: How to go on, for the user.

    Attributes:
        status: What a shell expects of a process that a signal ended: 128 + signal.
    """

    def __init__(self, signum: int, hint: str | None = None) -> None:
        super().__init__(signum, hint)
        self.signum, self.hint = signum, hint
        self.status = 128 + signum

    def __str__(self) -> str:
        return f"interrupted ({signal.Signals(self.signum).name})" + (f"; {self.hint}" if self.hint else "")


class _State:
    """What the handlers of this process go by."""

    installed = False
    ending = False  # nothing is left to be interrupted
    deferred = 0  # blocks that want to be asked rather than broken into
    noted: int | None = None  # the signal that came first


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turns the first SIGTERM or SIGINT into `Interrupted`; the second ends the process at once.

    Does nothing in a thread, where Python allows no handlers, and where it is already in force.
    """
    if _State.installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    _State.installed, _State.noted = True, None
    for signum in SIGNALS:
        signal.signal(signum, _received)
    try:
        yield
    finally:
        for signum, handler in before.items():
            if not _State.ending:
                signal.signal(signum, handler)
        _State.installed, _State.noted = False, None


def ignored() -> None:
    """Ignores SIGTERM and SIGINT from now on: the process is ending by itself, and is to say why.

    Who started several processes ends them all by a signal when one has ended, as torchrun does.
    """
    if threading.current_thread() is threading.main_thread():
        _State.ending = True
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within the block a first signal is only noted.

    Yields:
        A function that returns the signal noted, or None. Who finds one ends its work and raises `Interrupted`; if
        nobody has when the block ends cleanly, the block raises it.
    """
    _State.deferred += 1
    try:
        yield lambda: _State.noted
    finally:
        _State.deferred -= 1
    if _State.noted is not None and not _State.deferred:
        raise Interrupted(_State.noted)


def _received(signum: int, frame: FrameType | None) -> None:
    if _State.noted is not None:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        return
    _State.noted = signum
    if not _State.deferred:
        raise Interrupted(signum)
    if world().leads:
        # os.write, because a handler may run in the middle of another write to the same stream.
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2, b"evensight: finishing the step; once more ends at once\n"
        )
