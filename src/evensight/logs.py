"""Where log lines go: the terminal in short, the run's `run.log` in full."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from evensight.ranks.world import world

# Begins the note that an exception carries about where its traceback was written.
NOTE = "traceback in "
# Warnings of libraries that a user can do nothing about, by the beginning of their message, each with its reason: they
# are shown nowhere. All others go to run.log; none goes to the terminal.
UNHEARD: dict[str, str] = {
    "GPU available but not used": "trainer=cpu says so",
    ".*does not have many workers": "our loader has threads, not worker processes",
    ".*treespec, LeafSpec.*is deprecated": "Lightning's own use of torch",
    ".*barebones=True.*Logging can impact": "the user chose so",
    ".*modules? in eval mode at the start of training": "a phase that freezes a part means it",
}
_UNWRITTEN = "%s can no longer be written (%s); the run goes on without it"


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Drops the warnings of `UNHEARD` within the block."""
    with warnings.catch_warnings():
        for message in UNHEARD:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextlib.contextmanager
def logged() -> Iterator[Callable[[Path], None]]:
    """Sends the package's log to the terminal until the block ends.

    Yields:
        A function that takes the path of a log file: from then on, and with all that was said before, every line goes
        there too, with times and tracebacks. What is said before a run has a folder is not lost, and a command that
        ends before then leaves no file.
    """
    logger, others = logging.getLogger("evensight"), logging.getLogger("py.warnings")
    terminal = _Terminal()
    terminal.setLevel(logging.INFO)
    terminal.setFormatter(_Short())
    memory = logging.handlers.MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
    files: list[logging.FileHandler] = []

    def attach(path: Path) -> None:
        try:
            file = _LogFile(path)
        except OSError as error:
            logger.warning(_UNWRITTEN, path, error.strerror)
            return
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        files.append(file)
        memory.setTarget(file)
        memory.flush()
        memory.flushLevel = logging.NOTSET

    logger.setLevel(logging.DEBUG)
    propagated, logger.propagate = logger.propagate, False
    for name in (logger, others):
        name.addHandler(memory)
    if world().leads:  # the other ranks have files of their own
        logger.addHandler(terminal)
    logger.debug("a session begins: %s (process %d)", shlex.join(sys.argv), os.getpid())
    with unheard():
        # A library's warning is for us, not for the user: it goes to run.log.
        logging.captureWarnings(True)
        try:
            yield attach
        except Exception as error:
            if files:
                record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "ended by", (), sys.exc_info())
                memory.handle(record)
                error.add_note(f"{NOTE}{files[-1].baseFilename}")
            raise
        finally:
            logging.captureWarnings(False)
            logger.removeHandler(terminal)
            for name in (logger, others):
                name.removeHandler(memory)
            for handler in (memory, *files):
                handler.close()
            logger.propagate = propagated


class _Terminal(logging.StreamHandler[TextIO]):
    """stderr as it is when a line is written: a progress bar puts itself in its place, to stay below all lines."""

    @property
    def stream(self) -> TextIO:
        """Where lines go now."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:  # set by logging's own __init__
        pass


class _LogFile(logging.FileHandler):
    """A log file that goes quiet, with one warning on the terminal, when it can no longer be written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._quiet = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        if not self._quiet:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Goes quiet where the file is at fault."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._quiet = True
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
            if stream is not None:
                stream.close()
        logging.getLogger("evensight").warning(_UNWRITTEN, self.baseFilename, error.strerror)


class _Short(logging.Formatter):
    """Level named from warnings up; no traceback on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text
