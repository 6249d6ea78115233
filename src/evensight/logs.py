"""Where log lines go: the terminal in short, the run's `run.log` in full."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends the package's log to the terminal and, with times and tracebacks, to `path`, until the block ends."""
    logger = logging.getLogger("evensight")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.INFO)
    terminal.setFormatter(_Short("%(message)s"))
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    others = logging.getLogger("py.warnings")
    logger.setLevel(logging.DEBUG)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(terminal)
    logger.addHandler(file)
    others.addHandler(file)
    with warnings.catch_warnings():
        # A library's warning is for us, not for the user: it goes to run.log.
        logging.captureWarnings(True)
        try:
            yield
        except Exception:
            file.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "ended by", (), sys.exc_info()))
            raise
        finally:
            logging.captureWarnings(False)
            others.removeHandler(file)
            for handler in (terminal, file):
                logger.removeHandler(handler)
                handler.close()
            logger.propagate = propagated


class _Short(logging.Formatter):
    """Level named from warnings up; no traceback on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text
