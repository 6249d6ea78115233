"""The open file of the prediction log: batches of what happened, each written whole or not at all."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evensight.errors import UserError, first_line
from evensight.records.log_schema import PREDICTION, Entry, checksum, classes_of, create, row_of

log = logging.getLogger(__name__)
BUSY_S = 1.0  # how long SQLite waits for another process's lock before it says so
# What is wrong with the thing that is written, not with the file.
_UNFIT = (ValueError, TypeError, AttributeError, LookupError, OverflowError, sqlite3.IntegrityError, sqlite3.DataError)


@dataclass(frozen=True)
class Rejection:
    """A request that got no prediction."""

    time: float
    code: str


@dataclass(frozen=True)
class Swap:
    """A model that was swapped in."""

    time: float
    identity: str


@dataclass(frozen=True)
class Feedback:
    """A label, and where what became of it is told."""

    id: str
    label: int
    time: float
    answer: Future[str]


Item = Entry | Rejection | Swap | Feedback


class LogFile:
    """A connection to the file; for one thread at a time."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        """Opens the file, or makes it and its folder.

        Raises:
            UserError: It is something else, of another version, or of other classes.
            sqlite3.Error, OSError: It cannot be opened or made.
        """
        self.path, self.classes = path, tuple(classes)
        path.parent.mkdir(parents=True, exist_ok=True)
        # One thread opens it, another writes; never both at once.
        self.connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._set_up()
            self._file = path.stat()
        except BaseException:
            self.close()
            raise

    def write(self, batch: Sequence[Item]) -> list[str | None]:
        """Writes all of a batch or nothing of it; on the disk when this returns.

        Returns:
            What became of each item: of a label see `PredictionLog.feedback`, of others ``"written"``; None for what
            does not fit into this log.

        Raises:
            sqlite3.Error, OSError: It could not be written.
        """
        self._still_there()
        self.connection.execute("BEGIN IMMEDIATE")
        answers = [self._write(item) for item in batch]
        self.connection.execute("COMMIT")
        self._still_there()
        return answers

    def close(self) -> None:
        """Closes it; what was not committed is not in it."""
        with suppress(sqlite3.Error):
            self.connection.close()

    def _set_up(self) -> None:
        found = classes_of(self.connection, self.path)  # before anything is written to what may be another's file
        (mode,) = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise UserError(f"log: {self.path} is on a file system where SQLite has no write-ahead log; name another.")
        # A commit is on the disk, also when the power goes; with some commits a second that costs little.
        self.connection.execute("PRAGMA synchronous = FULL")
        if found is None:
            self.connection.execute("BEGIN IMMEDIATE")
            found = classes_of(self.connection, self.path)  # another process may have been first
            if found is None:
                create(self.connection, self.classes)
            self.connection.execute("COMMIT")
        if found not in (None, self.classes):
            raise UserError(
                f"log: {self.path} is of the classes {', '.join(found or ())}, not of {', '.join(self.classes)}; "
                "name another file."
            )

    def _still_there(self) -> None:
        """Tells of files that were removed or replaced: SQLite would go on writing where nobody will read."""
        if not os.path.samestat(self.path.stat(), self._file):
            raise FileNotFoundError("it was replaced by another file")
        Path(f"{self.path}-wal").stat()

    def _write(self, item: Item) -> str | None:
        try:
            if isinstance(item, Entry):
                return self._write_entry(item)
            if isinstance(item, Feedback):
                return self._write_feedback(item)
            if isinstance(item, Rejection):
                self._insert("rejections (time, code, crc)", (float(item.time), str(item.code)))
            else:
                self._insert("swaps (time, identity, crc)", (float(item.time), str(item.identity)))
        except _UNFIT as error:
            log.warning("log: something that cannot be logged is left out: %s", first_line(error))
            return None
        return "written"

    def _write_entry(self, entry: Entry) -> str | None:
        row = row_of(entry, len(self.classes))
        marks = ", ".join("?" * len(row))
        done = self.connection.execute(f"INSERT OR IGNORE INTO predictions ({PREDICTION}) VALUES ({marks})", row)
        return "written" if done.rowcount == 1 else None  # an id that is there already

    def _write_feedback(self, item: Feedback) -> str:
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
