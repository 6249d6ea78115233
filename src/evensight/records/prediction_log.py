"""The writer of the prediction log: SQLite in WAL mode, one writer thread, never in the way of a prediction.

What is given to it waits in memory until the thread has written it, in transactions of all that waits. A transaction
is on the disk when it ends: a process that is killed loses at most what waited. Where the file cannot be written, what
waits is kept and tried again; once too much waits, the newest is dropped and counted.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time as clock
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from evensight.errors import RunError, UserError, first_line, wrong_value
from evensight.files import disk_full
from evensight.records.log_file import Feedback, Item, LogFile, Rejection, Swap
from evensight.records.log_schema import LONGEST_ID, Entry, LoggedOutcome, label_index

__all__ = ["Entry", "LoggedOutcome", "PredictionLog"]
log = logging.getLogger(__name__)

GATHER_S = 0.2  # how long the writer waits for more before it begins a transaction
MOST_AT_ONCE = 1_000  # in a transaction: others see it, and a label its answer, soon
_RETRY_S, _LONGEST_RETRY_S = 0.1, 2.0  # the wait before what failed is tried again doubles from the one to the other
_LAST_TRIES_S = 5.0  # for how long `close` tries
# What passes while the server runs; with another error at the start somebody named the wrong file.
_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_PROTOCOL")


class PredictionLog:
    """Writes predictions, rejections, swaps and labels into one file.

    Attributes:
        path: The file; `-wal` and `-shm` beside it are SQLite's.
        classes: Names, in the order of the probabilities.
        most_waiting: How many wait in memory before more are dropped.
        written: How many predictions, rejections, swaps and labels this has put into the file.
        lost: How many were dropped: too many waited, or they did not fit into this log.
        failing: The sentence why the file cannot be written now; None while it can.
    """

    def __init__(self, path: Path, classes: Sequence[str], most_waiting: int = 10_000) -> None:
        """Opens the log, or makes it, and starts the writer.

        Raises:
            UserError: The file is something else, of another version or of other classes, or cannot be made there. A
                full disk or another process's lock is no such mistake: `failing` says so, and it is tried again.
        """
        self.path, self.classes, self.most_waiting = Path(path), tuple(classes), most_waiting
        self.written = self.lost = 0
        self.failing: str | None = None
        self._waiting: deque[Item] = deque()
        self._in_hand = 0  # taken from `_waiting`, and not yet in the file
        self._hurried = False
        self._changed = threading.Condition()
        self._closing, self._give_up_at = threading.Event(), math.inf
        self._file: LogFile | None = None
        try:
            self._file = LogFile(self.path, self.classes)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: SQLite quotes an altered table
            if not _passes(error):
                raise UserError(f"log: {self.path} cannot be written ({first_line(error)}); name another.") from None
            self._fail(error)
        self._writer = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """How many are not yet in the file."""
        with self._changed:
            return len(self._waiting) + self._in_hand

    def add(self, entry: Entry) -> bool:
        """Logs a prediction, at once; returns False when it was dropped, which is counted."""
        return self._put(entry)

    def reject(self, time: float, code: str) -> bool:
        """Logs a request that got no prediction, by a short code; as `add`."""
        return self._put(Rejection(time, code))

    def swap(self, time: float, identity: str) -> bool:
        """Logs that a model was swapped in; as `add`."""
        return self._put(Swap(time, identity))

    def feedback(self, id: str, label: str, time: float) -> Future[str]:
        """Logs the label of an image; the answer is there once it is in the file.

        Returns:
            Of: ``"joined"``; ``"duplicate"``, where that image has this label already; ``"conflict"``, where it has
            another (both are kept, the image counts as not labelled); ``"unknown"``, where no image has the id (kept,
            and joined should the id appear). A RunError where it could not be written.

        Raises:
            UserError: The label is no class, the id none that a server gives, or the time no number.
        """
        number = label_index(label, self.classes)
        if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID or not (id.isascii() and id.isprintable()):
            raise wrong_value("id", id, "the id that came with a prediction")
        if not math.isfinite(time):
            raise wrong_value("time", time, "a number of seconds")
        item = Feedback(id, number, float(time), Future())
        if not self._put(item):
            _tell(item, None, self.failing or f"log: {self.path}: too much waits to be written.")
        return item.answer

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until all that was given is in the file or dropped; returns whether that came in time."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._in_hand, timeout_s)

    def close(self) -> None:
        """Writes what waits and ends the writer. What cannot be written within some seconds is lost, and counted."""
        with self._changed:
            self._give_up_at = min(self._give_up_at, clock.monotonic() + _LAST_TRIES_S)
            self._closing.set()
            self._changed.notify_all()
        self._writer.join()

    def _put(self, item: Item) -> bool:
        with self._changed:
            if self._closing.is_set() or len(self._waiting) + self._in_hand >= self.most_waiting:
                self.lost += 1
                return False
            self._waiting.append(item)
            # A label's sender waits for the answer; a prediction's does not.
            self._hurried |= isinstance(item, Feedback)
            if self._hurried or len(self._waiting) in (1, MOST_AT_ONCE):
                self._changed.notify_all()
            return True

    def _run(self) -> None:
        """The writer thread."""
        while batch := self._gathered():
            answers = self._tried(batch)
            lost = answers.count(None)
            with self._changed:
                self.written, self.lost = self.written + len(batch) - lost, self.lost + lost
                self._in_hand = 0
                self._changed.notify_all()
            for item, answer in zip(batch, answers, strict=True):
                _tell(item, answer, self.failing or f"log: {self.path}: it does not fit into this log.")
        if self._file is not None:
            self._file.close()

    def _gathered(self) -> list[Item]:
        """Waits for what is to be written next; empty when the log is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            self._changed.wait_for(
                lambda: self._hurried or self._closing.is_set() or len(self._waiting) >= MOST_AT_ONCE, GATHER_S
            )
            most = MOST_AT_ONCE if clock.monotonic() < self._give_up_at else len(self._waiting)
            batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._hurried = self._hurried and bool(self._waiting)
            self._in_hand = len(batch)
        return batch

    def _tried(self, batch: Sequence[Item]) -> list[str | None]:
        """Writes a batch, as often as it takes; returns what became of each item, None where it is lost."""
        wait = _RETRY_S
        while True:
            try:
                if self._file is None:
                    self._file = LogFile(self.path, self.classes)
                answers = self._file.write(batch)
            except Exception as error:  # whatever it is: a thread that ended would leave all that follows unlogged
                self._fail(error)
            else:
                if self.failing is not None:
                    log.warning("log: %s is written again; %d were lost", self.path, self.lost)
                self.failing = None
                return answers
            if clock.monotonic() >= self._give_up_at:
                return [None] * len(batch)
            if self._closing.is_set():
                clock.sleep(_RETRY_S)
            else:
                self._closing.wait(wait)
            wait = min(2 * wait, _LONGEST_RETRY_S)

    def _fail(self, error: Exception) -> None:
        """Says why nothing is written; the next try opens the file anew."""
        if isinstance(error, UserError):
            sentence = str(error)
        else:
            sentence = f"log: {self.path} cannot be written ({first_line(error)}); predictions go on without it."
        if sentence != self.failing:
            log.warning("%s", sentence)
        self.failing = sentence
        if self._file is not None:
            self._file.close()
        self._file = None


def _tell(item: Item, answer: str | None, why: str) -> None:
    """Tells the sender of a label what became of it."""
    if isinstance(item, Feedback) and item.answer.set_running_or_notify_cancel():
        if answer is None:
            item.answer.set_exception(RunError(why))
        else:
            item.answer.set_result(answer)


def _passes(error: Exception) -> bool:
    """Returns whether an error may be gone a moment later."""
    return disk_full(error) or (getattr(error, "sqlite_errorname", None) or "").startswith(_PASSING)
