"""The writer of the prediction log: SQLite in WAL mode, one writer thread, never in the way of a prediction.

What is given to it waits in memory until the thread has written it, in transactions of all that waits. A transaction
is on the disk when it ends (`synchronous = FULL`): a process that is killed loses at most what waited. Where the file
cannot be written, what waits is kept and tried again; once too much waits, the newest is dropped and counted.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time as clock
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import RunError, UserError, first_line
from evensight.files import disk_full
from evensight.records.log_schema import (
    LONGEST_ID,
    PREDICTION,
    Entry,
    LoggedOutcome,
    checksum,
    classes_of,
    create,
    label_index,
    row_of,
)

__all__ = ["Entry", "LoggedOutcome", "PredictionLog"]
log = logging.getLogger(__name__)

GATHER_S = 0.2  # how long the writer waits for more before it begins a transaction
MOST_AT_ONCE = 1_000  # in a transaction: others see it, and a feedback its answer, soon
_BUSY_S = 1.0  # how long SQLite waits for another process's lock before it says so
_RETRY_S = (0.1, 2.0)  # first and longest wait before what failed is tried again
_LAST_TRIES_S = 5.0  # for how long `close` tries

# What will pass, or be put right by someone, while the server runs; other mistakes are told when the log is opened.
_PASSING = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_PROTOCOL"}


@dataclass(frozen=True)
class _Rejection:
    time: float
    code: str


@dataclass(frozen=True)
class _Swap:
    time: float
    identity: str


@dataclass(frozen=True)
class _Feedback:
    id: str
    label: int
    time: float
    answer: Future[str]


_Item = Entry | _Rejection | _Swap | _Feedback


class PredictionLog:
    """Writes predictions, rejections, swaps and labels into one file.

    Attributes:
        path: The file; `-wal` and `-shm` beside it are SQLite's.
        classes: Names, in the order of the probabilities.
    """

    def __init__(self, path: Path, classes: Sequence[str], most_waiting: int = 10_000) -> None:
        """Opens the log, or makes it, and starts the writer.

        Raises:
            UserError: The file is something else, of another version or of other classes, or cannot be made there. A
                full disk or another process's lock is no such mistake: `failing` says so, and it is tried again.
        """
        self.path, self.classes, self.most_waiting = Path(path), tuple(classes), most_waiting
        self._waiting: deque[_Item] = deque()
        self._in_hand = 0  # taken from `_waiting`, not yet in the file
        self._written = self._lost = 0
        self._failing: str | None = None
        self._hurried = self._closing = False
        self._changed = threading.Condition()
        self._file: _File | None = None
        try:
            _File(self.path, self.classes).close()
        except (sqlite3.Error, OSError) as error:
            if not _passes(error):
                raise UserError(f"log: {self.path} cannot be written ({first_line(error)}); name another.") from None
            self._failing = self._sentence(error)
        self._writer = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._writer.start()

    @property
    def written(self) -> int:
        """How many predictions, rejections, swaps and labels are in the file since this was opened."""
        return self._written

    @property
    def lost(self) -> int:
        """How many were dropped: too many waited, or they were no entries of this log."""
        return self._lost

    @property
    def failing(self) -> str | None:
        """The sentence why the file cannot be written now; None while it can."""
        return self._failing

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
        return self._put(_Rejection(time, code))

    def swap(self, time: float, identity: str) -> bool:
        """Logs that a model was swapped in; as `add`."""
        return self._put(_Swap(time, identity))

    def feedback(self, id: str, label: str, time: float) -> Future[str]:
        """Logs the label of an image; the answer is there once it is in the file.

        Returns:
            Of: ``"joined"``; ``"duplicate"``, where that image has this label already; ``"conflict"``, where it has
            another (both are kept, the image counts as not labelled); ``"unknown"``, where no image has the id (kept,
            and joined should the id appear). A RunError where it could not be written.

        Raises:
            UserError: The label is no class, or the id is none of a server's.
        """
        number = label_index(label, self.classes)
        if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID or not id.isascii() or not id.isprintable():
            raise UserError(f"id: found {str(id)[:LONGEST_ID]!r}, allowed is the id that came with a prediction.")
        if not math.isfinite(time):
            raise UserError(f"time: found {time}, allowed is a number of seconds.")
        answer: Future[str] = Future()
        if not self._put(_Feedback(id, number, float(time), answer)):
            answer.set_exception(RunError(self._failing or f"log: {self.path}: too much waits to be written."))
        return answer

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until all that was given is in the file or dropped; returns whether that came in time."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._in_hand, timeout_s)

    def close(self) -> None:
        """Writes what waits and ends the writer. What cannot be written within some seconds is lost, and counted."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join()

    def _put(self, item: _Item) -> bool:
        with self._changed:
            if self._closing or len(self._waiting) + self._in_hand >= self.most_waiting:
                self._lost += 1
                return False
            self._waiting.append(item)
            # A label's sender waits for the answer; a prediction's does not.
            self._hurried |= isinstance(item, _Feedback)
            if len(self._waiting) == 1 or self._hurried or len(self._waiting) >= MOST_AT_ONCE:
                self._changed.notify_all()
            return True

    def _run(self) -> None:
        while batch := self._gathered():
            answers = self._written_at_last(batch)
            with self._changed:
                self._in_hand = 0
                self._changed.notify_all()
            for item, answer in zip(batch, answers, strict=True):
                _answer(item, answer, self._failing or f"log: {self.path} was closed before this was written.")
        if self._file is not None:
            self._file.close()

    def _gathered(self) -> list[_Item]:
        """Waits for what is to be written next; empty when the log is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(
                lambda: self._hurried or self._closing or len(self._waiting) >= MOST_AT_ONCE, GATHER_S
            )
            batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            self._hurried = self._hurried and bool(self._waiting)
            self._in_hand = len(batch)
        return batch

    def _written_at_last(self, batch: list[_Item]) -> list[str | None]:
        """Writes a batch, as often as it takes; returns what became of each item, None where it is lost."""
        wait, closing_since = _RETRY_S[0], None
        while True:
            try:
                if self._file is None:
                    self._file = _File(self.path, self.classes)
                answers = self._file.write(batch)
            except (sqlite3.Error, OSError, UserError) as error:
                self._say_failing(error)
                self._drop_file()
            else:
                if self._failing is not None:
                    log.warning("log: %s is written again; %d were lost", self.path, self._lost)
                lost = sum(answer is None for answer in answers)
                with self._changed:
                    self._failing, self._written, self._lost = (
                        None,
                        self._written + len(batch) - lost,
                        self._lost + lost,
                    )
                return answers
            with self._changed:
                if self._closing:
                    closing_since = closing_since or clock.monotonic()
                    if clock.monotonic() - closing_since > _LAST_TRIES_S:
                        self._lost += len(batch) + len(self._waiting)
                        rest, answers = list(self._waiting), [None] * len(batch)
                        self._waiting.clear()
                        break
                self._changed.wait_for(lambda: self._closing, wait) if not self._closing else clock.sleep(wait)
            wait = min(2 * wait, _RETRY_S[1])
        for item in rest:
            _answer(item, None, self._failing or "")
        return answers

    def _say_failing(self, error: Exception) -> None:
        sentence = str(error) if isinstance(error, UserError) else self._sentence(error)
        if sentence != self._failing:
            log.warning("%s", sentence)
        self._failing = sentence

    def _sentence(self, error: Exception) -> str:
        return f"log: {self.path} cannot be written ({first_line(error)}); predictions go on, and it is tried again."

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class _File:
    """The open file; used by one thread."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self.path, self.classes = path, classes
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        self._node = path.stat()

    def _set_up(self) -> None:
        found = classes_of(self.connection, self.path)  # before anything is written to what may be another's file
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        if found is None:
            self.connection.execute("BEGIN IMMEDIATE")
            found = classes_of(self.connection, self.path)  # another process may have been first
            if found is None:
                create(self.connection, self.classes)
            self.connection.execute("COMMIT")
        if found is not None and found != tuple(self.classes):
            raise UserError(
                f"log: {self.path} is of the classes {', '.join(found)}, not of {', '.join(self.classes)}; "
                "name another file."
            )

    def write(self, batch: Sequence[_Item]) -> list[str | None]:
        """Writes all of a batch or nothing of it.

        Returns:
            What became of each, None for what is no entry of this log.

        Raises:
            sqlite3.Error, OSError: It could not be written.
        """
        self._check_there()
        self.connection.execute("BEGIN IMMEDIATE")
        answers = [self._write(item) for item in batch]
        self.connection.execute("COMMIT")
        self._check_there()
        return answers

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.close()

    def _check_there(self) -> None:
        """SQLite would go on writing to a file that was removed or replaced, where nobody will read it."""
        if not os.path.samestat(self.path.stat(), self._node):
            raise FileNotFoundError(f"{self.path} was replaced")
        Path(f"{self.path}-wal").stat()

    def _write(self, item: _Item) -> str | None:
        try:
            if isinstance(item, Entry):
                return self._write_entry(item)
            if isinstance(item, _Feedback):
                return self._write_feedback(item)
            if isinstance(item, _Rejection):
                self._insert("rejections (time, code, crc)", (float(item.time), str(item.code)))
            else:
                self._insert("swaps (time, identity, crc)", (float(item.time), str(item.identity)))
        except (ValueError, TypeError, AttributeError, OverflowError, sqlite3.IntegrityError) as error:
            log.warning("log: something that cannot be logged is left out: %s", first_line(error))
            return None
        return "written"

    def _write_entry(self, entry: Entry) -> str | None:
        row = row_of(entry, len(self.classes))
        marks = ", ".join("?" * len(row))
        done = self.connection.execute(f"INSERT OR IGNORE INTO predictions ({PREDICTION}) VALUES ({marks})", row)
        return "written" if done.rowcount == 1 else None  # an id that is there already

    def _write_feedback(self, item: _Feedback) -> str:
        known = self.connection.execute("SELECT 1 FROM predictions WHERE id = ?", (item.id,)).fetchone()
        before = self.connection.execute("SELECT label, time, times FROM feedback WHERE id = ?", (item.id,)).fetchall()
        same = [row for row in before if row[0] == item.label]
        time, times = (same[0][1], same[0][2] + 1) if same else (item.time, 1)
        row = (item.id, item.label, time, times)
        self.connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)", (*row, checksum(row)))
        if known is None:
            return "unknown"
        if len(before) > len(same):
            return "conflict"
        return "duplicate" if same else "joined"

    def _insert(self, into: str, row: tuple[Any, ...]) -> None:
        marks = ", ".join("?" * (len(row) + 1))
        self.connection.execute(f"INSERT INTO {into} VALUES ({marks})", (*row, checksum(row)))


def _answer(item: _Item, answer: str | None, why: str) -> None:
    if isinstance(item, _Feedback) and item.answer.set_running_or_notify_cancel():
        if answer is None:
            item.answer.set_exception(RunError(why))
        else:
            item.answer.set_result(answer)


def _passes(error: Exception) -> bool:
    """Returns whether an error may be gone a moment later."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "") or ""
        return any(name.startswith(one) for one in _PASSING)
    return disk_full(error)
