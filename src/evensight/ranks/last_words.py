"""What the ranks say when one of them ends: the reason once, by one of them, and the dead by their number."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from typing import Any

from evensight.errors import RunError, UserError, first_line
from evensight.interruption import Interrupted
from evensight.ranks.lifeline import Lifeline
from evensight.ranks.world import world

LAUNCHER = "EVENSIGHT_LAUNCHER"  # process id of `launching.py`, in the environment of its ranks
_KEY = "evensight/last words/"  # + rank, in the store
_TO_SPEAK = 2.0  # seconds for rank 0, where the others end for the same reason and nothing joins them yet
_TO_AGREE = 5.0  # seconds to hear how the others end, which takes milliseconds
_DIED = ("closed by peer", "reset by peer", "broken pipe", "gloo", "nccl", "socket", "connection", "timed out")


class LostRankError(RunError):
    """Another rank's process is gone."""


class PeerError(RunError):
    """Another rank failed and has said why."""


class _State:
    """Of this process."""

    quiet: bool | None = None  # whether another rank says what ended this one; None: they have not spoken of it
    hint = "start it again"  # how to go on


def go_on_with(hint: str) -> None:
    """Sets what the sentence of a lost rank tells the user to do."""
    _State.hint = hint


def voice(error: BaseException | None = None) -> str | None:
    """Returns what this process puts before the sentence that ends it, None where another rank says it.

    Args:
        error: What ended it. Before the ranks have joined, a mistake of the user's is every rank's.
    """
    here = world()
    if _State.quiet:
        return None
    if here.leads or isinstance(error, LostRankError):  # rank 0 is among the lost
        return ""
    if _State.quiet is False or not isinstance(error, UserError | Interrupted | None):
        return f"rank {here.rank}: "
    if LAUNCHER not in os.environ:
        time.sleep(_TO_SPEAK)  # torchrun ends rank 0 as soon as this one has ended
    return None


def meaning(error: BaseException, lifeline: Lifeline) -> BaseException:
    """Returns what an exception means where another rank's end may have caused it."""
    if isinstance(error, UserError | RunError) or not isinstance(error, RuntimeError | Interrupted):
        return error
    text = str(error).lower()
    died = isinstance(error, Interrupted) or any(word in text for word in _DIED)
    if not _trouble(lifeline, _TO_AGREE if died and isinstance(error, RuntimeError) else 0.0):
        return error
    if lifeline.lost:
        return LostRankError(sentence(lifeline.lost))
    status = lifeline.status_of_others()
    if status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return Interrupted(status - 128, _State.hint)
    return error if isinstance(error, Interrupted) else PeerError(f"another rank failed ({first_line(error)})")


def announce(error: BaseException, rank: int, store: Any, lifeline: Lifeline) -> None:
    """Tells the other ranks how this one ends."""
    with contextlib.suppress(RuntimeError):  # the store may be gone
        store.set(f"{_KEY}{rank}", _words(error))
    lifeline.close(_status(error))


def settle(error: BaseException, rank: int, store: Any, lost: set[int]) -> None:
    """Finds out, after `announce`, who says why, for `voice`; may wait for rank 0's words."""
    if isinstance(error, LostRankError):
        _State.quiet = not speaks(rank, lost)
    elif isinstance(error, PeerError):
        _State.quiet = True
    elif rank > 0:
        _State.quiet = isinstance(error, Interrupted) or _leader_says(_words(error), store)


def exit_at_once_at_the_end(error: BaseException) -> None:
    """Ends the process before the interpreter waits for what a rank that is gone holds up, as NCCL may for ever."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status(error))

    atexit.register(leave)


def speaks(rank: int, lost: set[int]) -> bool:
    """Returns whether this is the first rank that is left."""
    return all(other in lost for other in range(rank))


def sentence(lost: set[int]) -> str:
    """Returns what is said of ranks whose processes are gone, and how to go on."""
    names = ", ".join(str(rank) for rank in sorted(lost))
    which = f"rank {names} was" if len(lost) == 1 else f"ranks {names} were"
    return f"{which} lost (its process ended without a word: killed, out of memory, or its machine); {_State.hint}"


def _leader_says(words: str, store: Any) -> bool:
    """Returns whether rank 0 ends with the same words, waiting some seconds for them."""
    deadline = time.monotonic() + _TO_AGREE
    with contextlib.suppress(RuntimeError):
        while time.monotonic() < deadline:
            if store.check([f"{_KEY}0"]):
                return bool(store.get(f"{_KEY}0").decode() == words)
            time.sleep(0.05)
    return False


def _status(error: BaseException) -> int:
    if isinstance(error, Interrupted):
        return error.status
    return 2 if isinstance(error, UserError) else 4


def _trouble(lifeline: Lifeline, seconds: float) -> bool:
    try:
        return lifeline.trouble(seconds)
    except Interrupted:  # who started the ranks ends those that are left
        return lifeline.trouble(1.0)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
