"""Exit statuses, and how what is raised becomes a sentence and one of them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from evensight.errors import RunError, UserError
from evensight.interruption import Interrupted, interruptible
from evensight.logs import NOTE

DONE, FAILED, WRONG, UNDECIDED, BROKEN, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 130, 143
# From best to worst; a sweep's status is that of its worst job.
ORDER = (DONE, UNDECIDED, FAILED, WRONG, BROKEN, INTERRUPTED, TERMINATED)


def guarded(call: Callable[[], int]) -> int:
    """Runs `call` and turns what it raises into a sentence on stderr and a status."""
    try:
        with interruptible():
            return call()
    except Interrupted as interrupted:
        _say(f"{interrupted}.")
        return interrupted.status
    except UserError as error:
        _say(str(error))
        return WRONG
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except RunError as error:
        _say(str(error))
        return BROKEN
    except BrokenPipeError:  # the reader of our output closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        notes = [note for note in getattr(error, "__notes__", []) if note.startswith(NOTE)]
        if not notes:  # no run had begun, so there is no log that has it
            traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        where = f" ({', '.join(notes)})" if notes else ""
        _say(f"evensight failed, which is a fault of ours: {type(error).__name__}: {first}{where}")
        return BROKEN


def _say(sentence: str) -> None:
    print(f"evensight: {sentence}", file=sys.stderr)
