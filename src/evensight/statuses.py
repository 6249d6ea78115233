"""Exit statuses, and how what is raised becomes a sentence and one of them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable

from evensight.errors import RunError, UserError, first_line, one_line
from evensight.files import disk_full, full_sentence
from evensight.interruption import Interrupted, interruptible
from evensight.logs import NOTE
from evensight.ranks.last_words import voice

DONE, FAILED, WRONG, UNDECIDED, BROKEN, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 130, 143
# From best to worst; a sweep's status is that of its worst job.
ORDER = (DONE, UNDECIDED, FAILED, WRONG, BROKEN, INTERRUPTED, TERMINATED)

# A file that is not the user's to read or write.
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def guarded(call: Callable[[], int]) -> int:
    """Runs `call` and turns what it raises into a sentence on stderr and a status."""
    try:
        with interruptible():
            return call()
    except Interrupted as interrupted:
        _say(f"{interrupted}.", interrupted)
        return interrupted.status
    except UserError as error:
        _say(str(error), error)
        return WRONG
    except KeyboardInterrupt:
        _say("interrupted.")
        return INTERRUPTED
    except RunError as error:
        _say(str(error), error)
        return BROKEN
    except BrokenPipeError:  # the reader of our output closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        sentence, status = _of_the_machine(error)
        if sentence:
            _say(sentence, error)
            return status
        notes = [note for note in getattr(error, "__notes__", []) if note.startswith(NOTE)]
        if not notes and voice(error) is not None:  # no run had begun, so there is no log that has it
            traceback.print_exc()
        first = (str(error).splitlines() or [""])[0]
        where = f" ({', '.join(notes)})" if notes else ""
        _say(f"evensight failed, which is a fault of ours: {type(error).__name__}: {first}{where}", error)
        return BROKEN


def _of_the_machine(error: Exception) -> tuple[str, int]:
    """Returns sentence and status of a full disk, full memory or a file that is closed to us; else nothing."""
    if isinstance(error, OSError) and disk_full(error):
        return f"{full_sentence(error)}; make room and start again.", BROKEN
    if isinstance(error, OSError) and error.errno in _CLOSED and error.filename:
        return f"{error.filename}: cannot be read or written ({error.strerror}).", WRONG
    # torch's own classes are not imported for this: out of memory is an OutOfMemoryError on a GPU, and on a CPU a
    # RuntimeError that names its allocator.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"MemoryError", "OutOfMemoryError"} or "DefaultCPUAllocator" in str(error):
        fix = "lower data.batch_size, data.eval_batch_size or data.cache_mb, or take a smaller model"
        return f"there is not enough memory ({first_line(error).rstrip('.')[:200]}); {fix}.", BROKEN
    return "", BROKEN


def _say(sentence: str, error: BaseException | None = None) -> None:
    """Says why the command ends, unless another rank does."""
    who = voice(error)
    if who is not None:
        with contextlib.suppress(OSError):  # where stderr goes to a full disk, too, the status is left to tell
            print(f"evensight: {who}{one_line(sentence)}", file=sys.stderr)
